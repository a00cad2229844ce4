/* Matmuls over K blocks of the ARM dot product. */
#define STERNA_MATMUL(name) sterna_##name##_dotprod
#define DOT                 1
#include "kernels/arm/matmul_k_arm.h"
