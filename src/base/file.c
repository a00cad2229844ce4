#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

/* ---- reading ---- */

static sterna_status open_regular(const char *path, int *fd, size_t *size, sterna_error *err)
{
    /* O_NONBLOCK: opening a pipe without a writer must not hang. */
    int handle = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    if (handle < 0)
        return sterna_fail(err, STERNA_ERROR_IO, "%s: cannot open: %s", path, strerror(errno));
    if (fstat(handle, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(handle);
        return sterna_fail(err, STERNA_ERROR_IO,
                           "%s: expected a regular file, found %s; give the path of a file", path,
                           S_ISDIR(info.st_mode) ? "a folder" : "a pipe, device or socket");
    }
    if ((uint64_t)info.st_size > SIZE_MAX / 2) {
        close(handle);
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "%s: %lld bytes do not fit this machine's address space", path,
                           (long long)info.st_size);
    }
    *fd = handle;
    *size = (size_t)info.st_size;
    return STERNA_OK;
}

sterna_status sterna_file_open(const char *path, sterna_file **out, sterna_error *err)
{
    int fd = -1;
    size_t size = 0;
    sterna_status status = open_regular(path, &fd, &size, err);
    if (status) return status;
    sterna_file *file = sterna_calloc(1, sizeof *file);
    if (file) file->path = sterna_strdup(path);
    if (!file || !file->path) {
        status = sterna_fail_memory(err, path);
        goto fail;
    }
    if (size) {
        void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = sterna_fail(err, STERNA_ERROR_IO, "%s: cannot map %zu bytes: %s", path, size,
                                 strerror(errno));
            goto fail;
        }
        file->data = data;
        file->size = size;
    }
    close(fd);
    *out = file;
    return STERNA_OK;
fail:
    close(fd);
    sterna_file_close(file);
    return status;
}

void sterna_file_close(sterna_file *file)
{
    if (!file) return;
    if (file->size) munmap((void *)(uintptr_t)file->data, file->size);
    sterna_free(file->path);
    sterna_free(file);
}

void sterna_file_release(const sterna_file *file, size_t offset, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t first = (offset + page - 1) / page * page, last = (offset + size) / page * page;
    if (offset > file->size || size > file->size - offset || first >= last) return;
    madvise((void *)(uintptr_t)(file->data + first), last - first, MADV_DONTNEED);
}

sterna_status sterna_file_read(const char *path, size_t limit, char **out, size_t *out_size,
                               sterna_error *err)
{
    int fd = -1;
    size_t size = 0;
    sterna_status status = open_regular(path, &fd, &size, err);
    if (status) return status;
    char *text = NULL;
    if (size > limit) {
        status = sterna_fail(err, STERNA_ERROR_LIMIT,
                             "%s: %zu bytes are more than the limit of %zu", path, size, limit);
        goto fail;
    }
    text = sterna_alloc(size + 1, 1);
    if (!text) {
        status = sterna_fail_memory(err, path);
        goto fail;
    }
    for (size_t at = 0; at < size;) {
        ssize_t got = read(fd, text + at, size - at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            status =
                sterna_fail(err, STERNA_ERROR_IO, "%s: read stopped at byte %zu of %zu: %s", path,
                            at, size, got < 0 ? strerror(errno) : "the file became shorter");
            goto fail;
        }
        at += (size_t)got;
    }
    text[size] = 0;
    close(fd);
    *out = text;
    if (out_size) *out_size = size;
    return STERNA_OK;
fail:
    close(fd);
    sterna_free(text);
    return status;
}

bool sterna_path_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool sterna_path_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

char *sterna_path_join(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = sterna_alloc(size, 1);
    if (path) snprintf(path, size, "%s/%s", folder, name);
    return path;
}

const char *sterna_path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *sterna_path_folder(const char *path)
{
    const char *name = sterna_path_name(path);
    if (name == path) return sterna_strdup(".");
    return sterna_strndup(path, name - path > 1 ? (size_t)(name - path - 1) : 1);
}

/* ---- cursor ---- */

const uint8_t *sterna_cursor_bytes(sterna_cursor *cursor, uint64_t size)
{
    if (cursor->failed || size > cursor->size - cursor->at) {
        cursor->failed = true;
        return NULL;
    }
    const uint8_t *bytes = cursor->data + cursor->at;
    cursor->at += (size_t)size;
    return bytes;
}

size_t sterna_cursor_left(const sterna_cursor *cursor)
{
    return cursor->failed ? 0 : cursor->size - cursor->at;
}

static uint64_t little_endian(sterna_cursor *cursor, int size)
{
    const uint8_t *bytes = sterna_cursor_bytes(cursor, (uint64_t)size);
    uint64_t value = 0;
    for (int i = size; bytes && i-- > 0;) value = value << 8 | bytes[i];
    return value;
}

uint8_t sterna_cursor_u8(sterna_cursor *cursor)
{
    return (uint8_t)little_endian(cursor, 1);
}

uint16_t sterna_cursor_u16(sterna_cursor *cursor)
{
    return (uint16_t)little_endian(cursor, 2);
}

uint32_t sterna_cursor_u32(sterna_cursor *cursor)
{
    return (uint32_t)little_endian(cursor, 4);
}

uint64_t sterna_cursor_u64(sterna_cursor *cursor)
{
    return little_endian(cursor, 8);
}

float sterna_cursor_f32(sterna_cursor *cursor)
{
    uint32_t bits = sterna_cursor_u32(cursor);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

double sterna_cursor_f64(sterna_cursor *cursor)
{
    uint64_t bits = sterna_cursor_u64(cursor);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- writing ---- */

struct sterna_writer {
    char *path, *temporary;
    FILE *stream;
    bool nameless; /* `temporary` is not its name yet */
    uint64_t offset;
};

static sterna_status write_failed(const sterna_writer *writer, const char *verb, sterna_error *err)
{
    return sterna_fail(err, STERNA_ERROR_IO,
                       "%s: cannot %s at byte %llu: %s; nothing was left behind", writer->path,
                       verb, (unsigned long long)writer->offset, strerror(errno));
}

/* A file that has no name yet, in the folder of `path`: a killed process leaves nothing. NULL where
 * the system cannot. */
static FILE *open_nameless(const char *path)
{
    if (access("/proc/self/fd", X_OK) != 0) return NULL; /* where it gets its name from */
    char *folder = sterna_path_folder(path);
    int fd = folder ? open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666) : -1;
    sterna_free(folder);
    FILE *stream = fd < 0 ? NULL : fdopen(fd, "wb");
    if (fd >= 0 && !stream) close(fd);
    return stream;
}

/* Gives it the temporary name, so that it can take the place of another by rename. */
static bool give_name(const sterna_writer *writer)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fileno(writer->stream));
    unlink(writer->temporary);
    return linkat(AT_FDCWD, link, AT_FDCWD, writer->temporary, AT_SYMLINK_FOLLOW) == 0;
}

sterna_status sterna_writer_open(const char *path, sterna_writer **out, sterna_error *err)
{
    sterna_writer *writer = sterna_calloc(1, sizeof *writer);
    size_t size = strlen(path) + 32;
    if (writer) {
        writer->path = sterna_strdup(path);
        writer->temporary = sterna_alloc(size, 1);
    }
    if (!writer || !writer->path || !writer->temporary) {
        sterna_writer_abort(writer);
        return sterna_fail_memory(err, path);
    }
    snprintf(writer->temporary, size, "%s.part-%ld", path, (long)getpid());
    writer->stream = open_nameless(path);
    writer->nameless = writer->stream != NULL;
    if (!writer->stream) writer->stream = fopen(writer->temporary, "wbe");
    if (!writer->stream) {
        sterna_status status =
            sterna_fail(err, STERNA_ERROR_IO, "%s: cannot create: %s", path, strerror(errno));
        sterna_free(writer->temporary);
        writer->temporary = NULL;
        sterna_writer_abort(writer);
        return status;
    }
    *out = writer;
    return STERNA_OK;
}

sterna_status sterna_writer_write(sterna_writer *writer, const void *bytes, size_t size,
                                  sterna_error *err)
{
    if (size && fwrite(bytes, 1, size, writer->stream) != size)
        return write_failed(writer, "write", err);
    writer->offset += size;
    return STERNA_OK;
}

sterna_status sterna_writer_align(sterna_writer *writer, size_t alignment, sterna_error *err)
{
    static const char zeros[64];
    size_t missing = (size_t)(-writer->offset & (alignment - 1));
    while (missing) {
        size_t step = missing < sizeof zeros ? missing : sizeof zeros;
        sterna_status status = sterna_writer_write(writer, zeros, step, err);
        if (status) return status;
        missing -= step;
    }
    return STERNA_OK;
}

uint64_t sterna_writer_offset(const sterna_writer *writer)
{
    return writer->offset;
}

sterna_status sterna_writer_commit(sterna_writer *writer, sterna_error *err)
{
    sterna_status status = STERNA_OK;
    if (fflush(writer->stream) != 0 || fsync(fileno(writer->stream)) != 0)
        status = write_failed(writer, "flush", err);
    if (!status && writer->nameless && !give_name(writer))
        status = write_failed(writer, "name the file", err);
    if (fclose(writer->stream) != 0 && !status) status = write_failed(writer, "close", err);
    writer->stream = NULL;
    if (!status && rename(writer->temporary, writer->path) != 0)
        status = write_failed(writer, "rename", err);
    if (!status) {
        sterna_free(writer->temporary);
        writer->temporary = NULL;
    }
    sterna_writer_abort(writer);
    return status;
}

void sterna_writer_abort(sterna_writer *writer)
{
    if (!writer) return;
    if (writer->stream) fclose(writer->stream);
    if (writer->temporary) unlink(writer->temporary);
    sterna_free(writer->temporary);
    sterna_free(writer->path);
    sterna_free(writer);
}
