/* The loops run over four-lane vectors with fixed partial sums, so that results do not depend on
 * the compiler or on the instruction set. Partial sums are float32 over at most 1024 weights, then
 * double.
 *
 * The exact least-squares fit. For k nonzeros they are the k largest magnitudes, the best scale is
 * their mean a = S_k / k, and the error falls by S_k^2 / k. At the best k the smallest chosen
 * magnitude is at least a/2 and the largest left out at most a/2, so the best threshold is a fixed
 * point of T(x) = mean{m : m >= x} / 2, which never decreases. Iterating T from below all fixed
 * points (half the mean) and from above (half the maximum) brackets them; mostly both ends meet.
 * What lies between is sorted and searched.
 */
#include "quant/fit.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

enum { LANES = 4, WAYS = 4, STEP = LANES * WAYS, SPAN = 1024 };

typedef float vector __attribute__((vector_size(16)));
typedef int32_t lanes __attribute__((vector_size(16)));

static inline vector load(const float *from)
{
    vector v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline double total(const vector sums[WAYS])
{
    double sum = 0;
    for (int way = 0; way < WAYS; way++)
        for (int lane = 0; lane < LANES; lane++) sum += (double)sums[way][lane];
    return sum;
}

float sterna_fit_magnitudes(const float *w, size_t count, float *magnitudes)
{
    int32_t largest = 0; /* positive floats are ordered as their bits are, infinity and NaN last */
    for (size_t i = 0; i < count; i++) {
        int32_t bits = (int32_t)(sterna_float_bits(w[i]) & 0x7fffffffu);
        largest = bits > largest ? bits : largest;
        magnitudes[i] = sterna_bits_float((uint32_t)bits);
    }
    return sterna_bits_float((uint32_t)largest);
}

sterna_fit_part sterna_fit_above(const float *magnitudes, size_t count, float threshold)
{
    sterna_fit_part part = {0, 0};
    vector limit = {threshold, threshold, threshold, threshold};
    while (count >= STEP) {
        vector sums[WAYS] = {{0}};
        lanes counts[WAYS] = {{0}};
        size_t span = count < SPAN ? count / STEP * STEP : SPAN;
        for (size_t i = 0; i < span; i += STEP)
            for (int way = 0; way < WAYS; way++) {
                vector m = load(magnitudes + i + (size_t)way * LANES);
                lanes in = m >= limit;
                sums[way] += (vector)((lanes)m & in);
                counts[way] -= in;
            }
        part.sum += total(sums);
        lanes chosen = counts[0] + counts[1] + counts[2] + counts[3];
        for (int lane = 0; lane < LANES; lane++) part.count += (uint32_t)chosen[lane];
        magnitudes += span;
        count -= span;
    }
    for (size_t i = 0; i < count; i++)
        if (magnitudes[i] >= threshold) {
            part.sum += (double)magnitudes[i];
            part.count++;
        }
    return part;
}

/* Shell sort, largest first: the runs are short. */
static void sort_descending(float *values, size_t count)
{
    static const size_t gaps[] = {3511, 1371, 535, 209, 81, 31, 12, 5, 2, 1};
    for (size_t g = 0; g < sizeof gaps / sizeof gaps[0]; g++)
        for (size_t i = gaps[g]; i < count; i++) {
            float value = values[i];
            size_t j = i;
            for (; j >= gaps[g] && values[j - gaps[g]] < value; j -= gaps[g])
                values[j] = values[j - gaps[g]];
            values[j] = value;
        }
}

static float half_mean(sterna_fit_part part)
{
    return (float)(part.sum / (double)part.count * 0.5);
}

/* Moves a threshold along T until the set above it no longer changes. Each step changes the set, so
 * it ends. */
static sterna_fit_part settle(const float *magnitudes, size_t count, sterna_fit_part part)
{
    for (;;) {
        sterna_fit_part next = sterna_fit_above(magnitudes, count, half_mean(part));
        if (next.count == part.count || next.count == 0) return part;
        part = next;
    }
}

/* The best prefix of the magnitudes in [low, high) behind those above `high`. */
static double search_between(float *magnitudes, size_t count, float low, float high,
                             sterna_fit_part part)
{
    double best = part.sum / (double)part.count, gain = part.sum * best;
    size_t between = 0;
    for (size_t i = 0; i < count; i++) {
        float m = magnitudes[i];
        if (m < low || m >= high) continue;
        magnitudes[i] = magnitudes[between];
        magnitudes[between++] = m;
    }
    sort_descending(magnitudes, between);
    for (size_t i = 0; i < between; i++) {
        part.sum += (double)magnitudes[i];
        part.count++;
        double mean = part.sum / (double)part.count;
        if (part.sum * mean > gain) {
            gain = part.sum * mean;
            best = mean;
        }
    }
    return best;
}

static double fit_least_squares(float *magnitudes, size_t count)
{
    float largest = sterna_fit_magnitudes(magnitudes, count, magnitudes);
    if (largest == 0) return 0;
    sterna_fit_part all = sterna_fit_above(magnitudes, count, 0);
    sterna_fit_part top = sterna_fit_above(magnitudes, count, largest * 0.5f);
    sterna_fit_part wide = settle(magnitudes, count, all);
    sterna_fit_part narrow = settle(magnitudes, count, top);
    if (wide.count == narrow.count) return wide.sum / (double)wide.count;
    return search_between(magnitudes, count, half_mean(wide), half_mean(narrow), narrow);
}

double sterna_fit_scale(sterna_fit_method method, float *magnitudes, size_t count)
{
    if (count == 0) return 0;
    if (method == STERNA_FIT_ITF) return fit_least_squares(magnitudes, count);
    double mean = sterna_fit_above(magnitudes, count, 0).sum / (double)count;
    if (method == STERNA_FIT_ABSMEAN) return mean;
    sterna_fit_part part =
        sterna_fit_above(magnitudes, count, sterna_fit_threshold(method, mean, 0, 0));
    return part.sum / (double)part.count; /* the largest is at least the mean: part is not empty */
}

float sterna_fit_threshold(sterna_fit_method method, double mean, double scale, float stored)
{
    if (method == STERNA_FIT_TWN) return (float)(0.7 * mean);
    return (method == STERNA_FIT_ABSMEAN ? (float)scale : stored) * 0.5f;
}

float sterna_fit_round(double scale)
{
    return sterna_f16_to_f32(sterna_f32_to_f16((float)scale));
}

/* A multiple of STEP, at most SPAN. */
static void assign_span(const float *w, size_t count, float scale, float threshold, int8_t *trits,
                        sterna_fit_result *result)
{
    vector high = {threshold, threshold, threshold, threshold}, low = -high;
    vector errors[WAYS] = {{0}}, energies[WAYS] = {{0}};
    lanes nonzeros = {0};
    for (size_t i = 0; i < count; i += STEP)
        for (int way = 0; way < WAYS; way++) {
            size_t at = i + (size_t)way * LANES;
            vector v = load(w + at);
            lanes trit = (v < low) - (v > high); /* comparisons give -1 */
            vector rest = v - __builtin_convertvector(trit, vector) * scale;
            errors[way] += rest * rest;
            energies[way] += v * v;
            nonzeros += trit * trit;
            for (int lane = 0; lane < LANES; lane++) trits[at + (size_t)lane] = (int8_t)trit[lane];
        }
    result->error += total(errors);
    result->energy += total(energies);
    result->zeros += count;
    for (int lane = 0; lane < LANES; lane++) result->zeros -= (uint32_t)nonzeros[lane];
}

void sterna_fit_assign(const float *w, size_t count, float scale, float threshold, int8_t *trits,
                       sterna_fit_result *result)
{
    while (count >= STEP) {
        size_t span = count < SPAN ? count / STEP * STEP : SPAN;
        assign_span(w, span, scale, threshold, trits, result);
        w += span;
        trits += span;
        count -= span;
    }
    for (size_t i = 0; i < count; i++) {
        int trit = (w[i] > threshold) - (w[i] < -threshold);
        float rest = w[i] - (float)trit * scale;
        trits[i] = (int8_t)trit;
        result->error += (double)(rest * rest);
        result->energy += (double)(w[i] * w[i]);
        result->zeros += trit == 0;
    }
}
