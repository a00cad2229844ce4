/* Matmuls over K blocks of plain NEON. */
#define STERNA_MATMUL(name) sterna_##name##_neon
#define DOT                 0
#include "kernels/arm/matmul_k_arm.h"
