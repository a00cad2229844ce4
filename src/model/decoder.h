/* What a loaded decoder consists of. Internal to model/: decoder_load.c makes it, decoder.c runs
 * it.
 */
#ifndef STERNA_MODEL_DECODER_H
#define STERNA_MODEL_DECODER_H

#include <pthread.h>

#include "model/family.h"
#include "model/hadamard.h"
#include "model/model.h"

/* What stands in one slot of the family's name table. */
typedef struct sterna_part {
    sterna_weight *weight; /* NULL for norms */
    float *vector;         /* device memory: a norm's gains, a matrix's bias; or NULL */
} sterna_part;

typedef struct sterna_layer {
    sterna_part part[STERNA_SLOTS]; /* those from STERNA_SLOT_LAYERED on */
} sterna_layer;

struct sterna_decoder {
    sterna_config config;
    sterna_device *device;
    sterna_part embedding, final_norm, head; /* tied: head.weight is embedding.weight */
    sterna_layer *layers;                    /* [n_layers] */
    uint32_t max_ffn;                        /* widest layer */
    sterna_hadamard_rules hadamard;
    sterna_loaded_weight *weights;
    size_t n_weights;
    uint64_t bytes;
    pthread_mutex_t turn; /* one pass at a time: the device's scratch is shared */
};

#endif
