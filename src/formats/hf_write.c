/* Hugging Face folders as outputs, and what Sterna's metadata are in config.json.
 *
 * A folder is written under another name beside its own and renamed when it is complete. Metadata
 * that a GGUF file would hold stand, under the same keys, in "quantization_config" of config.json
 * with "quant_method": "sterna", so that a reader that does not know them refuses the model.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "formats/writer_internal.h"

enum { MAX_SIDE_FILE = 256 << 20 };

static const char CONFIG[] = "config.json", WEIGHTS[] = "model.safetensors";
static const char *const side_files[] = {
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tiktoken.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE",
    "NOTICE",
};

/* ---- metadata as JSON ---- */

static json_t *element_to_json(const sterna_meta *meta, uint64_t i)
{
    if (meta->strings) return json_stringn(meta->strings[i].data, meta->strings[i].size);
    return json_integer((json_int_t)sterna_meta_element(meta, i));
}

static json_t *meta_to_json(const sterna_meta *meta)
{
    switch (meta->type) {
    case STERNA_META_UINT: return json_integer((json_int_t)meta->value.u);
    case STERNA_META_INT: return json_integer(meta->value.i);
    case STERNA_META_FLOAT: return json_real(meta->value.f);
    case STERNA_META_BOOL: return json_boolean(meta->value.b);
    case STERNA_META_STRING: return json_stringn(meta->value.s.data, meta->value.s.size);
    default: break;
    }
    json_t *array = json_array();
    for (uint64_t i = 0; i < meta->count && array; i++)
        if (json_array_append_new(array, element_to_json(meta, i))) {
            json_decref(array);
            array = NULL;
        }
    return array;
}

/* All items of a writer into `out`; the bytes are those of a GGUF file. */
static sterna_status items_to_json(const sterna_model_writer *writer, json_t *out,
                                   sterna_error *err)
{
    sterna_buffer bytes = {0};
    sterna_gguf_items(writer, &bytes);
    sterna_cursor cursor = {.data = (const uint8_t *)bytes.data, .size = bytes.size};
    sterna_arena arena = {0};
    sterna_meta *meta = NULL;
    sterna_map *keys = NULL;
    sterna_status status = bytes.failed ? sterna_fail_memory(err, writer->path)
                                        : sterna_gguf_read_meta(&arena, &cursor, writer->path,
                                                                writer->n_items, &meta, &keys, err);
    for (size_t i = 0; i < writer->n_items && !status; i++)
        if (json_object_setn_new(out, meta[i].key.data, meta[i].key.size, meta_to_json(&meta[i])))
            status = sterna_fail_memory(err, "the metadata of a model");
    sterna_map_free(keys);
    sterna_arena_free(&arena);
    sterna_buffer_free(&bytes);
    return status;
}

/* One key of config.json as GGUF stores it; false when it is of no kind that Sterna writes. */
static bool value_to_bytes(const json_t *value, sterna_buffer *out)
{
    if (json_is_string(value)) {
        sterna_put_u32(out, STERNA_GGUF_STRING);
        sterna_put_string(out, json_string_value(value), json_string_length(value));
    } else if (json_is_integer(value)) {
        json_int_t number = json_integer_value(value);
        sterna_put_u32(out, number < 0 ? STERNA_GGUF_I64 : STERNA_GGUF_U64);
        sterna_put_u64(out, (uint64_t)number);
    } else if (json_is_boolean(value)) {
        sterna_put_u32(out, STERNA_GGUF_BOOL);
        sterna_buffer_add_char(out, json_is_true(value));
    } else if (json_is_array(value)) {
        bool strings = json_is_string(json_array_get(value, 0));
        sterna_put_u32(out, STERNA_GGUF_ARRAY);
        sterna_put_u32(out, strings ? STERNA_GGUF_STRING : STERNA_GGUF_I64);
        sterna_put_u64(out, json_array_size(value));
        for (size_t i = 0; i < json_array_size(value); i++) {
            const json_t *item = json_array_get(value, i);
            if (strings ? !json_is_string(item) : !json_is_integer(item)) return false;
            if (strings)
                sterna_put_string(out, json_string_value(item), json_string_length(item));
            else
                sterna_put_u64(out, (uint64_t)json_integer_value(item));
        }
    } else {
        return false;
    }
    return true;
}

sterna_status sterna_hf_read_keys(sterna_model_file *file, json_t *object, sterna_error *err)
{
    struct sterna_model_file_private *own = file->private_data;
    sterna_buffer bytes = {0};
    sterna_status status = STERNA_OK;
    uint64_t count = 0;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (strcmp(key, "quant_method") == 0) continue;
        sterna_put_string(&bytes, key, strlen(key));
        if (!value_to_bytes(value, &bytes) && !status)
            status = sterna_fail(err, STERNA_ERROR_FORMAT,
                                 "%s: config.json: quantization_config.%.100s is neither text, nor "
                                 "a number, a truth value or a list",
                                 file->path, key);
        count++;
    }
    char *kept = bytes.failed ? NULL : sterna_arena_string(&own->arena, bytes.data, bytes.size);
    sterna_cursor cursor = {.data = (const uint8_t *)kept, .size = bytes.size};
    sterna_buffer_free(&bytes);
    sterna_meta *meta = NULL;
    if (!status && !kept) status = sterna_fail_memory(err, file->path);
    if (!status && count)
        status =
            sterna_gguf_read_meta(&own->arena, &cursor, file->path, count, &meta, &own->keys, err);
    if (status) return status;
    file->meta = meta;
    file->n_meta = (size_t)count;
    return STERNA_OK;
}

/* ---- the folder ---- */

/* Nothing of that name, or an empty folder, which a rename may replace. */
static bool is_free(const char *path)
{
    if (!sterna_path_exists(path)) return true;
    DIR *entries = opendir(path);
    bool empty = entries != NULL;
    for (const struct dirent *e; entries && (e = readdir(entries));)
        empty = empty && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0);
    if (entries) closedir(entries);
    return empty;
}

sterna_status sterna_folder_begin(sterna_model_writer *writer, const char *path, sterna_error *err)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/') size--;
    sterna_buffer name = {0};
    writer->folder = sterna_strndup(path, size);
    sterna_buffer_format(&name, "%.*s.partial-%ld", (int)size, path, (long)getpid());
    writer->temporary = name.failed ? NULL : sterna_strndup(name.data, name.size);
    sterna_buffer_free(&name);
    if (!writer->folder || !writer->temporary) return sterna_fail_memory(err, path);
    if (!is_free(writer->folder))
        return sterna_fail(err, STERNA_ERROR_IO,
                           "%s: there is something of that name already; choose another one for "
                           "the folder",
                           writer->folder);
    if (mkdir(writer->temporary, 0777) != 0)
        return sterna_fail(err, STERNA_ERROR_IO, "%s: cannot create the folder: %s",
                           writer->temporary, strerror(errno));
    writer->path = sterna_path_join(writer->temporary, WEIGHTS);
    return writer->path ? STERNA_OK : sterna_fail_memory(err, path);
}

sterna_status sterna_folder_finish(sterna_model_writer *writer, sterna_error *err)
{
    if (rename(writer->temporary, writer->folder) == 0) {
        sterna_free(writer->temporary);
        writer->temporary = NULL;
        return STERNA_OK;
    }
    return sterna_fail(err, STERNA_ERROR_IO, "%s: cannot rename the finished folder: %s",
                       writer->folder, strerror(errno));
}

static void remove_inside(const char *folder, const char *name)
{
    char *path = sterna_path_join(folder, name);
    if (path) unlink(path);
    sterna_free(path);
}

void sterna_folder_discard(sterna_model_writer *writer)
{
    if (writer->temporary) {
        for (size_t i = 0; i < sizeof side_files / sizeof *side_files; i++)
            remove_inside(writer->temporary, side_files[i]);
        remove_inside(writer->temporary, CONFIG);
        remove_inside(writer->temporary, WEIGHTS);
        rmdir(writer->temporary);
    }
    sterna_free(writer->temporary);
    sterna_free(writer->folder);
}

/* ---- side files ---- */

static sterna_status write_whole(const char *folder, const char *name, const void *bytes,
                                 size_t size, sterna_error *err)
{
    sterna_writer *writer = NULL;
    char *path = sterna_path_join(folder, name);
    sterna_status status =
        path ? sterna_writer_open(path, &writer, err) : sterna_fail_memory(err, folder);
    if (!status) status = sterna_writer_write(writer, bytes, size, err);
    if (!status)
        status = sterna_writer_commit(writer, err);
    else
        sterna_writer_abort(writer);
    sterna_free(path);
    return status;
}

static sterna_status copy_file(const char *from, const char *to, const char *name,
                               sterna_error *err)
{
    char *text = NULL, *path = sterna_path_join(from, name);
    size_t size = 0;
    sterna_status status = path ? STERNA_OK : sterna_fail_memory(err, from);
    if (path && sterna_path_exists(path)) {
        status = sterna_file_read(path, MAX_SIDE_FILE, &text, &size, err);
        if (!status) status = write_whole(to, name, text, size, err);
    }
    sterna_free(text);
    sterna_free(path);
    return status;
}

/* config.json with the writer's metadata. */
static sterna_status write_config(const sterna_model_writer *writer, const json_t *source,
                                  sterna_error *err)
{
    json_t *config = json_copy((json_t *)(uintptr_t)source), *keys = json_object();
    sterna_status status = config && keys ? STERNA_OK : sterna_fail_memory(err, CONFIG);
    if (!status && json_object_set_new(keys, "quant_method", json_string("sterna")))
        status = sterna_fail_memory(err, CONFIG);
    if (!status) status = items_to_json(writer, keys, err);
    if (!status && json_object_set(config, "quantization_config", keys))
        status = sterna_fail_memory(err, CONFIG);
    char *text = status ? NULL : json_dumps(config, JSON_INDENT(2));
    if (!status && !text) status = sterna_fail_memory(err, CONFIG);
    if (!status) status = write_whole(writer->temporary, CONFIG, text, strlen(text), err);
    sterna_free(text);
    json_decref(keys);
    json_decref(config);
    return status;
}

bool sterna_model_writer_is_folder(const sterna_model_writer *writer)
{
    return writer->folder != NULL;
}

sterna_status sterna_model_writer_side_files(sterna_model_writer *writer,
                                             const sterna_model_file *file, sterna_error *err)
{
    if (!writer->folder) return STERNA_OK;
    char *from = sterna_path_is_folder(file->path) ? sterna_strdup(file->path)
                                                   : sterna_path_folder(file->path);
    sterna_status status =
        from ? write_config(writer, file->config, err) : sterna_fail_memory(err, file->path);
    for (size_t i = 0; i < sizeof side_files / sizeof *side_files && !status; i++)
        status = copy_file(from, writer->temporary, side_files[i], err);
    sterna_free(from);
    return status;
}

sterna_status sterna_model_writer_accepts(const sterna_model_writer *writer,
                                          const sterna_model_file *file, sterna_error *err)
{
    if (!writer->folder) return STERNA_OK;
    if (file->container != STERNA_HF || !file->config)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: a Hugging Face folder can be made of such a folder only, not of "
                           "this file; write a .gguf file, or take the folder that it was made "
                           "from",
                           file->path);
    const json_t *quantization = json_object_get(file->config, "quantization_config");
    const char *method = json_string_value(json_object_get(quantization, "quant_method"));
    if (quantization && (!method || strcmp(method, "sterna") != 0))
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: config.json says how its weights are quantised, which a new folder "
                           "could not; write a .gguf file",
                           file->path);
    return STERNA_OK;
}
