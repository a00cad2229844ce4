/* From logits to text: the sampler, and the loop that appends what it picks. */
#ifndef STERNA_RUN_GENERATE_H
#define STERNA_RUN_GENERATE_H

#include "base/rng.h"
#include "run/session.h"

typedef struct sterna_candidate {
    int32_t id;
    float logit, probability;
} sterna_candidate;

/* Holds memory for one vocabulary so that picking allocates nothing. */
typedef struct sterna_sampler {
    sterna_sampling settings;
    sterna_rng rng;
    size_t vocabulary;
    sterna_candidate *candidates; /* [vocabulary] */
    float *changed;               /* [vocabulary] where there is a repeat penalty, else NULL */
} sterna_sampler;

/* Fails on settings that make no sense (NaN, negative temperature, top_p outside (0, 1], ...). */
sterna_status sterna_sampler_init(sterna_sampler *sampler, const sterna_sampling *settings,
                                  size_t vocabulary, sterna_error *err);
void sterna_sampler_free(sterna_sampler *sampler);
/* Picks a token; `recent` are the tokens before it (the repeat penalty looks at the last
 * repeat_window). Order: penalty, top-k, top-p, min-p, temperature. A set that logits of NaN or
 * infinity spoiled gives -1. */
int32_t sterna_sampler_pick(sterna_sampler *sampler, const float *logits, const int32_t *recent,
                            size_t n_recent);
/* 0.8, 40, 0.95, 0.05, 1, 64, seed 0. */
sterna_sampling sterna_sampling_usual(void);
/* generation_config.json's and GGUF's recommendation over `settings`. Nonsense is ignored. */
void sterna_sampling_recommended(const sterna_model_file *file, sterna_sampling *settings);

sterna_status sterna_run_generate(sterna_session *session, const int32_t *prompt, size_t count,
                                  const sterna_generate_options *options,
                                  sterna_generate_result *result, sterna_error *err);

#endif
