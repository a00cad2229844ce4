/* The calibrated method on a planned model: checks, calibration text, layers, metadata. */
#ifndef STERNA_QUANT_CALIBRATED_H
#define STERNA_QUANT_CALIBRATED_H

#include "quant/export.h"
#include "quant/facts.h"
#include "quant/settings.h"

/* Every item of verb FIT becomes READY; what the file needs to be run goes into the metadata of
 * `writer`, what people want to know into `facts`. Weights that cannot be fitted are refused before
 * long work starts. */
sterna_status sterna_calibrated(const sterna_model_file *file, const char *in,
                                const sterna_settings *settings, sterna_export *plan,
                                sterna_model_writer *writer, sterna_facts *facts,
                                sterna_error *err);

#endif
