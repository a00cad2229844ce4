/* Attention of NEON. */
#include <math.h>
#include <string.h>

#include "kernels/arm/v16_neon.h"
#include "kernels/vector_body.h"
#define STERNA_ATTENTION(name) sterna_##name##_neon
#include "kernels/attention_body.h"
