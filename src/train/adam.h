/* Adam (arXiv 1412.6980) on the factors of a network, with the gradient's norm cut. */
#ifndef STERNA_TRAIN_ADAM_H
#define STERNA_TRAIN_ADAM_H

#include "train/network.h"

typedef struct sterna_adam {
    float beta1, beta2, clip; /* clip: the largest norm of all gradients together */
    float *first, *second;    /* moments [count] */
    size_t count;
    uint64_t steps;
} sterna_adam;

/* Betas 0.9 and 0.95, clip 1; for every factor that the network trains now. */
sterna_status sterna_adam_new(sterna_adam *adam, sterna_network *network, sterna_error *err);
void sterna_adam_free(sterna_adam *adam);
/* One step of `rate` against the gradients, which are cleared; the network is refreshed. */
void sterna_adam_step(sterna_adam *adam, sterna_network *network, float rate);

/* The share of the full rate at step `step` of `steps`: a warm-up of 10 steps, constant to 60 %,
 * then linear down to 3 %. */
float sterna_schedule(uint64_t step, uint64_t steps);

#endif
