/* Float matmuls of AVX-512. */
#include "kernels/x86/v16_avx512.h"
#define STERNA_MATMUL(name) sterna_##name##_avx512
enum { TOKENS = 6 };
#include "kernels/matmul_float_body.h"
