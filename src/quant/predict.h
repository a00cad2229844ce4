/* What a calibrated run will take, before it starts: arithmetic on the model's shapes and the
 * machine's speed. docs/QUANTIZATION.md explains it and says how near it comes. */
#ifndef STERNA_QUANT_PREDICT_H
#define STERNA_QUANT_PREDICT_H

#include "quant/workload.h"

typedef struct sterna_prediction {
    double tokens;            /* of calibration */
    double text_bytes;        /* at the peak of writing the model's own windows */
    double layers_bytes;      /* at the peak of fitting layers */
    double per_token;         /* bytes of layers_bytes that one more token costs */
    double tuning_bytes;      /* at the peak of tuning; 0: there is none */
    double evaluation_bytes;  /* with both models loaded; 0: there is none */
    double sensitivity_bytes; /* with the full model loaded; 0: they are not measured */
    /* of the same, and of measuring sensitivities; without what a journal has already */
    double text_s, sensitivity_s, fit_s, tuning_s, evaluation_s;
    double tuning_tokens; /* fewer than wanted where nobody asked for them and time is short */
    double all_tuning_s;  /* where it is shortened or left out for that reason: of all; else 0 */
} sterna_prediction;

sterna_prediction sterna_predict(const sterna_workload *workload);
double sterna_prediction_bytes(const sterna_prediction *prediction);
double sterna_prediction_seconds(const sterna_prediction *prediction);

/* Refuses a calibration that does not fit into `available` bytes, and says how many tokens would.
 * Tuning and evaluation are not looked at: what is written does not hang on them. */
sterna_status sterna_prediction_check(const sterna_prediction *prediction, double available,
                                      sterna_error *err);
/* "about 0.6 GB of memory and 9 min, 4 min of them tuning", into text[size]. */
void sterna_prediction_text(const sterna_prediction *prediction, char *text, size_t size);

#endif
