/* What a caller asked the quantizer for, checked and with every default filled in. */
#ifndef STERNA_QUANT_SETTINGS_H
#define STERNA_QUANT_SETTINGS_H

#include <jansson.h>

#include "quant/calibrate.h"
#include "quant/propagate.h"
#include "quant/tune.h"

typedef enum sterna_scales {
    STERNA_SCALES_GROUP,
    STERNA_SCALES_ROW,
    STERNA_SCALES_TENSOR
} sterna_scales;

/* What becomes of the matrices that are kept. */
typedef enum sterna_keep_type {
    STERNA_KEEP_AUTO,   /* quantised in the source: byte for byte; floats: Q8_0 */
    STERNA_KEEP_SOURCE, /* byte for byte */
    STERNA_KEEP_Q8_0,
    STERNA_KEEP_F16
} sterna_keep_type;

typedef struct sterna_settings {
    bool calibrated; /* propagation.fitter says how; else `method` does */
    sterna_fit_method method;
    sterna_scales scales;
    uint32_t group; /* columns that share a scale, with STERNA_SCALES_GROUP; 0 = as the type has */
    sterna_type type;
    sterna_keep_type keep_type;
    const char *keep; /* components and names of tensors that do not become ternary */
    bool asymmetric;  /* a shift for every group */
    double outliers;  /* share of the columns */
    double bits;      /* a weight of the layers' matrices; 0 = trits alone, the same everywhere */
    bool bits_usual;  /* nobody has asked for them */
    int threads;
    json_t *recipe; /* owned; NULL = the decisions are to be taken */
    const char *recipe_path;
    bool folder; /* the output is a Hugging Face folder, not a GGUF file */
    bool portable;
    unsigned folds; /* STERNA_FOLD_* of model/family.h: what was folded before the fit */
    bool named;     /* the caller chose the method or the scales */
    sterna_calibration_options calibration;
    sterna_propagation propagation;
    sterna_tune_settings tuning;
} sterna_settings;

enum { STERNA_STAGES_BYTES = 48 }; /* of their list, as text */

/* Texts are borrowed from `options` or from the recipe. */
sterna_status sterna_settings_read(const sterna_quantize_options *options, sterna_settings *out,
                                   sterna_error *err);
/* Accepts zeroed ones and those of a failed read. */
void sterna_settings_free(sterna_settings *settings);

const char *sterna_settings_method(const sterna_settings *settings);
const char *sterna_settings_scales(const sterna_settings *settings);
const char *sterna_settings_keep_type(const sterna_settings *settings);
/* The steps of the fit as --stages takes them: "balance,columns", or "none". */
void sterna_settings_stages(const sterna_settings *settings, char text[STERNA_STAGES_BYTES]);
/* For the receipt; NULL when memory ran out. */
json_t *sterna_settings_describe(const sterna_settings *settings);

#endif
