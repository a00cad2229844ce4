/* Vector kernels of AVX2, FMA and F16C. */
#include <math.h>
#include <string.h>

#include "kernels/x86/v16_avx2.h"
#define STERNA_VECTOR(name) sterna_##name##_avx2
#include "kernels/vector_body.h"

uint64_t sterna_read_avx2(const void *data, size_t bytes)
{
    const uint8_t *at = data;
    size_t quarter = bytes / 4;
    __m256i hash[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                       _mm256_setzero_si256()};
    for (size_t i = 0; i < quarter; i += 64)
        for (size_t s = 0; s < 4; s++) {
            const uint8_t *line = at + s * quarter + i;
            _mm_prefetch((const char *)line + 2048, _MM_HINT_T0);
            hash[s] = _mm256_xor_si256(hash[s], _mm256_loadu_si256((const void *)line));
            hash[s] = _mm256_xor_si256(hash[s], _mm256_loadu_si256((const void *)(line + 32)));
        }
    uint64_t words[4];
    _mm256_storeu_si256((void *)words, _mm256_xor_si256(_mm256_xor_si256(hash[0], hash[1]),
                                                        _mm256_xor_si256(hash[2], hash[3])));
    return words[0] ^ words[1] ^ words[2] ^ words[3];
}
