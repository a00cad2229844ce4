/* What a calibrated run is to do, and on what: what a prediction is made from. */
#ifndef STERNA_QUANT_WORKLOAD_H
#define STERNA_QUANT_WORKLOAD_H

#include "quant/machine.h"
#include "quant/settings.h"

typedef struct sterna_workload {
    sterna_config config;     /* owned */
    double tokens, length;    /* of calibration; of a window */
    double own_tokens;        /* of those of calibration, that the model writes itself */
    double tune_tokens;       /* 0: no tuning */
    bool tune_wanted;         /* however long it takes */
    bool text_only;           /* the model writes no windows of its own */
    bool sensitivities;       /* measured before the fit */
    double evaluation_tokens; /* through both models, at the end; 0: none */
    double source_bytes;      /* of the file */
    double loaded_bytes;      /* of the model as it runs */
    double written_bytes;     /* of the output's tensors */
    double ternary_bytes;     /* of those that are fitted, */
    double scales;            /* and how many groups of columns they have */
    uint32_t finished;        /* layers that a journal has */
    int threads;
    sterna_rates rates;
} sterna_workload;

/* `items` are planned. Measures for a tenth of a second. Fails when the model's
 * configuration cannot be read. */
sterna_status sterna_workload_of(const sterna_model_file *file, const sterna_settings *settings,
                                 const sterna_item *items, size_t n_items, sterna_workload *out,
                                 sterna_error *err);
/* Accepts a zeroed one. */
void sterna_workload_free(sterna_workload *workload);

#endif
