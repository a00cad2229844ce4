/* Is this still the model that was written? */
#ifndef STERNA_FORMATS_FINGERPRINT_H
#define STERNA_FORMATS_FINGERPRINT_H

#include "base/digest.h"

/* sterna_digest_file of a model's file, or of the model.safetensors of its folder, as text. */
sterna_status sterna_fingerprint(const char *path, char text[STERNA_DIGEST_TEXT],
                                 sterna_error *err);
/* What stands beside a model: its path without slashes at the end, and `suffix`. NULL when memory
 * ran out; release with sterna_free. */
char *sterna_path_beside(const char *path, const char *suffix);

#endif
