/* xoshiro256** seeded by splitmix64 (Blackman and Vigna, 2018): small, fast, the same everywhere
 * for the same seed. */
#ifndef STERNA_BASE_RNG_H
#define STERNA_BASE_RNG_H

#include <stdint.h>

typedef struct sterna_rng {
    uint64_t state[4];
} sterna_rng;

static inline void sterna_rng_seed(sterna_rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15u);
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        rng->state[i] = z ^ z >> 31;
    }
}

static inline uint64_t sterna_rng_u64(sterna_rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t x = s[1] * 5, result = (x << 7 | x >> 57) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3] << 45 | s[3] >> 19;
    return result;
}

/* Uniform in [0, 1) with 53 bits. */
static inline double sterna_rng_double(sterna_rng *rng)
{
    return (double)(sterna_rng_u64(rng) >> 11) * 0x1p-53;
}

#endif
