/* A Hugging Face model folder: config.json, one safetensors file or shards with an index, and the
 * small files beside them.
 *
 * Only the names listed here and the shard names of the index are opened, and those only inside the
 * folder. Pickle files (pytorch_model.bin) can run code when read; they are never opened. BitNet's
 * packed weights, a uint8 tensor and a scale, become one tensor of type BITNET.
 */
#include "formats/internal.h"

#include <dirent.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/memory.h"

/* ---- side files ---- */

static sterna_status join(const char *folder, const char *name, char **out, sterna_error *err)
{
    *out = sterna_path_join(folder, name);
    return *out ? STERNA_OK : sterna_fail_memory(err, name);
}

static sterna_status parse_json(const char *path, const char *text, size_t size, json_t **out,
                                sterna_error *err)
{
    json_error_t why;
    json_t *value = json_loadb(text, size, 0, &why);
    if (!value && json_error_code(&why) == json_error_numeric_overflow) /* model_max_length: 1e30 */
        value = json_loadb(text, size, JSON_DECODE_INT_AS_REAL, &why);
    if (!value && sterna_json_no_memory(&why)) return sterna_fail_memory(err, path);
    if (!value)
        return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: line %d, column %d: %s", path, why.line,
                           why.column, why.text);
    if (!json_is_object(value)) {
        json_decref(value);
        return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: expected a JSON object", path);
    }
    *out = value;
    return STERNA_OK;
}

/* Leaves *out alone when there is no such file. */
static sterna_status read_json(const char *folder, const char *name, json_t **out,
                               sterna_error *err)
{
    char *path, *text = NULL;
    size_t size = 0;
    sterna_status status = join(folder, name, &path, err);
    if (!status && sterna_path_exists(path)) {
        status = sterna_file_read(path, STERNA_HF_MAX_JSON_BYTES, &text, &size, err);
        if (!status) status = parse_json(path, text, size, out, err);
    }
    sterna_free(text);
    sterna_free(path);
    return status;
}

/* The first of the names that is there; *out stays NULL when none is. */
static sterna_status find_file(const char *folder, const char *const *names, size_t count,
                               char **out, sterna_error *err)
{
    for (size_t i = 0; i < count; i++) {
        char *path;
        sterna_status status = join(folder, names[i], &path, err);
        if (status) return status;
        if (sterna_path_exists(path)) {
            *out = path;
            return STERNA_OK;
        }
        sterna_free(path);
    }
    return STERNA_OK;
}

/* tokenizer_config.json's "chat_template": a string, or a list of {name, template}. */
static const char *template_of(const json_t *holder)
{
    const json_t *value = json_object_get(holder, "chat_template"), *item;
    const char *fallback = json_string_value(value);
    size_t i;
    json_array_foreach(value, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        const char *text = json_string_value(json_object_get(item, "template"));
        if (text && name && strcmp(name, "default") == 0) return text;
        if (text && !fallback) fallback = text;
    }
    return fallback;
}

static sterna_status read_template(sterna_model_file *file, const char *folder, sterna_error *err)
{
    char *path;
    json_t *holder = NULL;
    sterna_status status = join(folder, "chat_template.jinja", &path, err);
    if (!status && sterna_path_exists(path))
        status = sterna_file_read(path, STERNA_HF_MAX_JSON_BYTES, &file->chat_template, NULL, err);
    sterna_free(path);
    if (!status && !file->chat_template)
        status = read_json(folder, "chat_template.json", &holder, err);
    const char *text = template_of(holder);
    if (!text) text = template_of(file->tokenizer_config);
    if (!status && !file->chat_template && text) {
        file->chat_template = sterna_strdup(text);
        if (!file->chat_template) status = sterna_fail_memory(err, "the chat template");
    }
    json_decref(holder);
    return status;
}

static sterna_status read_side_files(sterna_model_file *file, const char *folder, sterna_error *err)
{
    static const char *const json_names[] = {"tokenizer.json"};
    static const char *const model_names[] = {"tokenizer.model", "spiece.model",
                                              "sentencepiece.bpe.model", "tiktoken.model"};
    sterna_status status = read_json(folder, "config.json", &file->config, err);
    if (!status)
        status = read_json(folder, "generation_config.json", &file->generation_config, err);
    if (!status) status = read_json(folder, "tokenizer_config.json", &file->tokenizer_config, err);
    if (!status)
        status = read_json(folder, "special_tokens_map.json", &file->special_tokens_map, err);
    if (!status) status = find_file(folder, json_names, 1, &file->tokenizer_json_path, err);
    if (!status) status = find_file(folder, model_names, 4, &file->tokenizer_model_path, err);
    return status ? status : read_template(file, folder, err);
}

/* ---- weights ---- */

static const char INDEX_NAME[] = "model.safetensors.index.json";

/* A shard is a file of this folder, nothing else: no slash, no "..", no hidden name. */
static bool shard_name_is_safe(const char *name)
{
    static const char end[] = ".safetensors";
    size_t size = name ? strlen(name) : 0;
    return size > sizeof end - 1 && size <= 255 && name[0] != '.' && !strchr(name, '/') &&
           !strchr(name, '\\') && sterna_name_is_clean(name, size) &&
           strcmp(name + size - (sizeof end - 1), end) == 0;
}

static sterna_status open_weights(sterna_model_file *file, const char *folder, const char *name,
                                  sterna_error *err)
{
    char *path;
    size_t source = 0;
    sterna_status status = join(folder, name, &path, err);
    if (!status) status = sterna_source_open(file, path, &source, err);
    if (!status) status = sterna_safetensors_read(file, source, err);
    sterna_free(path);
    return status;
}

/* Opens every shard that the index names, once each. `shards` maps their names to sources. */
static sterna_status open_shards(sterna_model_file *file, const char *folder, json_t *weights,
                                 sterna_map *shards, sterna_error *err)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(weights, tensor, value)
    {
        const char *name = json_string_value(value);
        if (!shard_name_is_safe(name))
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s/%s: weight_map must give the names of .safetensors files in the "
                               "same folder, found something else",
                               folder, INDEX_NAME);
        if (sterna_map_get(shards, name, strlen(name)) >= 0) continue;
        if (sterna_map_count(shards) >= STERNA_HF_MAX_SHARDS)
            return sterna_fail(err, STERNA_ERROR_LIMIT, "%s/%s: more than %d shards", folder,
                               INDEX_NAME, STERNA_HF_MAX_SHARDS);
        int32_t number = (int32_t)file->private_data->n_sources;
        sterna_status status = sterna_map_put(shards, name, strlen(name), number, NULL, err);
        if (!status) status = open_weights(file, folder, name, err);
        if (status) return status;
    }
    return STERNA_OK;
}

/* Every tensor of the index must be in the shard that it says. */
static sterna_status check_index(const sterna_model_file *file, const char *folder, json_t *weights,
                                 const sterna_map *shards, sterna_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(weights, name, value)
    {
        const char *shard = json_string_value(value);
        int32_t number = sterna_map_get(shards, shard, strlen(shard));
        const sterna_source *source = &file->private_data->sources[number];
        const sterna_tensor *tensor = sterna_model_file_find(file, name);
        if (!tensor || tensor->data < source->data || tensor->data >= source->data + source->size)
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s/%s: says that '%.200s' is in %s, but it is not; get the shards "
                               "and the index again from one place",
                               folder, INDEX_NAME, name, shard);
    }
    return STERNA_OK;
}

static sterna_status read_index(sterna_model_file *file, const char *folder, const json_t *index,
                                sterna_error *err)
{
    json_t *weights = json_object_get(index, "weight_map");
    if (!json_is_object(weights) || !json_object_size(weights))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s/%s: expected \"weight_map\", an object of tensor and file names",
                           folder, INDEX_NAME);
    sterna_map *shards = sterna_map_new(0);
    if (!shards) return sterna_fail_memory(err, INDEX_NAME);
    sterna_status status = open_shards(file, folder, weights, shards, err);
    if (!status) status = check_index(file, folder, weights, shards, err);
    sterna_map_free(shards);
    return status;
}

/* There is neither model.safetensors nor an index: the only .safetensors file will do; otherwise
 * says what is there instead. */
static sterna_status read_only_file(sterna_model_file *file, const char *folder, sterna_error *err)
{
    DIR *entries = opendir(folder);
    char only[256] = "";
    size_t found = 0;
    bool pickle = false;
    for (const struct dirent *e; entries && (e = readdir(entries));) {
        size_t size = strlen(e->d_name);
        pickle = pickle || (size > 4 && (strcmp(e->d_name + size - 4, ".bin") == 0 ||
                                         strcmp(e->d_name + size - 4, ".pth") == 0 ||
                                         strcmp(e->d_name + size - 3, ".pt") == 0));
        if (!shard_name_is_safe(e->d_name)) continue;
        memcpy(only, e->d_name, size + 1);
        found++;
    }
    if (entries) closedir(entries);
    if (found == 1) return open_weights(file, folder, only, err);
    if (found)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: %zu .safetensors files, but neither model.safetensors nor %s; add "
                           "the index that belongs to them, or give the path of one file",
                           folder, found, INDEX_NAME);
    if (pickle)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: the weights are pickle files (.bin, .pt or .pth), which can run "
                           "code and are never opened; get the model's .safetensors files, or "
                           "convert them where you trust them: save_pretrained(..., "
                           "safe_serialization=True)",
                           folder);
    return sterna_fail(err, STERNA_ERROR_FORMAT,
                       "%s: no .safetensors file in this folder; it needs config.json and "
                       "model.safetensors, or shards with %s",
                       folder, INDEX_NAME);
}

/* ---- BitNet ---- */

static float first_float(const sterna_tensor *tensor)
{
    sterna_cursor at = {.data = tensor->data, .size = (size_t)tensor->bytes};
    switch (tensor->type) {
    case STERNA_TYPE_F32: return sterna_cursor_f32(&at);
    case STERNA_TYPE_F16: return sterna_f16_to_f32(sterna_cursor_u16(&at));
    case STERNA_TYPE_BF16: return sterna_bf16_to_f32(sterna_cursor_u16(&at));
    default: return NAN;
    }
}

/* The scale tensor of a packed weight, by its name; -1 when there is none. */
static int32_t scale_index(const sterna_model_file *file, const sterna_tensor *tensor)
{
    char name[STERNA_MAX_TENSOR_NAME_BYTES + sizeof "_scale"];
    size_t size = strlen(tensor->name);
    memcpy(name, tensor->name, size);
    memcpy(name + size, "_scale", sizeof "_scale");
    return sterna_map_get(file->private_data->names, name, size + 6);
}

static sterna_status unite(sterna_model_file *file, sterna_tensor *tensor, bool inverse, bool *drop,
                           sterna_error *err)
{
    int32_t index = scale_index(file, tensor);
    if (index < 0)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: tensor '%s' is packed BitNet weights, but '%s_scale' is missing",
                           file->path, tensor->name, tensor->name);
    const sterna_tensor *holder = &file->tensors[index];
    uint64_t count = holder->dims[0] * sterna_tensor_rows(holder);
    float stored = first_float(holder), scale = inverse ? 1 / stored : stored;
    if (count != 1 || !isfinite(stored) || !isfinite(scale) || !(scale > 0))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: tensor '%s': expected one positive finite number of type F32, F16 "
                           "or BF16",
                           file->path, holder->name);
    tensor->type = STERNA_TYPE_BITNET;
    tensor->dims[1] *= 4; /* cannot wrap: the bytes are in the file */
    tensor->scale = scale;
    drop[index] = true;
    return STERNA_OK;
}

/* quantization_config of config.json. Other methods than BitNet's store weights in ways that
 * nothing here decodes. */
static sterna_status read_quantization(sterna_model_file *file, sterna_error *err)
{
    json_t *config = json_object_get(file->config, "quantization_config");
    if (!json_is_object(config)) return STERNA_OK;
    const char *method = json_string_value(json_object_get(config, "quant_method"));
    if (method && strcmp(method, "sterna") == 0) return sterna_hf_read_keys(file, config, err);
    const char *linear = json_string_value(json_object_get(config, "linear_class"));
    if (!method || strcmp(method, "bitnet") != 0)
        return sterna_fail(
            err, STERNA_ERROR_UNSUPPORTED,
            "%s: config.json says quant_method '%.60s'; only 'sterna' and 'bitnet' can be read: "
            "use the model's F32, F16 or BF16 form",
            file->path, method ? method : "(none)");
    bool inverse = !linear || strcmp(linear, "bitlinear") == 0;
    if (!inverse && strcmp(linear, "autobitlinear") != 0)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: config.json says linear_class '%.60s'; 'bitlinear' and "
                           "'autobitlinear' are known",
                           file->path, linear);
    bool *drop = sterna_calloc(file->n_tensors, sizeof *drop);
    if (!drop) return sterna_fail_memory(err, file->path);
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < file->n_tensors && !status; i++) {
        sterna_tensor *tensor = &file->private_data->tensors[i];
        if (tensor->type == STERNA_TYPE_U8 && tensor->n_dims == 2)
            status = unite(file, tensor, inverse, drop, err);
    }
    if (!status) status = sterna_directory_prune(file, drop, err);
    sterna_free(drop);
    return status;
}

/* ---- the two ways in ---- */

sterna_status sterna_hf_folder_of(const char *path, char **out, sterna_error *err)
{
    const char *name = sterna_path_name(path);
    bool folder = sterna_path_is_folder(path);
    if (!folder && !(shard_name_is_safe(name) && strstr(name, "-of-"))) return STERNA_OK;
    char *place = folder ? sterna_strdup(path) : sterna_path_folder(path), *index = NULL;
    sterna_status status =
        place ? join(place, INDEX_NAME, &index, err) : sterna_fail_memory(err, path);
    if (!status && (folder || sterna_path_exists(index)))
        *out = place;
    else
        sterna_free(place);
    sterna_free(index);
    return status;
}

sterna_status sterna_hf_read_folder(sterna_model_file *file, sterna_error *err)
{
    const char *folder = file->path;
    char *single = NULL;
    json_t *index = NULL;
    file->container = STERNA_HF;
    sterna_status status = read_side_files(file, folder, err);
    if (!status && !file->config)
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: no config.json in this folder; expected a Hugging Face model "
                           "folder, or give the path of a model file",
                           folder);
    if (!status) status = join(folder, "model.safetensors", &single, err);
    if (!status && sterna_path_exists(single)) {
        status = open_weights(file, folder, "model.safetensors", err);
    } else if (!status) {
        status = read_json(folder, INDEX_NAME, &index, err);
        if (!status)
            status =
                index ? read_index(file, folder, index, err) : read_only_file(file, folder, err);
    }
    sterna_free(single);
    json_decref(index);
    return status ? status : read_quantization(file, err);
}

sterna_status sterna_hf_read_file(sterna_model_file *file, sterna_error *err)
{
    file->container = STERNA_HF;
    sterna_status status = sterna_safetensors_read(file, 0, err);
    if (status || !file->private_data->sources[0].mapping) return status;
    char *folder = sterna_path_folder(file->path);
    status = folder ? read_side_files(file, folder, err) : sterna_fail_memory(err, file->path);
    sterna_free(folder);
    return status ? status : read_quantization(file, err);
}
