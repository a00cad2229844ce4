/* What a caller asked the quantizer for, checked and with every default filled in. */
#ifndef STERNA_QUANT_SETTINGS_H
#define STERNA_QUANT_SETTINGS_H

#include <jansson.h>

#include "quant/calibrate.h"
#include "quant/propagate.h"

typedef enum sterna_scales {
    STERNA_SCALES_GROUP,
    STERNA_SCALES_ROW,
    STERNA_SCALES_TENSOR
} sterna_scales;

typedef struct sterna_settings {
    bool calibrated; /* the method sterna; else `method` */
    sterna_fit_method method;
    sterna_scales scales;
    uint32_t group; /* columns that share a scale, with STERNA_SCALES_GROUP; 0 = as the type has */
    sterna_type type, keep;
    int threads;
    bool folder; /* the output is a Hugging Face folder, not a GGUF file */
    bool named;  /* the caller chose the method or the scales */
    sterna_calibration_options calibration;
    sterna_propagation propagation;
} sterna_settings;

sterna_status sterna_settings_read(const sterna_quantize_options *options, sterna_settings *out,
                                   sterna_error *err);

const char *sterna_settings_method(const sterna_settings *settings);
const char *sterna_settings_scales(const sterna_settings *settings);
/* For the receipt; NULL when memory ran out. */
json_t *sterna_settings_describe(const sterna_settings *settings);

#endif
