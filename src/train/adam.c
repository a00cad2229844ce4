#include "train/adam.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

static void count(void *context, sterna_factors *factors)
{
    *(size_t *)context += factors->count;
}

sterna_status sterna_adam_new(sterna_adam *adam, sterna_network *network, sterna_error *err)
{
    *adam = (sterna_adam){.beta1 = 0.9f, .beta2 = 0.95f, .clip = 1};
    sterna_network_visit(network, count, &adam->count);
    adam->first = sterna_calloc(adam->count, sizeof *adam->first);
    adam->second = sterna_calloc(adam->count, sizeof *adam->second);
    if (adam->first && adam->second) return STERNA_OK;
    sterna_adam_free(adam);
    return sterna_fail_memory(err, "the optimizer's moments");
}

void sterna_adam_free(sterna_adam *adam)
{
    sterna_free(adam->first);
    sterna_free(adam->second);
    *adam = (sterna_adam){0};
}

static void add_square(void *context, sterna_factors *factors)
{
    double *sum = context;
    for (size_t i = 0; i < factors->count; i++)
        *sum += (double)factors->gradient[i] * (double)factors->gradient[i];
}

typedef struct move {
    sterna_adam *adam;
    size_t at;
    float scale, rate, first_share, second_share; /* of the gradient; bias corrections */
} move;

static void step(void *context, sterna_factors *factors)
{
    move *m = context;
    const sterna_adam *a = m->adam;
    float *first = a->first + m->at, *second = a->second + m->at;
    for (size_t i = 0; i < factors->count; i++) {
        float g = m->scale > 0 ? factors->gradient[i] * m->scale : 0;
        first[i] = a->beta1 * first[i] + (1 - a->beta1) * g;
        second[i] = a->beta2 * second[i] + (1 - a->beta2) * g * g;
        factors->log[i] -=
            m->rate * (first[i] / m->first_share) / (sqrtf(second[i] / m->second_share) + 1e-8f);
    }
    memset(factors->gradient, 0, factors->count * sizeof *factors->gradient);
    m->at += factors->count;
}

void sterna_adam_step(sterna_adam *adam, sterna_network *network, float rate)
{
    double square = 0;
    sterna_network_visit(network, add_square, &square);
    double norm = sqrt(square);
    adam->steps++;
    move m = {.adam = adam,
              .scale = norm > (double)adam->clip ? (float)((double)adam->clip / norm) : 1,
              .rate = rate,
              .first_share = 1 - powf(adam->beta1, (float)adam->steps),
              .second_share = 1 - powf(adam->beta2, (float)adam->steps)};
    if (!isfinite(norm)) m.scale = 0; /* what has overflowed says nothing */
    sterna_network_visit(network, step, &m);
    sterna_network_refresh(network);
}

float sterna_schedule(uint64_t at, uint64_t steps)
{
    enum { WARM_UP = 10 };
    float done = (float)at / (float)steps, rate = 1;
    if (done > 0.6f) rate = fmaxf(0.03f, (1 - done) / 0.4f);
    return at < WARM_UP ? rate * (float)(at + 1) / WARM_UP : rate;
}
