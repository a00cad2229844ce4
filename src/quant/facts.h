/* What a run of the quantizer found on its way, for the receipt. */
#ifndef STERNA_QUANT_FACTS_H
#define STERNA_QUANT_FACTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"

enum { STERNA_FACTS_STAGES = 8 };

/* Of tuning (quant/tune.h): mean KL(full || made) on held-out windows before and after. */
typedef struct sterna_tuned {
    size_t tokens;  /* in whole steps; 0: there was none */
    size_t chosen;  /* the same, before it was rounded up */
    size_t shorter; /* the usual number, where the time did not allow it; else 0 */
    size_t learnt_windows, held_windows;
    double before, after, seconds, predicted; /* nats a token; seconds, predicted before it began */
    float rate;
    const char *skipped; /* why nothing was tuned, a literal; NULL: it was */
    bool kept;           /* it helped */
} sterna_tuned;

typedef struct sterna_facts {
    double start, last; /* seconds of the clock: of the run, of the last stage's end */
    struct {
        const char *name;
        double seconds, peak; /* peak: resident bytes of the process until its end */
    } stages[STERNA_FACTS_STAGES];
    size_t n_stages;
    double bits;      /* a weight of the layers' matrices, where they were limited; else 0 */
    uint32_t resumed; /* layers that an earlier run had finished */
    /* calibration; windows 0: there was none */
    size_t windows, length, generated; /* windows, tokens of each, windows that the model wrote */
    sterna_tuned tuning;
    const char *text;                     /* its file's name, borrowed; NULL: the built-in set */
    char text_digest[STERNA_DIGEST_TEXT]; /* SHA-256 of its bytes */
} sterna_facts;

void sterna_facts_start(sterna_facts *facts);
/* What happened since the stage before (or the start) was `name`, a literal. */
void sterna_facts_stage(sterna_facts *facts, const char *name);
/* Calibration, times, peak memory and the machine as members of `receipt`; nonzero when memory ran
 * out. */
int sterna_facts_describe(const sterna_facts *facts, json_t *receipt);

#endif
