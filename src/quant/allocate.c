/* The knapsack of precisions. */
#include <math.h>

#include "base/memory.h"
#include "quant/sensitivity.h"

typedef enum precision { PLAIN, TWO_PLANES, FOUR_BITS, EIGHT_BITS, PRECISIONS } precision;

/* Distortion relative to trits alone after compensation: 0.19, 0.025, 0.007, 0.00003 of the
 * variance of a Gaussian, data-free; with compensation the ratios stay about the same. */
static const double distortion[PRECISIONS] = {1, 0.13, 0.04, 0.00015};

typedef struct candidate {
    sterna_item *item;
    precision now;
    double bytes[PRECISIONS]; /* infinite where the layout does not hold the matrix */
} candidate;

static void choose(sterna_item *item, precision which)
{
    static const sterna_native none = {0};
    if (which == TWO_PLANES) item->form.code2 = STERNA_CODE_BASE3;
    if (which < FOUR_BITS) return;
    item->type = which == FOUR_BITS ? STERNA_TYPE_Q4_0 : STERNA_TYPE_Q8_0;
    item->form = none;
}

static double bytes_of(const sterna_item *item, precision which)
{
    sterna_item changed = *item;
    uint64_t bytes = 0;
    choose(&changed, which);
    if (which >= FOUR_BITS && !sterna_type_bytes(changed.type, item->tensor->dims[0], 1, &bytes))
        return INFINITY;
    return (double)sterna_item_bytes(&changed);
}

/* The step up from `c->now` that removes most divergence a byte and costs at most `room`; now
 * itself when there is none. */
static precision best_step(const candidate *c, double room, double *gain)
{
    precision best = c->now;
    *gain = 0;
    for (int next = (int)c->now + 1; next < PRECISIONS; next++) {
        double cost = c->bytes[next] - c->bytes[c->now];
        double won = c->item->sensitivity * (distortion[c->now] - distortion[next]);
        if (!(cost > 0) || cost > room || won / cost <= *gain) continue;
        *gain = won / cost;
        best = (precision)next;
    }
    return best;
}

/* Steps up, the most useful for its bytes first, until nothing more has room. */
static double spend(candidate *all, size_t count, double room)
{
    for (;;) {
        candidate *best = NULL;
        precision to = PLAIN;
        double most = 0, gain;
        for (size_t i = 0; i < count; i++) {
            precision step = best_step(&all[i], room, &gain);
            if (gain <= most) continue;
            most = gain;
            best = &all[i];
            to = step;
        }
        if (!best) return room;
        room -= best->bytes[to] - best->bytes[best->now];
        best->now = to;
    }
}

double sterna_trit_bits(const sterna_item *items, size_t n_items)
{
    double weights = 0, bytes = 0;
    for (size_t i = 0; i < n_items; i++) {
        const sterna_tensor *tensor = items[i].tensor;
        if (items[i].verb != STERNA_VERB_FIT) continue;
        weights += (double)tensor->dims[0] * (double)sterna_tensor_rows(tensor);
        bytes += (double)sterna_item_bytes(&items[i]);
    }
    return weights > 0 ? 8 * bytes / weights : 0;
}

sterna_status sterna_allocate(sterna_item *items, size_t n_items, double bits, bool planes_only,
                              double *reached, sterna_error *err)
{
    candidate *all = sterna_calloc(n_items + 1, sizeof *all);
    double weights = 0, bytes = 0;
    size_t count = 0;
    if (!all) return sterna_fail_memory(err, "the precisions of the matrices");
    for (size_t i = 0; i < n_items; i++) {
        const sterna_tensor *tensor = items[i].tensor;
        if (!(items[i].sensitivity > 0)) continue;
        all[count] = (candidate){.item = &items[i]};
        for (int k = 0; k < PRECISIONS; k++)
            all[count].bytes[k] =
                planes_only && k >= FOUR_BITS ? INFINITY : bytes_of(&items[i], (precision)k);
        weights += (double)tensor->dims[0] * (double)sterna_tensor_rows(tensor);
        bytes += all[count++].bytes[PLAIN];
    }
    double least = weights > 0 ? 8 * bytes / weights : 0, budget = bits * weights / 8;
    sterna_status status = STERNA_OK;
    if (bytes > budget)
        status = sterna_fail(err, STERNA_ERROR_ARGUMENT,
                             "quantize: %.4g bits a weight are less than the %.4g that trits alone "
                             "take; ask for more, or choose larger groups",
                             bits, least);
    if (!status) {
        double left = spend(all, count, budget - bytes);
        *reached = weights > 0 ? 8 * (budget - left) / weights : 0;
        for (size_t i = 0; i < count; i++) choose(all[i].item, all[i].now);
    }
    sterna_free(all);
    return status;
}
