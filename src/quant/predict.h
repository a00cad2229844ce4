/* What a calibrated run will take, from the model's shapes and a quick measurement, before it
 * starts. docs/QUANTIZATION.md has the arithmetic and how near it comes. */
#ifndef STERNA_QUANT_PREDICT_H
#define STERNA_QUANT_PREDICT_H

#include "quant/settings.h"

typedef struct sterna_prediction {
    double tokens;        /* of calibration */
    double text_bytes;    /* at the peak of writing the model's own windows */
    double layers_bytes;  /* at the peak of fitting layers */
    double per_token;     /* bytes of layers_bytes that one more token costs */
    double text_s, fit_s; /* of the same two; without what a journal has already */
} sterna_prediction;

/* `items` are planned. Measures for a few hundredths of a second. Fails when the model's
 * configuration cannot be read. */
sterna_status sterna_predict(const sterna_model_file *file, const sterna_settings *settings,
                             const sterna_item *items, size_t n_items, sterna_prediction *out,
                             sterna_error *err);
double sterna_prediction_bytes(const sterna_prediction *prediction);

/* Bytes that this process may still take: of the machine, its control group and its limits. */
double sterna_available_memory(void);
/* Refuses what does not fit into `available` bytes, and says how many tokens would. */
sterna_status sterna_prediction_check(const sterna_prediction *prediction, double available,
                                      sterna_error *err);
/* "about 0.6 GB of memory and 4 min", into text[size]. */
void sterna_prediction_text(const sterna_prediction *prediction, char *text, size_t size);

#endif
