/* Tuning of a network's factors towards another network: steps of Adam on the forward KL over
 * windows of calibration text, in an order that depends on nothing but their number.
 */
#ifndef STERNA_TRAIN_TUNING_H
#define STERNA_TRAIN_TUNING_H

#include "train/distil.h"

/* What a pass runs on; the networks' options must agree in windows and length. */
typedef struct sterna_pupil {
    sterna_network *teacher, *student;
    sterna_head *head;                 /* of both */
    float *taught, *learnt, *gradient; /* [windows * length][width] */
} sterna_pupil;

/* Opens the head and makes the buffers; the networks stay the caller's. */
sterna_status sterna_pupil_new(sterna_pupil *pupil, sterna_network *teacher,
                               sterna_network *student, sterna_error *err);
void sterna_pupil_free(sterna_pupil *pupil);

typedef struct sterna_tuning {
    const int32_t *ids;  /* [windows][length] to learn from; length as the networks' */
    size_t windows;      /* at least one */
    const int32_t *held; /* [held_windows][length]: text that is only measured */
    size_t held_windows;
    uint64_t steps;           /* each takes as many windows as a pass has */
    float rate;               /* of Adam, at its highest */
    const char *stage;        /* for progress, which counts steps */
    sterna_progress progress; /* may be NULL */
    void *progress_context;
} sterna_tuning;

/* The mean KL(teacher || student) over windows, in nats a token. */
sterna_status sterna_tuning_measure(sterna_pupil *pupil, const int32_t *ids, size_t windows,
                                    double *divergence, sterna_error *err);
/* Seconds that a step takes here, measured on one that changes nothing. */
sterna_status sterna_tuning_time(sterna_pupil *pupil, const sterna_tuning *tuning, double *seconds,
                                 sterna_error *err);
sterna_status sterna_tuning_run(sterna_pupil *pupil, const sterna_tuning *tuning,
                                sterna_error *err);

#endif
