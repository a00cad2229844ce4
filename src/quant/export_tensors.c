/* Tensors by their meaning: every slot of the family is looked up under the source's name and
 * listed under GGUF's. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "base/memory.h"
#include "model/family.h"
#include "quant/export.h"

typedef struct builder {
    const sterna_model_file *file;
    const sterna_config *config;
    const sterna_tensor_names *from, *to;
    const char *prefix;
    bool split_scales;
    bool *used; /* [n_tensors of the file] */
    sterna_export *out;
    sterna_error *err;
} builder;

static void slot_name(const sterna_tensor_names *names, const char *prefix, uint32_t layer,
                      sterna_slot slot, const char *suffix, char name[STERNA_EXPORT_NAME_BYTES])
{
    if (slot >= STERNA_SLOT_LAYERED)
        snprintf(name, STERNA_EXPORT_NAME_BYTES, "%s%s%u.%s%s", prefix, names->layers, layer,
                 names->name[slot], suffix);
    else
        snprintf(name, STERNA_EXPORT_NAME_BYTES, "%s%s%s", slot == STERNA_SLOT_HEAD ? "" : prefix,
                 names->name[slot], suffix);
}

static const sterna_tensor *find(builder *b, uint32_t layer, sterna_slot slot, const char *suffix)
{
    char name[STERNA_EXPORT_NAME_BYTES];
    if (!b->from->name[slot]) return NULL;
    slot_name(b->from, b->prefix, layer, slot, suffix, name);
    const sterna_tensor *tensor = sterna_model_file_find(b->file, name);
    if (tensor) b->used[tensor - b->file->tensors] = true;
    return tensor;
}

static bool is_norm(sterna_slot slot)
{
    return slot == STERNA_SLOT_FINAL_NORM || slot == STERNA_SLOT_ATTN_NORM ||
           slot == STERNA_SLOT_Q_NORM || slot == STERNA_SLOT_K_NORM ||
           slot == STERNA_SLOT_ATTN_SUB_NORM || slot == STERNA_SLOT_ATTN_POST_NORM ||
           slot == STERNA_SLOT_FFN_NORM || slot == STERNA_SLOT_FFN_SUB_NORM ||
           slot == STERNA_SLOT_FFN_POST_NORM;
}

static const char *keep_name(sterna_export *out, const char *name)
{
    char *kept = out->names[out->n_names++];
    snprintf(kept, STERNA_EXPORT_NAME_BYTES, "%s", name);
    return kept;
}

static sterna_item *add_item(sterna_export *out, const sterna_tensor *tensor, const char *kept)
{
    sterna_item *item = &out->items[out->count++];
    *item = (sterna_item){.tensor = tensor,
                          .name = kept,
                          .from = tensor->type,
                          .type = tensor->type,
                          .verb = STERNA_VERB_COPY};
    if (tensor->native) item->form = *tensor->native;
    return item;
}

/* A vector that the source does not have. */
static void add_made(sterna_export *out, const char *name, const float *values, size_t count)
{
    float *data = out->values + out->n_values;
    memcpy(data, values, count * sizeof *data);
    out->n_values += count;
    sterna_tensor *tensor = &out->tensors[out->n_tensors++];
    *tensor = (sterna_tensor){.name = keep_name(out, name),
                              .type = STERNA_TYPE_F32,
                              .n_dims = 1,
                              .dims = {count, 1, 1, 1},
                              .data = (const uint8_t *)data,
                              .bytes = count * sizeof *data};
    add_item(out, tensor, tensor->name);
}

/* Takes the scale out of a packed BitNet matrix when float16 would round it. */
static void split_scale(builder *b, sterna_item *item, const char *stem)
{
    sterna_export *out = b->out;
    float scale = item->tensor->scale;
    if (!b->split_scales || item->tensor->type != STERNA_TYPE_BITNET ||
        sterna_f16_to_f32(sterna_f32_to_f16(scale)) == scale)
        return;
    sterna_tensor *plain = &out->tensors[out->n_tensors++];
    *plain = *item->tensor;
    plain->scale = 1;
    item->tensor = plain;
    item->note = "its scale is a tensor of its own";
    char name[STERNA_EXPORT_NAME_BYTES];
    snprintf(name, sizeof name, "%s", stem);
    memcpy(name + strlen(name) - strlen(".weight"), ".scale", sizeof ".scale");
    add_made(out, name, &scale, 1);
}

static sterna_status add_slot(builder *b, uint32_t layer, sterna_slot slot, const char *suffix)
{
    const sterna_tensor *tensor = find(b, layer, slot, suffix);
    if (!tensor) return STERNA_OK; /* what must be there is the loader's business */
    char name[STERNA_EXPORT_NAME_BYTES];
    if (!b->to->name[slot])
        return sterna_fail(b->err, STERNA_ERROR_UNSUPPORTED,
                           "%s: tensor '%s' has no place in a GGUF file of the %s family",
                           b->file->path, tensor->name, sterna_family_name(b->config->family));
    slot_name(b->to, b->to->prefixes[0], layer, slot, suffix, name);
    sterna_item *item = add_item(b->out, tensor, keep_name(b->out, name));
    bool turned = slot == STERNA_SLOT_Q || slot == STERNA_SLOT_K;
    if (turned && b->config->rope_style == STERNA_ROPE_HALVES &&
        b->config->family->gguf_rope == STERNA_ROPE_PAIRS) {
        uint64_t rows = sterna_tensor_rows(tensor), heads = rows > 1 ? rows : tensor->dims[0];
        item->pair_heads = b->config->head_dim;
        if (heads % item->pair_heads || item->pair_heads % 2)
            return sterna_fail(b->err, STERNA_ERROR_FORMAT,
                               "%s: tensor '%s' has %llu rows, which are no whole heads of %u",
                               b->file->path, tensor->name, (unsigned long long)heads,
                               item->pair_heads);
    }
    if (is_norm(slot)) item->shift = b->config->norm_shift;
    split_scale(b, item, name);
    return STERNA_OK;
}

static sterna_status add_layers(builder *b)
{
    sterna_status status = STERNA_OK;
    for (uint32_t layer = 0; layer < b->config->n_layers; layer++)
        for (int slot = STERNA_SLOT_LAYERED; slot < STERNA_SLOTS && !status; slot++) {
            status = add_slot(b, layer, (sterna_slot)slot, ".weight");
            if (!status) status = add_slot(b, layer, (sterna_slot)slot, ".bias");
        }
    return status;
}

/* Divisors of the rotary frequencies, which GGUF keeps as tensors. */
static void add_divisors(builder *b, sterna_slot slot, const float *divisors)
{
    char name[STERNA_EXPORT_NAME_BYTES];
    if (!divisors) return;
    slot_name(b->to, b->to->prefixes[0], 0, slot, ".weight", name);
    add_made(b->out, name, divisors, b->config->rope[STERNA_ROPE_GLOBAL].dims / 2);
}

/* Llama 3's scaling: GGUF has no name for it, but its frequencies divided by the plain ones are
 * what rope_freqs holds. */
static sterna_status add_rope(builder *b)
{
    const sterna_rope_config *rope = &b->config->rope[STERNA_ROPE_GLOBAL];
    bool two = rope->scaling == STERNA_SCALING_LONGROPE;
    add_divisors(b, two ? STERNA_SLOT_ROPE_SHORT : STERNA_SLOT_ROPE_DIVISORS, rope->divisors);
    if (two) add_divisors(b, STERNA_SLOT_ROPE_LONG, rope->long_divisors);
    if (rope->scaling != STERNA_SCALING_LLAMA3) return STERNA_OK;
    size_t pairs = rope->dims / 2;
    float *scaled = sterna_alloc(2 * pairs, sizeof *scaled), *plain = scaled + pairs, attention;
    if (!scaled) return sterna_fail_memory(b->err, "rotary factors");
    sterna_rope_config unscaled = *rope;
    unscaled.scaling = STERNA_SCALING_NONE;
    sterna_rope_frequencies(rope, b->config->context, scaled, &attention);
    sterna_rope_frequencies(&unscaled, b->config->context, plain, &attention);
    for (size_t i = 0; i < pairs; i++) scaled[i] = plain[i] / scaled[i];
    add_divisors(b, STERNA_SLOT_ROPE_DIVISORS, scaled);
    sterna_free(scaled);
    return STERNA_OK;
}

static sterna_status find_prefix(builder *b)
{
    size_t n = sizeof b->from->prefixes / sizeof *b->from->prefixes;
    for (size_t i = 0; i < n && b->from->prefixes[i]; i++) {
        b->prefix = b->from->prefixes[i];
        if (find(b, 0, STERNA_SLOT_EMBEDDING, ".weight")) return STERNA_OK;
    }
    return sterna_fail(b->err, STERNA_ERROR_FORMAT,
                       "%s: no embedding table was found: the files hold no whole %s model",
                       b->file->path, sterna_family_name(b->config->family));
}

static bool matches(const char *const *list, const char *name, bool at_end)
{
    for (size_t i = 0; i < 4 && list[i]; i++) {
        size_t size = strlen(name), part = strlen(list[i]);
        if (size >= part && memcmp(at_end ? name + size - part : name, list[i], part) == 0)
            return true;
    }
    return false;
}

static sterna_status check_leftovers(builder *b)
{
    if (b->config->tying == STERNA_HEAD_TIED)
        find(b, 0, STERNA_SLOT_HEAD, ".weight"); /* a second copy of the embeddings */
    for (size_t i = 0; i < b->file->n_tensors; i++) {
        const char *name = b->file->tensors[i].name;
        if (b->used[i] || matches(b->from->ignored_prefixes, name, false) ||
            matches(b->from->ignored_suffixes, name, true))
            continue;
        return sterna_fail(b->err, STERNA_ERROR_UNSUPPORTED,
                           "%s: tensor '%.100s' is no part of a %s model of %u layers, so it would "
                           "be lost",
                           b->file->path, name, sterna_family_name(b->config->family),
                           b->config->n_layers);
    }
    return STERNA_OK;
}

static sterna_status build(builder *b)
{
    sterna_status status = find_prefix(b);
    if (!status) status = add_rope(b);
    if (!status) status = add_slot(b, 0, STERNA_SLOT_EMBEDDING, ".weight");
    if (!status) status = add_layers(b);
    if (!status) status = add_slot(b, 0, STERNA_SLOT_FINAL_NORM, ".weight");
    if (!status && b->config->tying != STERNA_HEAD_TIED)
        status = add_slot(b, 0, STERNA_SLOT_HEAD, ".weight");
    return status ? status : check_leftovers(b);
}

sterna_status sterna_export_tensors(const sterna_model_file *file, const sterna_config *config,
                                    bool split_scales, sterna_export *out, sterna_error *err)
{
    size_t room = 2 * file->n_tensors + 3; /* each may get a scale; two lists of divisors */
    builder b = {.file = file,
                 .config = config,
                 .from = sterna_family_names(config->family, file->container),
                 .to = sterna_family_names(config->family, STERNA_GGUF),
                 .split_scales = split_scales,
                 .out = out,
                 .err = err};
    out->ternarize = config->ternarize;
    out->items = sterna_calloc(room, sizeof *out->items);
    out->names = sterna_calloc(room, sizeof *out->names);
    out->tensors = sterna_calloc(room, sizeof *out->tensors);
    out->values =
        sterna_calloc(file->n_tensors + config->rope[STERNA_ROPE_GLOBAL].dims, sizeof(float));
    b.used = sterna_calloc(file->n_tensors, sizeof *b.used);
    sterna_status status = STERNA_OK;
    if (!out->items || !out->names || !out->tensors || !out->values || !b.used)
        status = sterna_fail_memory(err, "the directory of the output");
    if (!status) status = build(&b);
    sterna_free(b.used);
    return status;
}
