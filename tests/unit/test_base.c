/* base/: half floats over every value, the map, the buffer, the cursor, the atomic writer. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/memory.h"

static void half_round_trips(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 0x10000; half++) {
        float value = sterna_f16_to_f32((uint16_t)half);
        if (isnan(value)) {
            assert_true(isnan(sterna_f16_to_f32(sterna_f32_to_f16(value))));
            continue;
        }
        assert_int_equal(sterna_f32_to_f16(value), half);
        /* half-way to the next one rounds to even; a hair more rounds up */
        if ((half & 0x7fff) >= 0x7bff) continue;
        float next = sterna_f16_to_f32((uint16_t)(half + 1)), middle = (value + next) / 2;
        assert_int_equal(sterna_f32_to_f16(middle), half & 1 ? half + 1 : half);
        assert_int_equal(sterna_f32_to_f16(nextafterf(middle, next)), half + 1);
    }
    assert_int_equal(sterna_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(sterna_f32_to_f16(65519.9f), 0x7bff);
    assert_int_equal(sterna_f32_to_f16(1e-30f), 0);
}

static void map_holds_many(void **state)
{
    (void)state;
    enum { N = 20000 };
    static char keys[N][8];
    sterna_map *map = sterna_map_new(0);
    for (int32_t i = 0; i < N; i++) {
        snprintf(keys[i], sizeof keys[i], "%d", i);
        assert_int_equal(sterna_map_put(map, keys[i], strlen(keys[i]), i, NULL, NULL), STERNA_OK);
    }
    int32_t old;
    assert_int_equal(sterna_map_put(map, "77", 2, 5, &old, NULL), STERNA_OK);
    assert_int_equal(old, 77);
    for (int32_t i = 0; i < N; i++)
        assert_int_equal(sterna_map_get(map, keys[i], strlen(keys[i])), i);
    assert_int_equal(sterna_map_get(map, "x", 1), -1);
    assert_int_equal(sterna_map_count(map), N);
    sterna_map_free(map);
}

static void buffer_grows_and_stops(void **state)
{
    (void)state;
    sterna_buffer buffer = {.limit = 10};
    sterna_buffer_add_utf8(&buffer, 0x20AC);
    sterna_buffer_format(&buffer, "%d", 42);
    assert_string_equal(buffer.data, "\xE2\x82\xAC"
                                     "42");
    sterna_buffer_add_text(&buffer, "too much");
    assert_true(buffer.failed);
    assert_null(sterna_buffer_take(&buffer));
}

static void cursor_stays_inside(void **state)
{
    (void)state;
    const uint8_t bytes[] = {1, 2, 0, 4, 0, 0, 0};
    sterna_cursor cursor = {.data = bytes, .size = sizeof bytes};
    assert_int_equal(sterna_cursor_u8(&cursor), 1);
    assert_int_equal(sterna_cursor_u16(&cursor), 2);
    assert_int_equal(sterna_cursor_u32(&cursor), 4);
    assert_int_equal(sterna_cursor_left(&cursor), 0);
    assert_int_equal(sterna_cursor_u8(&cursor), 0);
    assert_true(cursor.failed);
    cursor = (sterna_cursor){.data = bytes, .size = sizeof bytes, .at = 3};
    assert_null(sterna_cursor_bytes(&cursor, UINT64_MAX));
}

static void writer_is_atomic(void **state)
{
    (void)state;
    char path[] = "/tmp/sterna-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    sterna_writer *writer;
    sterna_error err;
    assert_int_equal(sterna_writer_open(path, &writer, &err), STERNA_OK);
    assert_int_equal(sterna_writer_write(writer, "abc", 3, &err), STERNA_OK);
    sterna_writer_abort(writer);
    sterna_file *file;
    assert_int_equal(sterna_file_open(path, &file, &err), STERNA_OK);
    assert_int_equal(file->size, 0);
    sterna_file_close(file);
    assert_int_equal(sterna_writer_open(path, &writer, &err), STERNA_OK);
    assert_int_equal(sterna_writer_write(writer, "abc", 3, &err), STERNA_OK);
    assert_int_equal(sterna_writer_align(writer, 32, &err), STERNA_OK);
    assert_int_equal(sterna_writer_commit(writer, &err), STERNA_OK);
    assert_int_equal(sterna_file_open(path, &file, &err), STERNA_OK);
    assert_int_equal(file->size, 32);
    assert_memory_equal(file->data, "abc\0", 4);
    sterna_file_close(file);
    unlink(path);
    assert_int_equal(sterna_file_open("/tmp", &file, &err), STERNA_ERROR_IO);
    assert_non_null(strstr(err.message, "folder"));
    assert_int_equal(sterna_writer_open("/nowhere/at/all", &writer, &err), STERNA_ERROR_IO);
}

static void sizes_are_checked(void **state)
{
    (void)state;
    size_t out = 7;
    assert_false(sterna_mul_size(SIZE_MAX / 2, 3, &out));
    assert_int_equal(out, 7);
    assert_null(sterna_alloc(SIZE_MAX / 2, 4));
    sterna_alloc_fail_after(1);
    void *first = sterna_alloc(1, 1);
    assert_non_null(first);
    assert_null(sterna_alloc(1, 1));
    assert_int_equal(sterna_alloc_fail_after(-1), 2);
    sterna_free(first);
}

static void cpu_levels_are_named(void **state)
{
    (void)state;
    uint32_t mask = 1;
    sterna_error err;
    assert_int_equal(sterna_cpu_level("ref", &mask, &err), STERNA_OK);
    assert_int_equal(mask, 0);
    assert_string_equal(sterna_cpu_level_name(0), "ref");
    assert_int_equal(sterna_cpu_level("sse9", &mask, &err), STERNA_ERROR_ARGUMENT);
    assert_true(sterna_cpu_count() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_round_trips),       cmocka_unit_test(map_holds_many),
        cmocka_unit_test(buffer_grows_and_stops), cmocka_unit_test(cursor_stays_inside),
        cmocka_unit_test(writer_is_atomic),       cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(cpu_levels_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
