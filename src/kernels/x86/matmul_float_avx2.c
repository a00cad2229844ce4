/* Float matmuls of AVX2, FMA and F16C. */
#include "kernels/x86/v16_avx2.h"
#define STERNA_MATMUL(name) sterna_##name##_avx2
enum { TOKENS = 2 };
#include "kernels/matmul_float_body.h"
