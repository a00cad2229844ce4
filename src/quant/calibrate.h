/* Calibration text as windows of tokens: what the quantizer looks at while it fits.
 *
 * Five eighths of the windows come from text: a file of the caller, or a small built-in set
 * (calibration_text.c). The rest the model itself writes, sampled at temperature 1, which shows it
 * what it knows best. Where the text is short, the model writes more.
 */
#ifndef STERNA_QUANT_CALIBRATE_H
#define STERNA_QUANT_CALIBRATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/digest.h"
#include "base/error.h"
#include "model/config.h"

enum {
    STERNA_CALIBRATION_WINDOW = 512, /* tokens; less where the model's context is shorter */
    STERNA_CALIBRATION_SESSIONS = 16 /* at most, in which the model writes at the same time */
};

typedef struct sterna_calibration {
    int32_t *ids; /* [windows][length] */
    size_t windows, length;
    size_t generated;                     /* windows that the model wrote: the last ones */
    char text_digest[STERNA_DIGEST_TEXT]; /* SHA-256 of the text, joined where it was JSON lines */
} sterna_calibration;

typedef struct sterna_calibration_options {
    const char *path; /* text, or JSON lines with a "text" each (.jsonl); NULL = the built-in set */
    size_t tokens;    /* wanted, rounded up to windows; 0 = the usual number */
    bool text_only;   /* the model writes nothing; there may be fewer windows than wanted */
    int threads;
    sterna_progress progress;
    void *progress_context;
} sterna_calibration_options;

/* Reads the tokenizer of the model at `model`, loads it where it has windows to write, and lets it
 * go again. Fails when it holds no tokenizer or the file holds no text. */
sterna_status sterna_calibration_make(const char *model, const sterna_calibration_options *options,
                                      sterna_calibration *out, sterna_error *err);
/* How many tokens are worth their time: as many as a fixed amount of work allows, from 16,384 (the
 * second moments of a 7B model's widest input have a rank of 11,008 to fill) to 131,072. */
size_t sterna_calibration_usual_tokens(const sterna_config *config);
/* Before the text is read: of `tokens`, how many the model will have to write, about. */
double sterna_calibration_own_tokens(const char *path, double tokens);
void sterna_calibration_free(sterna_calibration *calibration);

/* calibration_text.c */
extern const sterna_text *const sterna_calibration_texts[];
extern const size_t sterna_calibration_text_count;

#endif
