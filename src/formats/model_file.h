/* A model file of any container as one directory: name -> tensor, key -> value.
 *
 * Containers: GGUF v2/v3 (split files too), a Hugging Face folder (config.json, safetensors single
 * or sharded, tokenizer and template files) or a bare .safetensors file in such a folder, llama2.c
 * .bin. Files are mapped; a tensor's data point into the mapping and live as long as the model
 * file. Opening checks everything about the directory (bounds, overlaps, sizes, duplicates,
 * alignment) and is all or nothing; tensor *contents* are checked when they are packed.
 */
#ifndef STERNA_FORMATS_MODEL_FILE_H
#define STERNA_FORMATS_MODEL_FILE_H

#include <jansson.h>

#include "base/buffer.h"
#include "base/file.h"
#include "ternary/tensor.h"

/* Limits. A file beyond one of them is refused with STERNA_ERROR_LIMIT. */
enum {
    STERNA_GGUF_MAX_KEYS = 1 << 16,
    STERNA_GGUF_MAX_KEY_BYTES = 255,
    STERNA_GGUF_MAX_STRING_BYTES = 64 << 20,
    STERNA_GGUF_MAX_ELEMENT_BYTES = 64 << 10, /* a string in an array: a token */
    STERNA_GGUF_MAX_ARRAY = 1 << 28,
    STERNA_GGUF_MAX_ALIGNMENT = 1 << 20,
    STERNA_SAFETENSORS_MAX_HEADER = 100 * 1000 * 1000,
    STERNA_HF_MAX_JSON_BYTES = 16 << 20, /* config.json and other side files, the index */
    STERNA_HF_MAX_SHARDS = 10000,
    STERNA_MAX_TENSORS = 1 << 20,
    STERNA_MAX_TENSOR_NAME_BYTES = 255
};

typedef enum sterna_container { STERNA_GGUF, STERNA_HF, STERNA_LLAMA2C } sterna_container;

/* GGUF metadata. Numbers of every integer width read as int64/uint64, floats as double. */
typedef enum sterna_meta_type {
    STERNA_META_UINT,
    STERNA_META_INT,
    STERNA_META_FLOAT,
    STERNA_META_BOOL,
    STERNA_META_STRING,
    STERNA_META_ARRAY
} sterna_meta_type;

typedef struct sterna_meta {
    sterna_text key;
    sterna_meta_type type;
    uint32_t gguf_type; /* the exact GGUF value type, so that a writer keeps it */
    union {
        uint64_t u;
        int64_t i;
        double f;
        bool b;
        sterna_text s;
    } value;
    /* arrays (never nested): elements of one type; `raw` are the bytes of fixed-size elements in
     * the file; strings are indexed */
    uint32_t element_type; /* GGUF value type */
    uint64_t count;
    const uint8_t *raw;
    const sterna_text *strings;
} sterna_meta;

typedef struct sterna_llama2c_header {
    int32_t dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len;
    bool tied;
} sterna_llama2c_header;

typedef struct sterna_model_file {
    sterna_container container;
    char *path;
    uint64_t bytes; /* of all files that hold tensors */
    size_t n_tensors;
    const sterna_tensor *tensors; /* in the file's order */
    /* GGUF. A split file reads as one whole: the metadata are those of the first part without
     * split.no, split.count and split.tensors.count. */
    uint32_t gguf_version;
    size_t n_meta;
    const sterna_meta *meta;
    uint32_t alignment;
    /* Hugging Face: parsed side files, NULL where absent, and the default chat template. */
    json_t *config, *generation_config, *tokenizer_config, *special_tokens_map;
    char *chat_template;
    /* tokenizer.json; tokenizer.model and its like (SentencePiece or tiktoken). llama2.c: only the
     * latter, a tokenizer.bin or tok512.bin (for 512 tokens) beside it. NULL where absent. */
    char *tokenizer_json_path, *tokenizer_model_path;
    sterna_llama2c_header llama2c;
    struct sterna_model_file_private *private_data;
} sterna_model_file;

typedef struct sterna_file_options {
    sterna_i2s_order i2s_order;
} sterna_file_options;

/* Opens `path` (a file or a Hugging Face folder; a split GGUF by any of its parts); `options` may
 * be NULL. */
sterna_status sterna_model_file_open(const char *path, const sterna_file_options *options,
                                     sterna_model_file **out, sterna_error *err);
/* The same for a file of one part that is in memory; the bytes are borrowed until close. `name`
 * stands in the sentences; no other file is looked for. */
sterna_status sterna_model_file_open_memory(const char *name, const void *bytes, size_t size,
                                            const sterna_file_options *options,
                                            sterna_model_file **out, sterna_error *err);
void sterna_model_file_close(sterna_model_file *file); /* accepts NULL */

const sterna_tensor *sterna_model_file_find(const sterna_model_file *file,
                                            const char *name); /* NULL when absent */
/* Advice that this tensor's bytes will not be needed again. */
void sterna_model_file_release(const sterna_model_file *file, const sterna_tensor *tensor);

/* GGUF metadata by key; NULL when absent. */
const sterna_meta *sterna_model_file_meta(const sterna_model_file *file, const char *key);
/* Typed access. Absent: *out keeps its value and STERNA_OK comes back unless `required`. A wrong
 * type or a number out of [min, max] is an error that names the file and the key. */
sterna_status sterna_meta_u32(const sterna_model_file *file, const char *key, bool required,
                              uint32_t min, uint32_t max, uint32_t *out, sterna_error *err);
sterna_status sterna_meta_float(const sterna_model_file *file, const char *key, bool required,
                                float *out, sterna_error *err);
sterna_status sterna_meta_bool(const sterna_model_file *file, const char *key, bool required,
                               bool *out, sterna_error *err);
sterna_status sterna_meta_string(const sterna_model_file *file, const char *key, bool required,
                                 sterna_text *out, sterna_error *err);
/* Element i of a numeric array as double. */
double sterna_meta_element(const sterna_meta *meta, uint64_t i);

#endif
