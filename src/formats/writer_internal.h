/* What writer.c, gguf_write.c and safetensors_write.c share. */
#ifndef STERNA_FORMATS_WRITER_INTERNAL_H
#define STERNA_FORMATS_WRITER_INTERNAL_H

#include "base/half.h"
#include "formats/internal.h"
#include "formats/writer.h"

typedef struct sterna_meta_item {
    sterna_text key;
    uint32_t gguf_type;
    sterna_buffer value; /* the bytes that follow the type in a GGUF file */
} sterna_meta_item;

typedef struct sterna_written_tensor {
    sterna_tensor tensor; /* name, type, dims, bytes */
    uint64_t offset;      /* within the data */
} sterna_written_tensor;

struct sterna_model_writer {
    char *path;               /* of the file with the tensors */
    char *folder, *temporary; /* a folder: its name, and the one that it has until the commit */
    sterna_writer *file;
    bool safetensors, directory_written;
    uint32_t alignment; /* of GGUF data */
    sterna_arena arena; /* names */
    sterna_meta_item *items;
    size_t n_items, item_room;
    sterna_map *keys;
    sterna_written_tensor *entries;
    size_t n_entries, room;
    sterna_map *names;
    uint64_t data_size;
    size_t current;   /* the tensor whose bytes come next */
    uint64_t written; /* of it */
};

/* Little-endian numbers, a string with its u64 length. */
void sterna_put_u32(sterna_buffer *buffer, uint32_t value);
void sterna_put_u64(sterna_buffer *buffer, uint64_t value);
void sterna_put_string(sterna_buffer *buffer, const void *bytes, size_t size);

/* Takes general.alignment from the metadata. */
sterna_status sterna_writer_settle_alignment(sterna_model_writer *writer, sterna_error *err);
/* Keys, types and values one after another, as a GGUF file has them. */
void sterna_gguf_items(const sterna_model_writer *writer, sterna_buffer *out);
/* A new folder; gives the writer its path. Discard removes what was not finished. */
sterna_status sterna_folder_begin(sterna_model_writer *writer, const char *path, sterna_error *err);
sterna_status sterna_folder_finish(sterna_model_writer *writer, sterna_error *err);
void sterna_folder_discard(sterna_model_writer *writer);
/* Everything in front of the data. A failed buffer is the caller's to notice. */
void sterna_gguf_directory(const sterna_model_writer *writer, sterna_buffer *out);
sterna_status sterna_safetensors_directory(const sterna_model_writer *writer, sterna_buffer *out,
                                           sterna_error *err);
/* "F32", ...; NULL for types that safetensors cannot hold. */
const char *sterna_safetensors_dtype(sterna_type type);

#endif
