/* Tuning of a quantized model as a whole: the trits stay, their scales and the gains of the norms
 * are trained to give the next token as the full model gives it (forward KL), on calibration text
 * and on what the model wrote itself. Held-out windows decide whether the result is kept.
 */
#ifndef STERNA_QUANT_TUNE_H
#define STERNA_QUANT_TUNE_H

#include "model/hadamard.h"
#include "quant/calibrate.h"
#include "quant/facts.h"
#include "quant/stream.h"

enum {
    STERNA_TUNE_STEP_TOKENS = 1024,     /* in whole windows */
    STERNA_TUNE_HELD_WINDOWS = 12,      /* at most; no more than an eighth of all */
    STERNA_TUNE_KEEP_BYTES = 1 << 30,   /* for activations that are not computed again */
    STERNA_TUNE_MOST_SECONDS = 600,     /* of learning that nobody asked for */
    STERNA_TUNE_FEWEST_TOKENS = 1 << 14 /* that such a run is shortened to */
};

typedef struct sterna_tune_settings {
    size_t tokens; /* to learn from, a window counted as often as it is seen; 0 = no tuning */
    bool wanted;   /* asked for: it runs however long it takes, not ten minutes at most */
    float rate;
    int threads;   /* >= 1 */
    double step_s; /* that a step takes; 0 = not measured yet */
    sterna_progress progress;
    void *progress_context;
} sterna_tune_settings;

/* The settings that measured best (docs/QUALITY.md). */
sterna_tune_settings sterna_tune_usual(void);

/* `tokens` that take `seconds`, halved until they take STERNA_TUNE_MOST_SECONDS at most; 0 where
 * that would be less than STERNA_TUNE_FEWEST_TOKENS. Halves, so that times that differ a little
 * lead to the same model. */
size_t sterna_tune_within(size_t tokens, double seconds);

/* Measures a step on windows of the calibration, and shortens settings->tokens to what has the
 * time. facts->tuning tells. */
sterna_status sterna_tune_shorten(const sterna_model_file *file, const sterna_calibration *written,
                                  sterna_tune_settings *settings, sterna_item *items,
                                  size_t n_items, const sterna_hadamard_rules *rules,
                                  sterna_facts *facts, sterna_error *err);

/* Tunes the READY items of `file`, and makes its norms READY; `rules` are the transforms of their
 * inputs. `text` are windows of text, `written` those of the same length that the model wrote.
 * facts->tuning tells what came of it. */
sterna_status sterna_tune(const sterna_model_file *file, const sterna_calibration *text,
                          const sterna_calibration *written, const sterna_tune_settings *settings,
                          sterna_item *items, size_t n_items, const sterna_hadamard_rules *rules,
                          sterna_facts *facts, sterna_error *err);

#endif
