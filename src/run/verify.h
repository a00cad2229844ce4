/* Self-test on a model: every instruction-set level of this machine against the reference level, on
 * the model's own weights. */
#ifndef STERNA_RUN_VERIFY_H
#define STERNA_RUN_VERIFY_H

#include "run/session.h"

/* *report (may be NULL): {model, reference, ok, checks: [{name, ok, detail}]}. A failed check is
 * STERNA_ERROR_INTERNAL; the report is set then too. */
sterna_status sterna_run_verify(const char *path, const sterna_model_options *options,
                                char **report, sterna_error *err);

#endif
