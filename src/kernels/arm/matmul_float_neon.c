/* Float matmuls of NEON. */
#include "kernels/arm/v16_neon.h"
#define STERNA_MATMUL(name) sterna_##name##_neon
enum { TOKENS = 1 };
#include "kernels/matmul_float_body.h"
