/* What a file is, read from its directory alone: no weight is loaded. */
#ifndef STERNA_RUN_INSPECT_H
#define STERNA_RUN_INSPECT_H

#include <jansson.h>

#include "run/session.h"

/* The object that sterna_inspect describes. A file that holds something Sterna cannot run is still
 * described: `problems` then says what stands in the way. Fails only when it cannot be read. */
sterna_status sterna_run_inspect(const char *path, const sterna_model_options *options, char **json,
                                 sterna_error *err);

/* What PATH.receipt.json says: version, input, settings, calibration, evaluation, relative_error,
 * time_s, peak_bytes; a sentence when its fingerprint is not that of `path`; NULL when there is
 * none. The caller releases it. */
json_t *sterna_inspect_receipt(const char *path);

#endif
