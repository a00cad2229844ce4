/* Attention of AVX-512. */
#include <math.h>
#include <string.h>

#include "kernels/x86/v16_avx512.h"
#include "kernels/vector_body.h"
#define STERNA_ATTENTION(name) sterna_##name##_avx512
#include "kernels/attention_body.h"
