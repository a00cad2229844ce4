/* The frequencies of rotary position embeddings under every scaling that files ask for.
 *
 * Angles are computed in double and rounded once: within one unit of the reference's float32. */
#include <math.h>

#include "model/config.h"
#include "model/family.h"

float sterna_yarn_attention(float factor, float multiplier)
{
    return factor <= 1 ? 1 : (float)(0.1 * (double)multiplier * log((double)factor) + 1);
}

bool sterna_rope_depends_on_length(const sterna_rope_config *rope)
{
    return rope->scaling == STERNA_SCALING_DYNAMIC || rope->scaling == STERNA_SCALING_LONGROPE;
}

/* llama3: wavelengths above original/low are stretched by the factor, those below original/high
 * stay, the others are blended. */
static double llama3(const sterna_rope_config *rope, double frequency)
{
    double original = rope->original_context, low = (double)rope->low_frequency,
           high = (double)rope->high_frequency;
    double wavelength = 2 * M_PI / frequency;
    if (wavelength < original / high) return frequency;
    if (wavelength > original / low) return frequency / (double)rope->factor;
    double smooth = (original / wavelength - low) / (high - low);
    return (1 - smooth) * frequency / (double)rope->factor + smooth * frequency;
}

/* The pair that makes `rotations` turns over the original context. */
static double yarn_pair(const sterna_rope_config *rope, double rotations)
{
    return rope->dims * log(rope->original_context / (rotations * 2 * M_PI)) /
           (2 * log((double)rope->base));
}

/* yarn: fast pairs stay, slow ones are stretched, a linear ramp lies between. */
static void yarn(const sterna_rope_config *rope, float *out)
{
    double low = yarn_pair(rope, (double)rope->beta_fast),
           high = yarn_pair(rope, (double)rope->beta_slow);
    if (!rope->no_truncation) low = floor(low), high = ceil(high);
    low = fmax(low, 0);
    high = fmin(high, rope->dims - 1);
    if (low == high) high += 0.001;
    for (uint32_t i = 0; i < rope->dims / 2; i++) {
        double frequency = pow((double)rope->base, -2.0 * i / rope->dims);
        double stretched = fmin(fmax((i - low) / (high - low), 0), 1);
        out[i] =
            (float)(frequency / (double)rope->factor * stretched + frequency * (1 - stretched));
    }
}

void sterna_rope_frequencies(const sterna_rope_config *rope, uint32_t length, float *out,
                             float *scale)
{
    *scale = rope->attention_factor;
    if (rope->scaling == STERNA_SCALING_YARN) {
        yarn(rope, out);
        return;
    }
    double base = (double)rope->base;
    if (rope->scaling == STERNA_SCALING_DYNAMIC && length > rope->original_context) {
        double factor = (double)rope->factor,
               growth = factor * length / rope->original_context - (factor - 1);
        base *= pow(growth, rope->dims / (rope->dims - 2.0));
    }
    const float *divisors =
        rope->scaling == STERNA_SCALING_LONGROPE && length > rope->original_context
            ? rope->long_divisors
            : rope->divisors;
    for (uint32_t i = 0; i < rope->dims / 2; i++) {
        double frequency = pow(base, -2.0 * i / rope->dims);
        if (rope->scaling == STERNA_SCALING_LINEAR) frequency /= (double)rope->factor;
        if (rope->scaling == STERNA_SCALING_LLAMA3) frequency = llama3(rope, frequency);
        if (divisors) frequency /= (double)divisors[i];
        out[i] = (float)frequency;
    }
}
