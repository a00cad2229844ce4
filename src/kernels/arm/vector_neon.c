/* Vector kernels of NEON. */
#include <math.h>
#include <string.h>

#include "kernels/arm/v16_neon.h"
#define STERNA_VECTOR(name) sterna_##name##_neon
#include "kernels/vector_body.h"

uint64_t sterna_read_neon(const void *data, size_t bytes)
{
    const uint8_t *at = data;
    size_t quarter = bytes / 4;
    uint8x16_t hash[4] = {vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)};
    for (size_t i = 0; i < quarter; i += 32)
        for (size_t s = 0; s < 4; s++) {
            const uint8_t *line = at + s * quarter + i;
            hash[s] = veorq_u8(hash[s], veorq_u8(vld1q_u8(line), vld1q_u8(line + 16)));
        }
    uint64x2_t all =
        vreinterpretq_u64_u8(veorq_u8(veorq_u8(hash[0], hash[1]), veorq_u8(hash[2], hash[3])));
    return vgetq_lane_u64(all, 0) ^ vgetq_lane_u64(all, 1);
}
