/* The calibrated method on a planned model: checks, calibration text, layers, metadata. */
#ifndef STERNA_QUANT_CALIBRATED_H
#define STERNA_QUANT_CALIBRATED_H

#include "quant/export.h"
#include "quant/facts.h"
#include "quant/settings.h"

/* Every item of verb FIT becomes READY; what the file needs to be run goes into the metadata of
 * `writer`, what people want to know into `facts`. Weights that cannot be fitted are refused before
 * long work starts. What is finished goes into the journal of the settings; what is there already
 * is taken from it.
 */
sterna_status sterna_calibrated(const sterna_model_file *file, const char *in,
                                const sterna_settings *settings, sterna_export *plan,
                                sterna_model_writer *writer, sterna_facts *facts,
                                sterna_error *err);

/* What the result of a run depends on: the model, the settings, the text, the version. The model is
 * known by its directory and the ends of every tensor. */
sterna_status sterna_calibrated_identity(const sterna_model_file *file,
                                         const sterna_settings *settings,
                                         uint8_t identity[STERNA_DIGEST_BYTES], sterna_error *err);

#endif
