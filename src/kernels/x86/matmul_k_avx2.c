/* Matmuls over K blocks of AVX2. */
#define STERNA_MATMUL(name) sterna_##name##_avx2
#define VNNI                0
#include "kernels/x86/matmul_k_256.h"
