/* Reading the rules, and finding those of a tensor. */
#include "model/hadamard.h"

#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "model/config.h"

static bool is(sterna_text text, const char *expected)
{
    return text.size == strlen(expected) && memcmp(text.data, expected, text.size) == 0;
}

static sterna_status refuse(const sterna_model_file *file, const char *what, sterna_text found,
                            sterna_error *err)
{
    return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                       "%s: '%s' is '%.*s', which Sterna does not know; running the "
                       "file without it would give garbage",
                       file->path, what, (int)(found.size < 60 ? found.size : 60), found.data);
}

static sterna_status read_names(const sterna_model_file *file, const char *key, bool required,
                                char ***out, sterna_error *err)
{
    const sterna_meta *meta = sterna_model_file_meta(file, key);
    if (!meta && !required) return STERNA_OK;
    if (!meta || meta->type != STERNA_META_ARRAY || (meta->count && !meta->strings) ||
        meta->count > file->n_tensors)
        return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: '%s' is not a list of tensor names",
                           file->path, key);
    char **names = sterna_calloc((size_t)meta->count + 1, sizeof *names);
    if (!names) return sterna_fail_memory(err, "a list of tensor names");
    *out = names;
    for (uint64_t i = 0; i < meta->count; i++) {
        names[i] = sterna_strndup(meta->strings[i].data, meta->strings[i].size);
        if (!names[i]) return sterna_fail_memory(err, "a tensor name");
    }
    return STERNA_OK;
}

/* The list of widths says how the list of signs is cut: one vector per input width. */
static sterna_status read_signs(const sterna_model_file *file, const char *widths_key,
                                const char *signs_key, sterna_hadamard_rules *rules,
                                sterna_error *err)
{
    const sterna_meta *widths = sterna_model_file_meta(file, widths_key);
    const sterna_meta *values = sterna_model_file_meta(file, signs_key);
    if (!widths || !values || widths->type != STERNA_META_ARRAY ||
        values->type != STERNA_META_ARRAY || widths->strings || values->strings ||
        widths->count > STERNA_HADAMARD_WIDTHS)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the signs of the Hadamard transform need the number lists %s (at "
                           "most %d) and %s",
                           file->path, widths_key, STERNA_HADAMARD_WIDTHS, signs_key);
    uint64_t at = 0;
    for (uint64_t k = 0; k < widths->count; k++) {
        double width = sterna_meta_element(widths, k);
        if (!(width >= 1 && width <= STERNA_MAX_FFN) || (double)(values->count - at) < width)
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s: %s sum to more than the %" PRIu64 " numbers of %s", file->path,
                               widths_key, values->count, signs_key);
        uint32_t n = (uint32_t)width;
        float *signs = sterna_alloc(n, sizeof *signs);
        if (!signs) return sterna_fail_memory(err, "the signs of a Hadamard transform");
        rules->widths[rules->n_widths].width = n;
        rules->widths[rules->n_widths++].signs = signs;
        for (uint32_t i = 0; i < n; i++) {
            double sign = sterna_meta_element(values, at++);
            if (sign != 1 && sign != -1)
                return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: %s holds %g; expected +1 or -1",
                                   file->path, signs_key, sign);
            signs[i] = (float)sign;
        }
    }
    if (at != values->count)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: %" PRIu64 " numbers in %s, but %s sum to %" PRIu64, file->path,
                           values->count, signs_key, widths_key, at);
    return STERNA_OK;
}

static sterna_status read_transform(const sterna_model_file *file, const char *key,
                                    sterna_error *err)
{
    sterna_text transform = {NULL, 0};
    sterna_status status = sterna_meta_string(file, key, true, &transform, err);
    if (!status && !is(transform, "normalized-sylvester-walsh-hadamard"))
        return refuse(file, key, transform, err);
    return status;
}

static sterna_status read_prism(const sterna_model_file *file, sterna_hadamard_rules *rules,
                                sterna_error *err)
{
    sterna_text axis = {"input-last-dimension", 20}, mode = {"identity", 8};
    sterna_status status = read_transform(file, "prism.hadamard.transform", err);
    if (!status) status = sterna_meta_string(file, "prism.hadamard.axis", false, &axis, err);
    if (status) return status;
    if (!is(axis, "input-last-dimension")) return refuse(file, "prism.hadamard.axis", axis, err);
    status =
        sterna_meta_u32(file, "prism.hadamard.block_size", true, 1, 1u << 16, &rules->block, err);
    if (!status && (rules->block & (rules->block - 1)))
        status = sterna_fail(err, STERNA_ERROR_FORMAT,
                             "%s: prism.hadamard.block_size is %u, not a power of two", file->path,
                             rules->block);
    if (!status) status = sterna_meta_string(file, "prism.hadamard.sign_mode", false, &mode, err);
    if (!status && is(mode, "explicit"))
        status = read_signs(file, "prism.hadamard.sign_widths", "prism.hadamard.sign_values", rules,
                            err);
    else if (!status && !is(mode, "identity"))
        status = refuse(file, "prism.hadamard.sign_mode", mode, err);
    if (!status) status = read_names(file, "prism.hadamard.weight_names", true, &rules->names, err);
    if (!status)
        status = read_names(file, "prism.hadamard.inverse_weight_names", false,
                            &rules->inverse_names, err);
    return status;
}

static sterna_status read_sterna(const sterna_model_file *file, sterna_hadamard_rules *rules,
                                 sterna_error *err)
{
    sterna_status status = read_transform(file, "sterna.hadamard.transform", err);
    if (!status)
        status = read_signs(file, "sterna.hadamard.widths", "sterna.hadamard.signs", rules, err);
    if (status) return status;
    const sterna_meta *blocks = sterna_model_file_meta(file, "sterna.hadamard.blocks");
    if (!blocks || blocks->type != STERNA_META_ARRAY || blocks->strings ||
        blocks->count != rules->n_widths || blocks->count == 0)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: sterna.hadamard.blocks must be a list of numbers as long as "
                           "sterna.hadamard.widths",
                           file->path);
    for (size_t i = 0; i < rules->n_widths; i++) {
        double block = sterna_meta_element(blocks, i);
        if (!(block >= 2 && block <= 4096) || ((unsigned)block & ((unsigned)block - 1)))
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s: sterna.hadamard.blocks holds %g; expected a power of two from "
                               "2 to 4096",
                               file->path, block);
        rules->widths[i].block = (uint32_t)block;
    }
    return read_names(file, "sterna.hadamard.weight_names", true, &rules->names, err);
}

/* Are there keys with the prefix? One that is not in the list is refused. */
static sterna_status look_for(const sterna_model_file *file, const char *prefix,
                              const char *const *known, bool *present, sterna_error *err)
{
    size_t size = strlen(prefix);
    for (size_t i = 0; i < file->n_meta; i++) {
        sterna_text key = file->meta[i].key;
        if (key.size < size || memcmp(key.data, prefix, size)) continue;
        *present = true;
        sterna_text name = {key.data + size, key.size - size};
        size_t k = 0;
        while (known[k] && !is(name, known[k])) k++;
        if (!known[k])
            return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                               "%s: the transform rule '%.*s' is unknown; running the file without "
                               "it would give garbage",
                               file->path, (int)(key.size < 80 ? key.size : 80), key.data);
    }
    return STERNA_OK;
}

static sterna_status check_version(const sterna_model_file *file, const char *key,
                                   sterna_error *err)
{
    uint32_t version = 0;
    sterna_status status = sterna_meta_u32(file, key, true, 0, UINT32_MAX, &version, err);
    if (!status && version != 1)
        status =
            sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                        "%s: %s says version %u; Sterna knows version 1", file->path, key, version);
    return status;
}

sterna_status sterna_hadamard_read(const sterna_model_file *file, sterna_hadamard_rules *rules,
                                   sterna_error *err)
{
    static const char *const prism_keys[] = {"version",
                                             "block_size",
                                             "transform",
                                             "axis",
                                             "sign_mode",
                                             "sign_widths",
                                             "sign_values",
                                             "weight_names",
                                             "inverse_weight_names",
                                             "gdn_v_grouped",
                                             NULL};
    static const char *const sterna_keys[] = {"version", "transform",    "widths", "blocks",
                                              "signs",   "weight_names", NULL};
    bool prism = false, own = false;
    *rules = (sterna_hadamard_rules){0};
    sterna_status status = look_for(file, "prism.hadamard.", prism_keys, &prism, err);
    if (!status) status = look_for(file, "sterna.hadamard.", sterna_keys, &own, err);
    if (status || (!prism && !own)) return status;
    if (prism && own)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: prism.hadamard and sterna.hadamard exclude each other", file->path);
    status = check_version(file, prism ? "prism.hadamard.version" : "sterna.hadamard.version", err);
    if (!status) status = prism ? read_prism(file, rules, err) : read_sterna(file, rules, err);
    if (status) sterna_hadamard_free(rules);
    return status;
}

static void free_names(char **names)
{
    for (size_t i = 0; names && names[i]; i++) sterna_free(names[i]);
    sterna_free(names);
}

void sterna_hadamard_free(sterna_hadamard_rules *rules)
{
    for (size_t i = 0; i < rules->n_widths; i++) sterna_free(rules->widths[i].signs);
    free_names(rules->names);
    free_names(rules->inverse_names);
    *rules = (sterna_hadamard_rules){0};
}

static bool contains(char *const *names, const char *name)
{
    for (size_t i = 0; names && names[i]; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

sterna_status sterna_hadamard_apply(const sterna_hadamard_rules *rules, const char *path,
                                    const sterna_tensor *tensor, sterna_weight_options *options,
                                    sterna_error *err)
{
    bool input = contains(rules->names, tensor->name);
    bool inverse = contains(rules->inverse_names, tensor->name);
    if (!input && !inverse) return STERNA_OK;
    sterna_hadamard transform = {.block = rules->block};
    for (size_t i = 0; i < rules->n_widths; i++)
        if (rules->widths[i].width == tensor->dims[0]) {
            transform.signs = rules->widths[i].signs;
            if (rules->widths[i].block) transform.block = rules->widths[i].block;
        }
    if (rules->n_widths && !transform.signs)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: the Hadamard metadata have no signs for the %" PRIu64
                           " columns of '%s'",
                           path, tensor->dims[0], tensor->name);
    if (tensor->dims[0] % transform.block)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: tensor '%s' has %" PRIu64
                           " columns, not a multiple of the Hadamard "
                           "block of %u",
                           path, tensor->name, tensor->dims[0], transform.block);
    if (input) options->hadamard = transform;
    if (inverse) options->inverse_hadamard = transform;
    return STERNA_OK;
}

sterna_status sterna_hadamard_check(const sterna_hadamard_rules *rules,
                                    const sterna_model_file *file, sterna_error *err)
{
    char *const *lists[] = {rules->names, rules->inverse_names};
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; lists[k] && lists[k][i]; i++)
            if (!sterna_model_file_find(file, lists[k][i]))
                return sterna_fail(
                    err, STERNA_ERROR_FORMAT,
                    "%s: the Hadamard metadata name the tensor '%.80s', which the file "
                    "does not hold",
                    file->path, lists[k][i]);
    return STERNA_OK;
}
