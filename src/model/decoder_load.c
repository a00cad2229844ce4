/* Loading a decoder: every slot that its family's row and its configuration ask for is looked up,
 * checked against the shape that the configuration says, and packed on the device; the file's pages
 * go back as they are read. A tensor left over is an error too: it means that the file is of a kind
 * that the family's row does not describe. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "model/decoder.h"

enum { NAME_BYTES = 160 };

typedef struct loader {
    const sterna_model_file *file;
    const sterna_decoder_options *options;
    sterna_decoder *decoder;
    const sterna_tensor_names *names;
    const char *prefix;
    bool *used; /* [n_tensors] */
    uint64_t done;
    sterna_error *err;
    char name[NAME_BYTES];
} loader;

/* A matrix of the decoder: rows [first, first + rows) of the slot's tensor or of a fused one. */
typedef struct wanted {
    sterna_slot slot;
    uint64_t rows, cols;
    sterna_slot fused; /* STERNA_SLOTS: none */
    uint64_t first, fused_rows;
    bool bias_required;
} wanted;

static bool slot_name(loader *l, uint32_t layer, sterna_slot slot, const char *suffix)
{
    const char *name = l->names->name[slot];
    if (!name) return false;
    if (slot >= STERNA_SLOT_LAYERED)
        snprintf(l->name, sizeof l->name, "%s%s%u.%s%s", l->prefix, l->names->layers, layer, name,
                 suffix);
    else
        snprintf(l->name, sizeof l->name, "%s%s%s", slot == STERNA_SLOT_HEAD ? "" : l->prefix, name,
                 suffix);
    return true;
}

/* The tensor of a slot, or NULL; its name stays in l->name. */
static const sterna_tensor *find(loader *l, uint32_t layer, sterna_slot slot, const char *suffix)
{
    if (!slot_name(l, layer, slot, suffix)) return NULL;
    const sterna_tensor *tensor = sterna_model_file_find(l->file, l->name);
    if (tensor) l->used[tensor - l->file->tensors] = true;
    return tensor;
}

static sterna_status missing(loader *l, uint32_t layer, sterna_slot slot, const char *suffix)
{
    slot_name(l, layer, slot, suffix);
    if (l->options->on_missing) {
        l->options->on_missing(l->options->missing_context, l->name);
        return STERNA_OK;
    }
    return sterna_fail(l->err, STERNA_ERROR_FORMAT,
                       "%s: tensor '%s' is missing: a %s model of %u layers has it", l->file->path,
                       l->name, sterna_family_name(l->decoder->config.family),
                       l->decoder->config.n_layers);
}

static sterna_status check_shape(loader *l, const sterna_tensor *tensor, uint64_t cols,
                                 uint64_t rows)
{
    if (tensor->dims[0] == cols && sterna_tensor_rows(tensor) == rows) return STERNA_OK;
    return sterna_fail(l->err, STERNA_ERROR_FORMAT,
                       "%s: tensor '%s' is %" PRIu64 " x %" PRIu64 " (rows x columns); the model's "
                       "configuration says %" PRIu64 " x %" PRIu64,
                       l->file->path, tensor->name, sterna_tensor_rows(tensor), tensor->dims[0],
                       rows, cols);
}

static sterna_status progress(loader *l, const sterna_tensor *tensor)
{
    sterna_model_file_release(l->file, tensor);
    l->done += tensor->bytes;
    if (!l->options->progress ||
        l->options->progress(l->options->progress_context, "loading",
                             fmin((double)l->done, (double)l->file->bytes), (double)l->file->bytes))
        return STERNA_OK;
    return sterna_fail(l->err, STERNA_ERROR_CANCELLED, "%s: loading was cancelled", l->file->path);
}

/* A vector of floats onto the device, `shift` added; rows [first, first + count) of the tensor's
 * one row. */
static sterna_status load_vector(loader *l, const sterna_tensor *tensor, uint64_t total,
                                 uint64_t first, uint64_t count, float shift, float **out)
{
    sterna_device *device = l->decoder->device;
    sterna_status status = check_shape(l, tensor, total, 1);
    if (status) return status;
    if (sterna_type_describe(tensor->type)->kind != STERNA_KIND_FLOAT)
        return sterna_fail(l->err, STERNA_ERROR_UNSUPPORTED,
                           "%s: tensor '%s' is %s; norms and biases must be float", l->file->path,
                           tensor->name, sterna_type_describe(tensor->type)->name);
    float *host = sterna_alloc((size_t)total, sizeof *host);
    float *memory = device->alloc(device, (size_t)count * sizeof *memory);
    if (!host || !memory) {
        sterna_free(host);
        if (memory) device->release(device, memory);
        return sterna_fail_memory(l->err, tensor->name);
    }
    sterna_tensor_row(tensor, 0, host);
    bool finite = true;
    for (uint64_t i = first; i < first + count; i++) {
        host[i] += shift;
        finite &= (bool)isfinite(host[i]);
    }
    device->upload(device, memory, host + first, (size_t)count * sizeof *host);
    sterna_free(host);
    *out = memory; /* owned by the decoder from here on, also when the next check fails */
    l->decoder->bytes += count * sizeof *memory;
    if (!finite)
        return sterna_fail(l->err, STERNA_ERROR_FORMAT,
                           "%s: tensor '%s' holds NaN or infinite values", l->file->path,
                           tensor->name);
    return progress(l, tensor);
}

static sterna_status load_norm(loader *l, uint32_t layer, sterna_slot slot, uint64_t width,
                               sterna_part *part)
{
    const sterna_tensor *tensor = find(l, layer, slot, ".weight");
    if (!tensor) return missing(l, layer, slot, ".weight");
    return load_vector(l, tensor, width, 0, width, l->decoder->config.norm_shift, &part->vector);
}

/* BitNet's master weights: round(w / mean|w|) clipped to trits, for the whole tensor (arXiv
 * 2402.17764). Packs them as Hugging Face's BitNet layout into *trits, a copy of *tensor of that
 * type; *packed is the memory behind it. */
static sterna_status ternarize(loader *l, const sterna_tensor *tensor, sterna_tensor *trits,
                               uint8_t **packed)
{
    uint64_t cols = tensor->dims[0], rows = sterna_tensor_rows(tensor);
    if (rows % 4)
        return sterna_fail(l->err, STERNA_ERROR_UNSUPPORTED,
                           "%s: tensor '%s' has %" PRIu64 " rows; BitNet weights come in multiples "
                           "of 4",
                           l->file->path, tensor->name, rows);
    uint64_t bytes = rows / 4 * cols;
    float *row = sterna_alloc((size_t)cols, sizeof *row);
    *packed = sterna_calloc((size_t)bytes, 1);
    if (!row || !*packed) {
        sterna_free(row);
        return sterna_fail_memory(l->err, tensor->name);
    }
    double sum = 0;
    for (uint64_t r = 0; r < rows; r++) {
        sterna_tensor_row(tensor, r, row);
        for (uint64_t c = 0; c < cols; c++) sum += fabs((double)row[c]);
    }
    float scale = fmaxf((float)(sum / (double)rows / (double)cols), 1e-5f);
    for (uint64_t r = 0; r < rows; r++) {
        sterna_tensor_row(tensor, r, row);
        uint8_t *out = *packed + r % (rows / 4) * cols;
        unsigned shift = (unsigned)(r / (rows / 4)) * 2;
        for (uint64_t c = 0; c < cols; c++) {
            float trit = fminf(fmaxf(rintf(row[c] / scale), -1), 1);
            out[c] = (uint8_t)(out[c] | (unsigned)((int)trit + 1) << shift);
        }
    }
    sterna_free(row);
    trits->data = *packed;
    trits->bytes = bytes;
    trits->scale = scale;
    if (isfinite(scale)) return STERNA_OK;
    return sterna_fail(l->err, STERNA_ERROR_FORMAT, "%s: tensor '%s' holds NaN or infinite values",
                       l->file->path, tensor->name);
}

/* "<name>.scale": one factor for the whole matrix, beside it in some GGUF files. */
static sterna_status read_scale(loader *l, uint32_t layer, sterna_slot slot, float *scale)
{
    const sterna_tensor *tensor = find(l, layer, slot, ".scale");
    if (!tensor) return STERNA_OK;
    sterna_status status = check_shape(l, tensor, 1, 1);
    if (!status && tensor->type == STERNA_TYPE_F32) sterna_tensor_row(tensor, 0, scale);
    if (!status && !(isfinite(*scale) && *scale != 0))
        status = sterna_fail(l->err, STERNA_ERROR_FORMAT,
                             "%s: tensor '%s' is no finite F32 scale other than 0", l->file->path,
                             tensor->name);
    return status;
}

static sterna_status pack(loader *l, const sterna_tensor *tensor,
                          const sterna_weight_options *options, sterna_part *part)
{
    sterna_decoder *decoder = l->decoder;
    sterna_device *device = decoder->device;
    const char *name = tensor->name;
    sterna_type type = tensor->type;
    sterna_status status = device->weight_load(device, tensor, options, &part->weight, l->err);
    if (status) {
        sterna_fail_prefix(l->err, "%s", l->file->path);
        return status;
    }
    sterna_loaded_weight *entry = &decoder->weights[decoder->n_weights];
    entry->name = sterna_strdup(name);
    if (!entry->name) return sterna_fail_memory(l->err, "a tensor's name");
    decoder->n_weights++;
    entry->type = type;
    device->weight_info(part->weight, &entry->info);
    decoder->bytes += entry->info.bytes;
    return STERNA_OK;
}

static sterna_status load_bias(loader *l, uint32_t layer, const wanted *want, bool fused,
                               sterna_part *part)
{
    const sterna_tensor *bias = find(l, layer, fused ? want->fused : want->slot, ".bias");
    if (bias)
        return load_vector(l, bias, fused ? want->fused_rows : want->rows, fused ? want->first : 0,
                           want->rows, 0, &part->vector);
    return want->bias_required ? missing(l, layer, want->slot, ".bias") : STERNA_OK;
}

/* The tensor that holds a matrix, alone or below others; NULL when a missing one was only noted. */
static sterna_status find_matrix(loader *l, uint32_t layer, const wanted *want,
                                 const sterna_tensor **tensor, bool *fused)
{
    *tensor = find(l, layer, want->slot, ".weight");
    *fused = !*tensor && want->fused != STERNA_SLOTS &&
             (*tensor = find(l, layer, want->fused, ".weight")) != NULL;
    if (!*tensor)
        return missing(l, layer, l->names->name[want->slot] ? want->slot : want->fused, ".weight");
    return check_shape(l, *tensor, want->cols, *fused ? want->fused_rows : want->rows);
}

static sterna_status load_matrix(loader *l, uint32_t layer, const wanted *want, sterna_part *part)
{
    const sterna_config *config = &l->decoder->config;
    const sterna_tensor *tensor;
    bool fused;
    sterna_status status = find_matrix(l, layer, want, &tensor, &fused);
    if (status || !tensor) return status;
    sterna_weight_options options = {.activation = STERNA_ACT_AUTO};
    status = read_scale(l, layer, fused ? want->fused : want->slot, &options.row_scale);
    if (!status)
        status =
            sterna_hadamard_apply(&l->decoder->hadamard, l->file->path, tensor, &options, l->err);
    if (status) return status;
    if (fused) options.first_row = want->first, options.rows = want->rows;

    sterna_type_kind kind = sterna_type_describe(tensor->type)->kind;
    bool linear = want->slot >= STERNA_SLOT_LAYERED;
    sterna_tensor trits;
    uint8_t *packed = NULL;
    const sterna_tensor *source = tensor;
    if (linear && config->ternarize && kind == STERNA_KIND_FLOAT) {
        trits = *tensor;
        trits.type = STERNA_TYPE_BITNET;
        if (!l->options->on_missing) status = ternarize(l, tensor, &trits, &packed);
        source = &trits;
    }
    if (linear) options.activation = config->activation;
    if (l->options->arithmetic == STERNA_ARITHMETIC_FLOAT && options.activation == STERNA_ACT_AUTO)
        options.activation = STERNA_ACT_FLOAT;
    if (!status) status = pack(l, source, &options, part);
    sterna_free(packed);
    if (!status) status = progress(l, tensor);
    if (!status) status = load_bias(l, layer, want, fused, part);
    return status;
}

/* What the configuration says of a matrix. */
static wanted describe_matrix(const sterna_config *config, uint32_t index, sterna_matrix matrix)
{
    uint64_t width = config->width, ffn = config->layers[index].ffn_width,
             q = (uint64_t)config->heads * config->head_dim,
             kv = (uint64_t)config->kv_heads * config->head_dim;
    bool bias = config->family->has & STERNA_HAS_QKV_BIAS;
    switch (matrix) {
    case STERNA_MATRIX_Q:
        return (wanted){STERNA_SLOT_Q, q, width, STERNA_SLOT_QKV, 0, q + 2 * kv, bias};
    case STERNA_MATRIX_K:
        return (wanted){STERNA_SLOT_K, kv, width, STERNA_SLOT_QKV, q, q + 2 * kv, bias};
    case STERNA_MATRIX_V:
        return (wanted){STERNA_SLOT_V, kv, width, STERNA_SLOT_QKV, q + kv, q + 2 * kv, bias};
    case STERNA_MATRIX_OUT: return (wanted){STERNA_SLOT_OUT, width, q, STERNA_SLOTS, 0, 0, false};
    case STERNA_MATRIX_GATE:
        return (wanted){STERNA_SLOT_GATE, ffn, width, STERNA_SLOT_GATE_UP, 0, 2 * ffn, false};
    case STERNA_MATRIX_UP:
        return (wanted){STERNA_SLOT_UP, ffn, width, STERNA_SLOT_GATE_UP, ffn, 2 * ffn, false};
    default: return (wanted){STERNA_SLOT_DOWN, width, ffn, STERNA_SLOTS, 0, 0, false};
    }
}

typedef struct wanted_norm {
    sterna_slot slot; /* STERNA_SLOTS: the family has none */
    uint64_t width;
} wanted_norm;

static wanted_norm describe_norm(const sterna_config *config, uint32_t index, sterna_norm norm)
{
    uint64_t width = config->width, ffn = config->layers[index].ffn_width,
             q = (uint64_t)config->heads * config->head_dim;
    const struct {
        wanted_norm norm;
        unsigned needs; /* of the family; 0 = always there */
    } norms[] = {
        [STERNA_NORM_ATTENTION] = {{STERNA_SLOT_ATTN_NORM, width}, 0},
        [STERNA_NORM_Q] = {{STERNA_SLOT_Q_NORM, config->head_dim}, STERNA_HAS_QK_NORM},
        [STERNA_NORM_K] = {{STERNA_SLOT_K_NORM, config->head_dim}, STERNA_HAS_QK_NORM},
        [STERNA_NORM_ATTENTION_SUB] = {{STERNA_SLOT_ATTN_SUB_NORM, q}, STERNA_HAS_SUB_NORMS},
        [STERNA_NORM_ATTENTION_POST] = {{STERNA_SLOT_ATTN_POST_NORM, width}, STERNA_HAS_POST_NORMS},
        [STERNA_NORM_FFN] = {{STERNA_SLOT_FFN_NORM, width}, 0},
        [STERNA_NORM_FFN_SUB] = {{STERNA_SLOT_FFN_SUB_NORM, ffn}, STERNA_HAS_SUB_NORMS},
        [STERNA_NORM_FFN_POST] = {{STERNA_SLOT_FFN_POST_NORM, width}, STERNA_HAS_POST_NORMS}};
    bool there = !norms[norm].needs || config->family->has & norms[norm].needs;
    return there ? norms[norm].norm : (wanted_norm){STERNA_SLOTS, 0};
}

static sterna_status load_norms(loader *l, uint32_t index)
{
    sterna_part *part = l->decoder->layers[index].part;
    sterna_status status = STERNA_OK;
    for (int i = 0; !status && i < STERNA_NORMS; i++) {
        wanted_norm want = describe_norm(&l->decoder->config, index, (sterna_norm)i);
        if (want.slot != STERNA_SLOTS)
            status = load_norm(l, index, want.slot, want.width, &part[want.slot]);
    }
    return status;
}

static sterna_status load_layer(loader *l, uint32_t index)
{
    sterna_part *part = l->decoder->layers[index].part;
    sterna_status status = load_norms(l, index);
    for (int i = 0; !status && i < STERNA_MATRICES; i++) {
        wanted want = describe_matrix(&l->decoder->config, index, (sterna_matrix)i);
        status = load_matrix(l, index, &want, &part[want.slot]);
    }
    return status;
}

static sterna_status load_ends(loader *l)
{
    sterna_decoder *decoder = l->decoder;
    const sterna_config *config = &decoder->config;
    wanted table = {
        STERNA_SLOT_EMBEDDING, config->vocabulary, config->width, STERNA_SLOTS, 0, 0, false};
    sterna_status status = load_matrix(l, 0, &table, &decoder->embedding);
    if (l->options->without_layers) return status;
    if (!status)
        status = load_norm(l, 0, STERNA_SLOT_FINAL_NORM, config->width, &decoder->final_norm);
    if (status) return status;
    const sterna_tensor *head = find(l, 0, STERNA_SLOT_HEAD, ".weight");
    if (config->tying == STERNA_HEAD_TIED || (config->tying == STERNA_HEAD_EITHER && !head)) {
        decoder->head = (sterna_part){.weight = decoder->embedding.weight};
        return STERNA_OK;
    }
    table.slot = STERNA_SLOT_HEAD;
    return load_matrix(l, 0, &table, &decoder->head);
}

/* The prefix under which the file keeps the decoder's tensors: the one that has the embedding. */
static sterna_status find_prefix(loader *l)
{
    size_t n = sizeof l->names->prefixes / sizeof *l->names->prefixes;
    for (size_t i = 0; i < n && l->names->prefixes[i]; i++) {
        l->prefix = l->names->prefixes[i];
        if (find(l, 0, STERNA_SLOT_EMBEDDING, ".weight")) return STERNA_OK;
    }
    l->prefix = l->names->prefixes[0];
    return missing(l, 0, STERNA_SLOT_EMBEDDING, ".weight");
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n >= m && strcmp(name + n - m, suffix) == 0;
}

static bool ignored(const sterna_tensor_names *names, const char *name)
{
    size_t n = sizeof names->ignored_suffixes / sizeof *names->ignored_suffixes;
    for (size_t i = 0; i < n && names->ignored_suffixes[i]; i++)
        if (ends_with(name, names->ignored_suffixes[i])) return true;
    n = sizeof names->ignored_prefixes / sizeof *names->ignored_prefixes;
    for (size_t i = 0; i < n && names->ignored_prefixes[i]; i++)
        if (strncmp(name, names->ignored_prefixes[i], strlen(names->ignored_prefixes[i])) == 0)
            return true;
    return false;
}

static sterna_status check_leftovers(loader *l)
{
    for (sterna_slot slot = STERNA_SLOT_ROPE_DIVISORS; slot <= STERNA_SLOT_ROPE_SHORT; slot++)
        find(l, 0, slot, ".weight"); /* config_gguf.c has read them */
    for (size_t i = 0; i < l->file->n_tensors; i++) {
        const char *name = l->file->tensors[i].name;
        if (l->used[i] || ignored(l->names, name)) continue;
        return sterna_fail(l->err, STERNA_ERROR_UNSUPPORTED,
                           "%s: tensor '%.100s' is no part of a %s model of %u layers: the file "
                           "holds something that Sterna would leave out",
                           l->file->path, name, sterna_family_name(l->decoder->config.family),
                           l->decoder->config.n_layers);
    }
    return STERNA_OK;
}

static sterna_status load(loader *l)
{
    sterna_decoder *decoder = l->decoder;
    sterna_config *config = &decoder->config;
    sterna_status status = sterna_config_read(l->file, config, l->err);
    if (!status) status = sterna_hadamard_read(l->file, &decoder->hadamard, l->err);
    if (!status) status = sterna_hadamard_check(&decoder->hadamard, l->file, l->err);
    if (status) return status;
    l->names = sterna_family_names(config->family, l->file->container);
    l->used = sterna_calloc(l->file->n_tensors, sizeof *l->used);
    decoder->layers = sterna_calloc(config->n_layers, sizeof *decoder->layers);
    decoder->weights = sterna_calloc((size_t)config->n_layers * 7 + 2, sizeof *decoder->weights);
    if (!l->used || !decoder->layers || !decoder->weights)
        return sterna_fail_memory(l->err, "the directory of the model's layers");
    for (uint32_t i = 0; i < config->n_layers; i++)
        if (config->layers[i].ffn_width > decoder->max_ffn)
            decoder->max_ffn = config->layers[i].ffn_width;
    status = find_prefix(l);
    if (!status) status = load_ends(l);
    if (l->options->without_layers) return status;
    for (uint32_t i = 0; !status && i < config->n_layers; i++) status = load_layer(l, i);
    if (!status) status = check_leftovers(l);
    return status;
}

sterna_status sterna_decoder_load(const sterna_model_file *file, sterna_device *device,
                                  const sterna_decoder_options *options, sterna_decoder **out,
                                  sterna_error *err)
{
    const sterna_decoder_options none = {0};
    sterna_decoder *decoder = sterna_calloc(1, sizeof *decoder);
    if (!decoder) return sterna_fail_memory(err, "a model");
    pthread_mutex_init(&decoder->turn, NULL);
    decoder->device = device;
    loader l = {.file = file, .options = options ? options : &none, .decoder = decoder, .err = err};
    sterna_status status = load(&l);
    sterna_free(l.used);
    if (status) {
        sterna_decoder_free(decoder);
        return status;
    }
    *out = decoder;
    return STERNA_OK;
}

static void free_part(sterna_device *device, sterna_part *part)
{
    if (part->weight) device->weight_free(device, part->weight);
    if (part->vector) device->release(device, part->vector);
}

void sterna_decoder_unload_layer(sterna_decoder *decoder, uint32_t layer)
{
    for (int slot = STERNA_SLOT_LAYERED; slot < STERNA_SLOTS; slot++) {
        sterna_part *part = &decoder->layers[layer].part[slot];
        free_part(decoder->device, part);
        *part = (sterna_part){0};
    }
}

void sterna_decoder_free(sterna_decoder *decoder)
{
    if (!decoder) return;
    sterna_device *device = decoder->device;
    for (uint32_t i = 0; decoder->layers && i < decoder->config.n_layers; i++)
        sterna_decoder_unload_layer(decoder, i);
    if (decoder->head.weight == decoder->embedding.weight) decoder->head.weight = NULL;
    free_part(device, &decoder->embedding);
    free_part(device, &decoder->final_norm);
    free_part(device, &decoder->head);
    sterna_free(decoder->layers);
    for (size_t i = 0; i < decoder->n_weights; i++) sterna_free((char *)decoder->weights[i].name);
    sterna_free(decoder->weights);
    sterna_hadamard_free(&decoder->hadamard);
    sterna_config_free(&decoder->config);
    pthread_mutex_destroy(&decoder->turn);
    sterna_free(decoder);
}

const sterna_config *sterna_decoder_config(const sterna_decoder *decoder)
{
    return &decoder->config;
}

sterna_device *sterna_decoder_device(const sterna_decoder *decoder)
{
    return decoder->device;
}

size_t sterna_decoder_weights(const sterna_decoder *decoder, const sterna_loaded_weight **weights)
{
    *weights = decoder->weights;
    return decoder->n_weights;
}

uint64_t sterna_decoder_bytes(const sterna_decoder *decoder)
{
    return decoder->bytes;
}

uint64_t sterna_decoder_bytes_per_token(const sterna_decoder *decoder)
{
    if (decoder->head.weight == decoder->embedding.weight) return decoder->bytes;
    sterna_weight_info info;
    decoder->device->weight_info(decoder->embedding.weight, &info);
    return decoder->bytes - info.bytes;
}

double sterna_decoder_operations(const sterna_decoder *decoder, size_t tokens, size_t logits)
{
    bool tied = decoder->head.weight == decoder->embedding.weight;
    double table = (double)decoder->config.vocabulary * decoder->config.width, all = 0;
    for (size_t i = 0; i < decoder->n_weights; i++)
        all += (double)decoder->weights[i].info.rows * (double)decoder->weights[i].info.cols;
    return 2 * ((all - (tied ? 1 : 2) * table) * (double)tokens + table * (double)logits);
}

/* ---- one layer at a time ---- */

static sterna_status open_layer(loader *l)
{
    l->names = sterna_family_names(l->decoder->config.family, l->file->container);
    l->used = sterna_calloc(l->file->n_tensors, sizeof *l->used);
    return l->used ? find_prefix(l) : sterna_fail_memory(l->err, "the directory of a layer");
}

static sterna_status load_biases(loader *l, uint32_t layer)
{
    sterna_status status = STERNA_OK;
    for (int i = 0; !status && i < STERNA_MATRICES; i++) {
        const sterna_tensor *tensor;
        bool fused;
        wanted want = describe_matrix(&l->decoder->config, layer, (sterna_matrix)i);
        status = find_matrix(l, layer, &want, &tensor, &fused);
        if (!status && tensor)
            status = load_bias(l, layer, &want, fused, &l->decoder->layers[layer].part[want.slot]);
    }
    return status;
}

sterna_status sterna_decoder_load_layer(sterna_decoder *decoder, const sterna_model_file *file,
                                        const sterna_decoder_options *options, uint32_t layer,
                                        bool matrices, sterna_error *err)
{
    loader l = {.file = file, .options = options, .decoder = decoder, .err = err};
    sterna_status status = open_layer(&l);
    if (!status && matrices) status = load_layer(&l, layer);
    if (!status && !matrices) {
        status = load_norms(&l, layer);
        if (!status) status = load_biases(&l, layer);
    }
    sterna_free(l.used);
    return status;
}

sterna_status sterna_decoder_find_matrix(sterna_decoder *decoder, const sterna_model_file *file,
                                         uint32_t layer, sterna_matrix matrix,
                                         sterna_matrix_place *place, sterna_error *err)
{
    const sterna_decoder_options none = {0};
    loader l = {.file = file, .options = &none, .decoder = decoder, .err = err};
    wanted want = describe_matrix(&decoder->config, layer, matrix);
    const sterna_tensor *tensor = NULL;
    bool fused = false;
    sterna_status status = open_layer(&l);
    if (!status) status = find_matrix(&l, layer, &want, &tensor, &fused);
    if (!status) *place = (sterna_matrix_place){tensor, fused ? want.first : 0, want.rows};
    sterna_free(l.used);
    return status;
}

static sterna_status find_norm(loader *l, uint32_t layer, wanted_norm want,
                               const sterna_tensor **tensor)
{
    *tensor = NULL;
    if (want.slot == STERNA_SLOTS) return STERNA_OK;
    *tensor = find(l, layer, want.slot, ".weight");
    return *tensor ? check_shape(l, *tensor, want.width, 1)
                   : missing(l, layer, want.slot, ".weight");
}

static sterna_status find_parts(loader *l, uint32_t layer, sterna_matrix matrix,
                                sterna_layer_places *places)
{
    const sterna_tensor *tensor = NULL;
    bool fused = false;
    wanted want = describe_matrix(&l->decoder->config, layer, matrix);
    sterna_status status = find_matrix(l, layer, &want, &tensor, &fused);
    if (status) return status;
    sterna_slot slot = fused ? want.fused : want.slot;
    uint64_t first = fused ? want.first : 0, rows = fused ? want.fused_rows : want.rows;
    places->matrices[matrix] = (sterna_matrix_place){tensor, first, want.rows};
    places->factors[matrix] = 1;
    status = read_scale(l, layer, slot, &places->factors[matrix]);
    const sterna_tensor *bias = find(l, layer, slot, ".bias");
    if (!status && bias) status = check_shape(l, bias, rows, 1);
    if (!status && !bias && want.bias_required) status = missing(l, layer, slot, ".bias");
    places->biases[matrix] = (sterna_matrix_place){bias, first, want.rows};
    return status;
}

sterna_status sterna_decoder_find_layer(sterna_decoder *decoder, const sterna_model_file *file,
                                        uint32_t layer, sterna_layer_places *places,
                                        sterna_error *err)
{
    const sterna_decoder_options none = {0};
    loader l = {.file = file, .options = &none, .decoder = decoder, .err = err};
    sterna_status status = open_layer(&l);
    for (int i = 0; !status && i < STERNA_MATRICES; i++)
        status = find_parts(&l, layer, (sterna_matrix)i, places);
    for (int i = 0; !status && i < STERNA_NORMS; i++)
        status = find_norm(&l, layer, describe_norm(&decoder->config, layer, (sterna_norm)i),
                           &places->norms[i]);
    sterna_free(l.used);
    return status;
}

sterna_status sterna_decoder_find_ends(sterna_decoder *decoder, const sterna_model_file *file,
                                       sterna_end_places *places, sterna_error *err)
{
    const sterna_decoder_options none = {0};
    const sterna_config *config = &decoder->config;
    loader l = {.file = file, .options = &none, .decoder = decoder, .err = err};
    *places = (sterna_end_places){0};
    sterna_status status = open_layer(&l);
    if (!status) {
        places->embedding = find(&l, 0, STERNA_SLOT_EMBEDDING, ".weight");
        status = check_shape(&l, places->embedding, config->width, config->vocabulary);
    }
    if (!status)
        status = find_norm(&l, 0, (wanted_norm){STERNA_SLOT_FINAL_NORM, config->width},
                           &places->final_norm);
    if (!status && config->tying != STERNA_HEAD_TIED) {
        places->head = find(&l, 0, STERNA_SLOT_HEAD, ".weight");
        places->head_bias = places->head ? find(&l, 0, STERNA_SLOT_HEAD, ".bias") : NULL;
        if (places->head)
            status = check_shape(&l, places->head, config->width, config->vocabulary);
        else if (config->tying == STERNA_HEAD_OWN)
            status = missing(&l, 0, STERNA_SLOT_HEAD, ".weight");
        if (!status && places->head_bias)
            status = check_shape(&l, places->head_bias, config->vocabulary, 1);
    }
    sterna_free(l.used);
    return status;
}

sterna_status sterna_decoder_set_matrix(sterna_decoder *decoder, uint32_t layer,
                                        sterna_matrix matrix, const sterna_tensor *tensor,
                                        const sterna_weight_options *options, sterna_error *err)
{
    wanted want = describe_matrix(&decoder->config, layer, matrix);
    sterna_part *part = &decoder->layers[layer].part[want.slot];
    sterna_weight *weight;
    sterna_status status =
        decoder->device->weight_load(decoder->device, tensor, options, &weight, err);
    if (status) return status;
    if (part->weight) decoder->device->weight_free(decoder->device, part->weight);
    part->weight = weight;
    return STERNA_OK;
}

bool sterna_decoder_norms_output(const sterna_decoder *decoder)
{
    return decoder->config.family->has & STERNA_HAS_POST_NORMS;
}
