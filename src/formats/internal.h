/* What the readers of this room share: the model file being built, the files behind it, and the
 * numbers of the GGUF format. Nobody outside formats/ includes this. */
#ifndef STERNA_FORMATS_INTERNAL_H
#define STERNA_FORMATS_INTERNAL_H

#include "base/file.h"
#include "base/hash.h"
#include "formats/model_file.h"

/* Memory that lives as long as the model file: many small pieces, one release. */
typedef struct sterna_arena {
    struct sterna_arena_chunk *chunks;
} sterna_arena;

void *sterna_arena_alloc(sterna_arena *arena, size_t count, size_t size); /* NULL: no memory */
char *sterna_arena_string(sterna_arena *arena, const void *bytes, size_t size); /* adds a NUL */
void sterna_arena_free(sterna_arena *arena);

/* One file that holds tensors. */
typedef struct sterna_source {
    const char *path;
    const uint8_t *data;
    size_t size;
    sterna_file *mapping; /* NULL when the bytes are the caller's */
} sterna_source;

struct sterna_model_file_private {
    sterna_arena arena;
    sterna_source *sources;
    size_t n_sources;
    sterna_tensor *tensors; /* the public array, writable */
    size_t tensor_room;
    sterna_map *names; /* tensor name -> index */
    sterna_map *keys;  /* metadata key -> index; NULL without metadata */
    sterna_i2s_order i2s_order;
};

/* An empty model file (NULL: no memory); and its end: given out, or closed when `status` is a
 * failure, which is returned. */
sterna_model_file *sterna_model_file_new(const char *path, const sterna_file_options *options);
sterna_status sterna_model_file_finish(sterna_model_file *file, sterna_status status,
                                       sterna_model_file **out);
/* Maps `path` and appends it to the sources; *index is its place. */
sterna_status sterna_source_open(sterna_model_file *file, const char *path, size_t *index,
                                 sterna_error *err);
/* Appends a tensor (its name is copied). Refuses an empty, long, ill-formed or duplicate name.
 * `path` is for the sentence. */
sterna_status sterna_directory_add(sterna_model_file *file, const char *path, const void *name,
                                   size_t name_size, const sterna_tensor *tensor,
                                   sterna_error *err);
/* Well-formed UTF-8 without control characters: fit to be printed. */
bool sterna_name_is_clean(const void *bytes, size_t size);
/* The standard sentence for a tensor that cannot be in a file as it is declared: overflow, a row
 * that is no multiple of the block. */
sterna_status sterna_fail_shape(sterna_error *err, const char *path, const sterna_tensor *tensor);

/* jansson says nothing at all in most places where it runs out of memory. */
static inline bool sterna_json_no_memory(const json_error_t *why)
{
    return !why->text[0] || json_error_code(why) == json_error_out_of_memory;
}

/* The readers. Each takes a model file with one open source. */
sterna_status sterna_gguf_read(sterna_model_file *file, sterna_error *err);
sterna_status sterna_llama2c_read(sterna_model_file *file, sterna_error *err);
/* The tensors of the safetensors file `source`. */
sterna_status sterna_safetensors_read(sterna_model_file *file, size_t source, sterna_error *err);
/* A folder with config.json and safetensors files (file->path, no source open yet), or one
 * safetensors file with what lies beside it (source 0). */
/* The folder to read when `path` is a folder, or a shard of a model whose index is beside it; else
 * NULL. Release *folder with sterna_free. */
sterna_status sterna_hf_folder_of(const char *path, char **folder, sterna_error *err);
sterna_status sterna_hf_read_folder(sterna_model_file *file, sterna_error *err);
sterna_status sterna_hf_read_file(sterna_model_file *file, sterna_error *err);
/* The metadata that config.json holds for a model of ours: the members of an object become keys. */
sterna_status sterna_hf_read_keys(sterna_model_file *file, json_t *object, sterna_error *err);
/* By the first bytes. llama2.c's files have no magic number: their header must explain the file's
 * exact size. */
bool sterna_safetensors_is(const sterna_source *source);
bool sterna_llama2c_is(const sterna_source *source);
/* Makes one tensor of the parts of each native matrix. After everything else about the directory.
 */
sterna_status sterna_native_join(sterna_model_file *file, sterna_error *err);
/* Removes the tensors that `drop` marks and rebuilds the map of names. */
sterna_status sterna_directory_prune(sterna_model_file *file, const bool *drop, sterna_error *err);

/* ---- GGUF ---- */

enum {
    STERNA_GGUF_U8,
    STERNA_GGUF_I8,
    STERNA_GGUF_U16,
    STERNA_GGUF_I16,
    STERNA_GGUF_U32,
    STERNA_GGUF_I32,
    STERNA_GGUF_F32,
    STERNA_GGUF_BOOL,
    STERNA_GGUF_STRING,
    STERNA_GGUF_ARRAY,
    STERNA_GGUF_U64,
    STERNA_GGUF_I64,
    STERNA_GGUF_F64,
    STERNA_GGUF_VALUE_TYPES,
    STERNA_GGUF_DEFAULT_ALIGNMENT = 32
};

/* Bytes of a value of fixed size; 0 for strings, arrays and unknown types. */
size_t sterna_gguf_value_size(uint32_t gguf_type);

/* Reads `count` keys and values at the cursor into *out (memory of the arena); refuses duplicates.
 * `path` is for the sentences. */
sterna_status sterna_gguf_read_meta(sterna_arena *arena, sterna_cursor *cursor, const char *path,
                                    uint64_t count, sterna_meta **out, sterna_map **keys,
                                    sterna_error *err);

#endif
