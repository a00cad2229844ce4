/* prism.hadamard.* and sterna.hadamard.* metadata of GGUF files, version 1 of both: which matrices
 * were stored transformed, so that their inputs (or, for an embedding table, its rows) must be
 * transformed too. The first has one block size for all, the second one for each input width. A
 * file whose rules are not understood is refused: ignoring them gives fluent garbage. */
#ifndef STERNA_MODEL_HADAMARD_H
#define STERNA_MODEL_HADAMARD_H

#include "device/device.h"
#include "formats/model_file.h"

enum { STERNA_HADAMARD_WIDTHS = 16 };

typedef struct sterna_hadamard_rules {
    uint32_t block; /* of every width that has none of its own; 0: there is none */
    size_t n_widths;
    struct {
        uint32_t width, block;        /* block 0: the common one */
        float *signs;                 /* [width] */
    } widths[STERNA_HADAMARD_WIDTHS]; /* none: all signs are +1 */
    char **names, **inverse_names;    /* of tensors, NULL-terminated */
} sterna_hadamard_rules;

sterna_status sterna_hadamard_read(const sterna_model_file *file, sterna_hadamard_rules *rules,
                                   sterna_error *err);
void sterna_hadamard_free(sterna_hadamard_rules *rules);
/* Sets the transforms of a tensor in `options` (signs are borrowed from the rules). */
sterna_status sterna_hadamard_apply(const sterna_hadamard_rules *rules, const char *path,
                                    const sterna_tensor *tensor, sterna_weight_options *options,
                                    sterna_error *err);
/* Fails when a listed tensor is not in the file. */
sterna_status sterna_hadamard_check(const sterna_hadamard_rules *rules,
                                    const sterna_model_file *file, sterna_error *err);

#endif
