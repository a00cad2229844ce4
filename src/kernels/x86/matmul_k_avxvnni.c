/* Matmuls over K blocks of AVX-VNNI (VEX-coded vpdpbusd). */
#define STERNA_MATMUL(name) sterna_##name##_avxvnni
#define VNNI                1
#include "kernels/x86/matmul_k_256.h"
