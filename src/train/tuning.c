#include "train/tuning.h"

#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"
#include "train/adam.h"

static size_t tokens_of(const sterna_network *net)
{
    return net->options.windows * net->options.length;
}

sterna_status sterna_pupil_new(sterna_pupil *p, sterna_network *teacher, sterna_network *student,
                               sterna_error *err)
{
    size_t floats;
    *p = (sterna_pupil){.teacher = teacher, .student = student};
    if (!sterna_mul_size(tokens_of(student), student->config->width, &floats))
        return sterna_fail_memory(err, "hidden states");
    p->taught = sterna_alloc(floats, sizeof *p->taught);
    p->learnt = sterna_alloc(floats, sizeof *p->learnt);
    p->gradient = sterna_alloc(floats, sizeof *p->gradient);
    sterna_status status = sterna_head_open(teacher, &p->head, err);
    if (!status && (!p->taught || !p->learnt || !p->gradient))
        status = sterna_fail_memory(err, "hidden states");
    if (status) sterna_pupil_free(p);
    return status;
}

void sterna_pupil_free(sterna_pupil *p)
{
    sterna_head_close(p->head);
    sterna_free(p->taught);
    sterna_free(p->learnt);
    sterna_free(p->gradient);
    *p = (sterna_pupil){0};
}

/* Both networks over the windows of one pass, and back where `learn`. */
static sterna_status pass(sterna_pupil *p, const int32_t *ids, size_t tokens, bool learn,
                          double *divergence, sterna_error *err)
{
    sterna_status status = sterna_network_forward(p->teacher, ids, p->taught, err);
    if (!status) status = sterna_network_forward(p->student, ids, p->learnt, err);
    if (!status)
        status = sterna_distil(p->head, p->taught, p->learnt, tokens, divergence,
                               learn ? p->gradient : NULL, err);
    if (!status && learn) status = sterna_network_backward(p->student, p->gradient, err);
    return status;
}

/* Room for the windows of a pass. */
static int32_t *new_batch(const sterna_pupil *p, sterna_error *err)
{
    int32_t *batch = sterna_calloc(tokens_of(p->student), sizeof *batch);
    if (!batch) sterna_fail_memory(err, "the windows of a training step");
    return batch;
}

sterna_status sterna_tuning_measure(sterna_pupil *p, const int32_t *ids, size_t windows,
                                    double *divergence, sterna_error *err)
{
    size_t length = p->student->options.length, most = p->student->options.windows;
    int32_t *batch = new_batch(p, err);
    sterna_status status = batch ? STERNA_OK : STERNA_ERROR_MEMORY;
    double sum = 0, part;
    for (size_t at = 0; at < windows && !status; at += most) {
        size_t count = windows - at < most ? windows - at : most; /* the rest run for nothing */
        memcpy(batch, ids + at * length, count * length * sizeof *batch);
        status = pass(p, batch, count * length, false, &part, err);
        sum += status ? 0 : part * (double)count;
    }
    sterna_free(batch);
    *divergence = sum / (double)windows;
    return status;
}

/* ---- the order of the windows ---- */

typedef struct order {
    size_t *window; /* [count], shuffled anew when all were taken */
    size_t count, next;
    sterna_rng rng;
} order;

static size_t take(order *o)
{
    if (o->next == o->count) {
        for (size_t i = o->count; i > 1; i--) {
            size_t k = (size_t)(sterna_rng_double(&o->rng) * (double)i), old = o->window[i - 1];
            o->window[i - 1] = o->window[k];
            o->window[k] = old;
        }
        o->next = 0;
    }
    return o->window[o->next++];
}

static void fill(order *o, const sterna_tuning *tuning, const sterna_network *net, int32_t *batch)
{
    size_t length = net->options.length;
    for (size_t i = 0; i < net->options.windows; i++)
        memcpy(batch + i * length, tuning->ids + take(o) * length, length * sizeof *batch);
}

static sterna_status open_order(const sterna_tuning *tuning, order *o, sterna_error *err)
{
    *o = (order){.count = tuning->windows, .next = tuning->windows};
    o->window = sterna_alloc(o->count, sizeof *o->window);
    if (!o->window) return sterna_fail_memory(err, "the order of the calibration windows");
    for (size_t i = 0; i < o->count; i++) o->window[i] = i;
    sterna_rng_seed(&o->rng, 1);
    return STERNA_OK;
}

/* ---- steps ---- */

static void clear(void *context, sterna_factors *factors)
{
    (void)context;
    memset(factors->gradient, 0, factors->count * sizeof *factors->gradient);
}

sterna_status sterna_tuning_time(sterna_pupil *p, const sterna_tuning *tuning, double *seconds,
                                 sterna_error *err)
{
    order o;
    int32_t *batch = new_batch(p, err);
    sterna_status status = batch ? open_order(tuning, &o, err) : STERNA_ERROR_MEMORY;
    if (!status) {
        double divergence, start;
        fill(&o, tuning, p->student, batch);
        status = sterna_network_forward(p->teacher, batch, p->taught, err); /* touches the memory */
        start = sterna_now();
        if (!status) status = pass(p, batch, tokens_of(p->student), true, &divergence, err);
        *seconds = sterna_now() - start;
        sterna_network_visit(p->student, clear, NULL);
        sterna_free(o.window);
    }
    sterna_free(batch);
    return status;
}

static sterna_status run_steps(sterna_pupil *p, const sterna_tuning *tuning, order *o,
                               sterna_adam *adam, int32_t *batch, sterna_error *err)
{
    sterna_status status = STERNA_OK;
    for (uint64_t i = 0; i < tuning->steps && !status; i++) {
        double divergence;
        if (tuning->progress && !tuning->progress(tuning->progress_context, tuning->stage,
                                                  (double)i, (double)tuning->steps))
            return sterna_fail(err, STERNA_ERROR_CANCELLED, "tuning was cancelled");
        fill(o, tuning, p->student, batch);
        status = pass(p, batch, tokens_of(p->student), true, &divergence, err);
        if (!status)
            sterna_adam_step(adam, p->student, tuning->rate * sterna_schedule(i, tuning->steps));
    }
    return status;
}

sterna_status sterna_tuning_run(sterna_pupil *p, const sterna_tuning *tuning, sterna_error *err)
{
    order o = {0};
    sterna_adam adam = {0};
    int32_t *batch = new_batch(p, err);
    sterna_status status = batch ? open_order(tuning, &o, err) : STERNA_ERROR_MEMORY;
    if (!status) status = sterna_adam_new(&adam, p->student, err);
    if (!status) status = run_steps(p, tuning, &o, &adam, batch, err);
    sterna_adam_free(&adam);
    sterna_free(o.window);
    sterna_free(batch);
    return status;
}
