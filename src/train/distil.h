/* What training aims for: the distribution of the next token that another network gives.
 *
 * The head turns hidden states into logits; it is fixed. Its weights are held as floats (or as
 * bfloat16, twice): 4 bytes x vocabulary x width. Logits exist for a slice of tokens at a time.
 */
#ifndef STERNA_TRAIN_DISTIL_H
#define STERNA_TRAIN_DISTIL_H

#include "train/network.h"

enum { STERNA_LOGIT_BYTES = 128 << 20 }; /* of a slice of tokens, both networks' together */

typedef struct sterna_head sterna_head;

/* The head of a network's file. */
sterna_status sterna_head_open(const sterna_network *network, sterna_head **out, sterna_error *err);
void sterna_head_close(sterna_head *head); /* NULL accepted */

/* *divergence = the mean over tokens of KL(teacher || student) in nats, from hidden states
 * [tokens][width] after the last norm. `gradient` (may be NULL) [tokens][width] receives that at
 * the student's. */
sterna_status sterna_distil(sterna_head *head, const float *teacher, const float *student,
                            size_t tokens, double *divergence, float *gradient, sterna_error *err);

#endif
