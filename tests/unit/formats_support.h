/* What the tests of formats/ share: files made by hand, opened from memory of their exact size (so
 * that a sanitizer sees one byte too far), damaged in every place, opened without memory. */
#ifndef STERNA_TESTS_FORMATS_SUPPORT_H
#define STERNA_TESTS_FORMATS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../touch_file.h"
#include "base/buffer.h"
#include "formats/writer.h"

/* ---- bytes ---- */

static inline void put(sterna_buffer *b, uint64_t value, int size)
{
    for (int i = 0; i < size; i++) sterna_buffer_add_char(b, (char)(value >> 8 * i));
}

static inline void put_text(sterna_buffer *b, const char *text)
{
    put(b, strlen(text), 8);
    sterna_buffer_add_text(b, text);
}

/* Bytes that differ from each other, n of them. */
static inline void put_noise(sterna_buffer *b, size_t n)
{
    for (size_t i = 0; i < n; i++) sterna_buffer_add_char(b, (char)(i * 37 + 11));
}

static inline void save(const char *path, const sterna_buffer *b)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b->data, 1, b->size, f), b->size);
    assert_int_equal(fclose(f), 0);
}

static inline void save_text(const char *path, const char *text)
{
    sterna_buffer b = {0};
    sterna_buffer_add_text(&b, text);
    save(path, &b);
    sterna_buffer_free(&b);
}

static inline sterna_buffer load(const char *path)
{
    sterna_buffer b = {0};
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(sterna_file_read(path, 1 << 26, &text, &size, NULL), STERNA_OK);
    sterna_buffer_add(&b, text, size);
    sterna_free(text);
    return b;
}

/* ---- a folder for the test program, removed at the end ---- */

static char test_folder[64];

static inline const char *in_folder(const char *name)
{
    static char paths[64][256];
    static int next;
    char *path = paths[next++ % 64];
    snprintf(path, sizeof paths[0], "%s/%s", test_folder, name);
    return path;
}

static inline int make_folder(void **state)
{
    (void)state;
    snprintf(test_folder, sizeof test_folder, "/tmp/sterna-formats-XXXXXX");
    return mkdtemp(test_folder) ? 0 : -1;
}

static inline int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", test_folder);
    return system(command);
}

/* ---- opening ---- */

/* Opens a copy of exactly this size; touches everything when it opens. */
static inline sterna_status open_bytes(const void *bytes, size_t size, sterna_error *err)
{
    void *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    if (size) memcpy(copy, bytes, size);
    sterna_model_file *file = NULL;
    sterna_status status = sterna_model_file_open_memory("bad", copy, size, NULL, &file, err);
    if (!status) {
        assert_true(touch_file(file));
        sterna_model_file_close(file);
    } else {
        assert_null(file);
    }
    free(copy);
    return status;
}

/* The bytes must be refused with `status` and a sentence that holds `words`. Frees the buffer. */
static inline void refuse(sterna_buffer *b, sterna_status status, const char *words)
{
    sterna_error err = {0};
    sterna_status got = open_bytes(b->data, b->size, &err);
    if (got != status || !strstr(err.message, words))
        fail_msg("expected %d with '%s', got %d: %s", status, words, got, err.message);
    assert_int_equal(err.status, status);
    sterna_buffer_free(b);
}

static inline void refuse_path(const char *path, sterna_status status, const char *words)
{
    sterna_error err = {0};
    sterna_model_file *file = NULL;
    sterna_status got = sterna_model_file_open(path, NULL, &file, &err);
    if (got != status || !strstr(err.message, words))
        fail_msg("expected %d with '%s', got %d: %s", status, words, got, err.message);
    assert_null(file);
}

/* Every prefix must be refused, but for the last `slack` bytes (padding). */
static inline void truncate_everywhere(const sterna_buffer *b, size_t slack)
{
    for (size_t size = 0; size < b->size; size++) {
        sterna_error err = {0};
        sterna_status status = open_bytes(b->data, size, &err);
        if (!status && size < b->size - slack)
            fail_msg("opened with %zu of %zu bytes", size, b->size);
        if (status) assert_true(strlen(err.message) > 10);
    }
}

/* Every byte turned into others: opens or is refused, never worse. */
static inline void flip_everywhere(sterna_buffer *b)
{
    static const uint8_t masks[] = {0xff, 0x01, 0x80, 0x10};
    size_t opened = 0, refused = 0;
    for (size_t i = 0; i < b->size; i++)
        for (size_t m = 0; m < sizeof masks; m++) {
            b->data[i] = (char)(b->data[i] ^ masks[m]);
            *(open_bytes(b->data, b->size, NULL) ? &refused : &opened) += 1;
            b->data[i] = (char)(b->data[i] ^ masks[m]);
        }
    assert_true(opened > 0 && refused > 0);
    assert_int_equal(open_bytes(b->data, b->size, NULL), STERNA_OK);
}

/* Opens `path` with the first, second, ... allocation failing, until it opens. */
static inline void open_without_memory(const char *path)
{
    for (long n = 0;; n++) {
        assert_true(n < 100000);
        sterna_error err = {0};
        sterna_model_file *file = NULL;
        sterna_alloc_fail_after(n);
        sterna_status status = sterna_model_file_open(path, NULL, &file, &err);
        sterna_alloc_fail_after(-1);
        if (!status) {
            sterna_model_file_close(file);
            assert_true(n > 3);
            return;
        }
        if (status != STERNA_ERROR_MEMORY) fail_msg("%d: %s", status, err.message);
        assert_null(file);
    }
}

#endif
