/* Files: read through a mapping and a bounded cursor, written atomically.
 *
 * A file from outside is hostile: nothing is read past its end, whatever its headers claim. A
 * writer puts the bytes into a temporary file in the target's folder (one without a name, where the
 * system has such) and renames it on commit, so that a reader never sees half a file and a failure
 * leaves the old one.
 */
#ifndef STERNA_BASE_FILE_H
#define STERNA_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct sterna_file {
    char *path;
    const uint8_t *data; /* the whole file, mapped read-only */
    size_t size;
} sterna_file;

/* Maps a regular file. Fails with a sentence that names `path` when it is missing, a folder, a pipe
 * or a device, or cannot be read. An empty file has size 0. Close with sterna_file_close (NULL
 * accepted). */
sterna_status sterna_file_open(const char *path, sterna_file **out, sterna_error *err);
void sterna_file_close(sterna_file *file);
/* Tells the system that bytes [offset, offset+size) will not be needed again, so that loading does
 * not hold the file and the packed weights in memory at once. Only advice. */
void sterna_file_release(const sterna_file *file, size_t offset, size_t size);

/* Reads a whole small file as NUL-terminated text; fails when it is larger than `limit` bytes.
 * Release *out with sterna_free. */
sterna_status sterna_file_read(const char *path, size_t limit, char **out, size_t *size,
                               sterna_error *err);
bool sterna_path_exists(const char *path);
bool sterna_path_is_folder(const char *path);
/* folder + "/" + name; NULL when out of memory. Release with sterna_free. */
char *sterna_path_join(const char *folder, const char *name);
/* The folder that holds `path` ("." when it names none). Release with sterna_free. */
char *sterna_path_folder(const char *path);
/* The name behind the last slash (points into `path`). */
const char *sterna_path_name(const char *path);

/* A bounded reader. Past the end every read returns zeros or NULL and `failed` stays set: check it
 * after a group of reads. */
typedef struct sterna_cursor {
    const uint8_t *data;
    size_t size, at;
    bool failed;
} sterna_cursor;

uint8_t sterna_cursor_u8(sterna_cursor *cursor);
uint16_t sterna_cursor_u16(sterna_cursor *cursor); /* all little-endian */
uint32_t sterna_cursor_u32(sterna_cursor *cursor);
uint64_t sterna_cursor_u64(sterna_cursor *cursor);
float sterna_cursor_f32(sterna_cursor *cursor);
double sterna_cursor_f64(sterna_cursor *cursor);
/* `size` bytes in place, or NULL when fewer are left. */
const uint8_t *sterna_cursor_bytes(sterna_cursor *cursor, uint64_t size);
size_t sterna_cursor_left(const sterna_cursor *cursor);

/* An output file that appears only when complete. */
typedef struct sterna_writer sterna_writer;
sterna_status sterna_writer_open(const char *path, sterna_writer **out, sterna_error *err);
sterna_status sterna_writer_write(sterna_writer *writer, const void *bytes, size_t size,
                                  sterna_error *err);
/* Zero bytes up to the next multiple of `alignment` (a power of two). */
sterna_status sterna_writer_align(sterna_writer *writer, size_t alignment, sterna_error *err);
uint64_t sterna_writer_offset(const sterna_writer *writer);
/* Flushes to disk and renames; the writer is gone afterwards, also on failure (then the temporary
 * file is removed). */
sterna_status sterna_writer_commit(sterna_writer *writer, sterna_error *err);
/* Removes the temporary file. NULL accepted. */
void sterna_writer_abort(sterna_writer *writer);

#endif
