/* Attention of AVX2, FMA and F16C. */
#include <math.h>
#include <string.h>

#include "kernels/x86/v16_avx2.h"
#include "kernels/vector_body.h"
#define STERNA_ATTENTION(name) sterna_##name##_avx2
#include "kernels/attention_body.h"
