/* Vector kernels of AVX-512. */
#include <math.h>
#include <string.h>

#include "kernels/x86/v16_avx512.h"
#define STERNA_VECTOR(name) sterna_##name##_avx512
#include "kernels/vector_body.h"

uint64_t sterna_read_avx512(const void *data, size_t bytes)
{
    const uint8_t *at = data;
    size_t quarter = bytes / 4;
    __m512i hash[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                       _mm512_setzero_si512()};
    for (size_t i = 0; i < quarter; i += 64)
        for (size_t s = 0; s < 4; s++) {
            const uint8_t *line = at + s * quarter + i;
            _mm_prefetch((const char *)line + 2048, _MM_HINT_T0);
            hash[s] = _mm512_xor_si512(hash[s], _mm512_loadu_si512((const void *)line));
        }
    uint64_t words[8], all = 0;
    _mm512_storeu_si512((void *)words, _mm512_xor_si512(_mm512_xor_si512(hash[0], hash[1]),
                                                        _mm512_xor_si512(hash[2], hash[3])));
    for (int i = 0; i < 8; i++) all ^= words[i];
    return all;
}
