/* ternary/: every type's rows against the goldens of tools/reference/block_goldens.py, base-3 bytes
 * exhaustively, packing, encoding, exact conversion and its refusals. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/half.h"
#include "base/memory.h"
#include "base/rng.h"
#include "ternary/tensor.h"

static const sterna_type written[] = {STERNA_TYPE_TQ1_0, STERNA_TYPE_TQ2_0, STERNA_TYPE_Q2_0,
                                      STERNA_TYPE_PQ2_0, STERNA_TYPE_PTQ1_0};
enum { WRITTEN = sizeof written / sizeof written[0], MAX_COLS = 1024 };

static sterna_tensor make_tensor(sterna_type type, uint64_t cols, uint64_t rows, const void *data)
{
    sterna_tensor tensor = {
        .name = "t", .type = type, .n_dims = 2, .dims = {cols, rows, 1, 1}, .data = data};
    assert_true(sterna_type_bytes(type, cols, rows, &tensor.bytes));
    return tensor;
}

static bool same_float(float a, float b)
{
    return (isnan(a) && isnan(b)) || sterna_float_bits(a) == sterna_float_bits(b);
}

/* ---- the table ---- */

static void table_is_consistent(void **state)
{
    (void)state;
    for (int i = 0; i < STERNA_TYPES; i++) {
        const sterna_type_info *info = sterna_type_describe((sterna_type)i);
        sterna_type found = STERNA_TYPES;
        assert_true(sterna_type_from_name(info->name, &found));
        assert_int_equal(found, i);
        if (info->gguf_id >= 0) {
            assert_true(sterna_type_from_gguf((uint32_t)info->gguf_id, &found));
            assert_int_equal(found, i == STERNA_TYPE_Q2_0_G128 ? STERNA_TYPE_Q2_0 : i);
        }
    }
    sterna_type type;
    assert_true(sterna_type_from_name("tq2_0", &type));
    assert_int_equal(type, STERNA_TYPE_TQ2_0);
    assert_false(sterna_type_from_name("Q9", &type));
    assert_false(sterna_type_from_gguf(4, &type));
    assert_false(sterna_type_from_gguf(UINT32_MAX, &type));
    assert_null(sterna_type_describe(STERNA_TYPES));
}

static void sizes_are_checked(void **state)
{
    (void)state;
    static const struct {
        sterna_type type;
        uint64_t cols, rows, bytes;
    } cases[] = {{STERNA_TYPE_F32, 3, 5, 60},
                 {STERNA_TYPE_TQ1_0, 512, 3, 324},
                 {STERNA_TYPE_TQ2_0, 256, 1, 66},
                 {STERNA_TYPE_Q2_0, 64, 2, 36},
                 {STERNA_TYPE_Q2_0_G128, 128, 2, 68},
                 {STERNA_TYPE_PTQ1_0, 128, 10, 280},
                 {STERNA_TYPE_I2_S, 128, 3, 96 + 32},
                 {STERNA_TYPE_BITNET, 10, 8, 20},
                 {STERNA_TYPE_Q6_K, 256, 2, 420},
                 {STERNA_TYPE_Q8_0, 64, 1, 68},
                 {STERNA_TYPE_F64, UINT64_C(1) << 60, 1, UINT64_C(1) << 63}};
    uint64_t bytes = 7;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(sterna_type_bytes(cases[i].type, cases[i].cols, cases[i].rows, &bytes));
        assert_int_equal(bytes, cases[i].bytes);
    }
    bytes = 7;
    assert_false(sterna_type_bytes(STERNA_TYPE_TQ2_0, 128, 2, &bytes));
    assert_false(sterna_type_bytes(STERNA_TYPE_I2_S, 64, 4, &bytes));
    assert_false(sterna_type_bytes(STERNA_TYPE_BITNET, 64, 6, &bytes));
    assert_false(sterna_type_bytes(STERNA_TYPE_F32, UINT64_C(1) << 33, UINT64_C(1) << 31, &bytes));
    assert_false(sterna_type_bytes(STERNA_TYPE_F64, UINT64_C(1) << 61, 1, &bytes));
    assert_int_equal(bytes, 7);
}

/* ---- goldens ---- */

typedef struct golden {
    char name[17];
    sterna_tensor tensor;
    bool encoded;
    const float *floats;
} golden;

/* False at the end. Values are copied out because the file aligns nothing. */
static bool next_golden(sterna_cursor *cursor, golden *g)
{
    if (sterna_cursor_left(cursor) == 0) return false;
    memcpy(g->name, sterna_cursor_bytes(cursor, 16), 16);
    g->name[16] = 0;
    g->encoded = g->name[0] == '+';
    uint32_t cols = sterna_cursor_u32(cursor), rows = sterna_cursor_u32(cursor);
    uint32_t order = sterna_cursor_u32(cursor), bytes = sterna_cursor_u32(cursor);
    float scale = sterna_cursor_f32(cursor);
    sterna_type type;
    assert_true(sterna_type_from_name(g->name + g->encoded, &type));
    uint8_t *data = test_malloc(bytes);
    float *floats = test_malloc(sizeof(float) * cols * rows);
    memcpy(data, sterna_cursor_bytes(cursor, bytes), bytes);
    memcpy(floats, sterna_cursor_bytes(cursor, sizeof(float) * cols * rows),
           sizeof(float) * cols * rows);
    assert_false(cursor->failed);
    g->tensor = make_tensor(type, cols, rows, data);
    assert_int_equal(g->tensor.bytes, bytes);
    g->tensor.scale = scale;
    g->tensor.order = (sterna_i2s_order)order;
    g->floats = floats;
    return true;
}

static void check_decoded(const golden *g)
{
    const sterna_tensor *t = &g->tensor;
    size_t cols = (size_t)t->dims[0];
    float row[MAX_COLS], scales[MAX_COLS];
    int8_t trits[MAX_COLS];
    size_t group = (size_t)sterna_tensor_group(t);
    for (size_t r = 0; r < t->dims[1]; r++) {
        sterna_tensor_row(t, r, row);
        for (size_t c = 0; c < cols; c++)
            if (!same_float(row[c], g->floats[r * cols + c]))
                fail_msg("%s row %zu column %zu: %.9g, not %.9g", g->name, r, c, (double)row[c],
                         (double)g->floats[r * cols + c]);
        if (sterna_type_describe(t->type)->kind != STERNA_KIND_TERNARY) continue;
        bool ternary = sterna_tensor_row_trits(t, r, trits, scales);
        for (size_t c = 0; c < cols; c++) {
            assert_true(same_float(row[c], (float)trits[c] * scales[c / group]));
            if (ternary) assert_in_range(trits[c] + 1, 0, 2);
        }
    }
}

static void check_encoded(const golden *g)
{
    const sterna_tensor *t = &g->tensor;
    size_t cols = (size_t)t->dims[0], row_bytes = (size_t)(t->bytes / t->dims[1]);
    uint8_t out[4 * MAX_COLS];
    for (size_t r = 0; r < t->dims[1]; r++) {
        const float *row = g->floats + r * cols;
        if (sterna_type_describe(t->type)->kind == STERNA_KIND_TERNARY) {
            int8_t trits[MAX_COLS];
            float scales[MAX_COLS] = {0};
            for (size_t c = 0; c < cols; c++) {
                trits[c] = (int8_t)((row[c] > 0) - (row[c] < 0));
                if (trits[c]) scales[c / 256] = fabsf(row[c]);
            }
            sterna_type_pack(t->type, trits, scales, cols, out);
        } else {
            sterna_type_encode(t->type, row, cols, out);
        }
        assert_memory_equal(out, t->data + r * row_bytes, row_bytes);
    }
}

static void goldens_agree(void **state)
{
    (void)state;
    sterna_file *file;
    assert_int_equal(sterna_file_open(TEST_DATA "/blocks.bin", &file, NULL), STERNA_OK);
    sterna_cursor cursor = {.data = file->data, .size = file->size};
    golden g;
    int count = 0;
    for (; next_golden(&cursor, &g); count++) {
        if (g.encoded)
            check_encoded(&g);
        else
            check_decoded(&g);
        test_free((void *)(uintptr_t)g.tensor.data);
        test_free((void *)(uintptr_t)g.floats);
    }
    assert_int_equal(count, 30);
    sterna_file_close(file);
}

/* F16 rows use their own branch-free conversion: all values. */
static void every_half(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 0x10000; half += 256) {
        uint8_t bytes[512], bf16[512];
        float out[256], wanted;
        for (uint32_t i = 0; i < 256; i++) {
            bytes[2 * i] = bf16[2 * i] = (uint8_t)i;
            bytes[2 * i + 1] = bf16[2 * i + 1] = (uint8_t)(half >> 8);
        }
        sterna_tensor tensor = make_tensor(STERNA_TYPE_F16, 256, 1, bytes);
        sterna_tensor_row(&tensor, 0, out);
        for (uint32_t i = 0; i < 256; i++) {
            wanted = sterna_f16_to_f32((uint16_t)(half + i));
            assert_true(same_float(out[i], wanted));
        }
        /* and back again */
        uint8_t again[512];
        sterna_type_encode(STERNA_TYPE_F16, out, 256, again);
        for (uint32_t i = 0; i < 256; i++)
            if (!isnan(out[i])) assert_memory_equal(again + 2 * i, bytes + 2 * i, 2);
    }
}

/* ---- base 3, all cases ---- */

/* Where byte `at` of a block keeps digit n: the element index. */
static int base3_element(sterna_type type, int at, int n)
{
    bool tq = type == STERNA_TYPE_TQ1_0;
    int wide = tq ? 32 : 16, narrow = wide / 2, last = tq ? 4 : 2;
    if (at < wide) return n * wide + at;
    if (at < wide + narrow) return 5 * wide + n * narrow + (at - wide);
    return 5 * (wide + narrow) + n * last + (at - wide - narrow);
}

static void base3_is_exact(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        sterna_type type = which ? STERNA_TYPE_PTQ1_0 : STERNA_TYPE_TQ1_0;
        int block = which ? 128 : 256, codes = which ? 26 : 52, five = which ? 24 : 48;
        uint8_t bytes[54];
        int8_t trits[256], read[256];
        float scale = 0.5f, read_scale;
        for (int at = 0; at < codes; at++) {
            int digits = at < five ? 5 : 4, combinations = at < five ? 243 : 81;
            bool canonical[256] = {false};
            for (int value = 0; value < combinations; value++) {
                memset(trits, 0, sizeof trits);
                int rest = value, fraction = value * (at < five ? 1 : 3);
                for (int n = digits - 1; n >= 0; n--, rest /= 3)
                    trits[base3_element(type, at, n) & 255] = (int8_t)(rest % 3 - 1);
                int wanted = (fraction * 256 + 242) / 243;
                sterna_type_pack(type, trits, &scale, (size_t)block, bytes);
                assert_int_equal(bytes[at], wanted);
                canonical[wanted] = true;
                sterna_tensor tensor = make_tensor(type, (uint64_t)block, 1, bytes);
                assert_true(sterna_tensor_row_trits(&tensor, 0, read, &read_scale));
                assert_memory_equal(read, trits, (size_t)block);
                assert_float_equal(read_scale, 0.5f, 0);
            }
            for (int value = 0; value < 256; value++) {
                bytes[at] = (uint8_t)value;
                sterna_tensor tensor = make_tensor(type, (uint64_t)block, 1, bytes);
                assert_int_equal(sterna_tensor_row_trits(&tensor, 0, read, &read_scale),
                                 canonical[value]);
            }
        }
    }
}

/* ---- packing and conversion ---- */

static void random_row(sterna_rng *rng, size_t cols, size_t group, int8_t *trits, float *scales)
{
    for (size_t i = 0; i < cols; i++) trits[i] = (int8_t)(sterna_rng_u64(rng) % 3) - 1;
    for (size_t i = 0; i < cols / group; i++)
        scales[i] = sterna_f16_to_f32(sterna_f32_to_f16((float)sterna_rng_double(rng) - 0.5f));
}

static void packing_round_trips(void **state)
{
    (void)state;
    sterna_rng rng;
    sterna_rng_seed(&rng, 1);
    for (int w = 0; w < WRITTEN; w++) {
        const sterna_type_info *info = sterna_type_describe(written[w]);
        assert_true(info->writable && info->kind == STERNA_KIND_TERNARY);
        int8_t trits[MAX_COLS], read[MAX_COLS];
        float scales[MAX_COLS], read_scales[MAX_COLS];
        uint8_t bytes[MAX_COLS], again[MAX_COLS];
        for (int round = 0; round < 50; round++) {
            random_row(&rng, MAX_COLS, info->group, trits, scales);
            sterna_type_pack(written[w], trits, scales, MAX_COLS, bytes);
            sterna_tensor tensor = make_tensor(written[w], MAX_COLS, 1, bytes);
            assert_int_equal(sterna_tensor_group(&tensor), info->group);
            assert_true(sterna_tensor_row_trits(&tensor, 0, read, read_scales));
            assert_memory_equal(read, trits, MAX_COLS);
            assert_memory_equal(read_scales, scales, MAX_COLS / info->group * sizeof *scales);
            sterna_type_pack(written[w], read, read_scales, MAX_COLS, again);
            assert_memory_equal(again, bytes, (size_t)tensor.bytes);
        }
    }
}

/* Rows of valid codes in any type that has lines. */
static void fill_codes(sterna_rng *rng, const sterna_tensor *tensor, uint8_t *data)
{
    const sterna_type_info *info = sterna_type_describe(tensor->type);
    size_t cols = (size_t)tensor->dims[0], rows = (size_t)tensor->dims[1];
    int8_t trits[MAX_COLS];
    float scales[MAX_COLS];
    for (size_t i = 0; i < tensor->bytes; i++) /* scales of I2_S and Q2_0_G128 are of no matter */
        data[i] = (uint8_t)(sterna_rng_u64(rng) % 3 | sterna_rng_u64(rng) % 3 << 2 |
                            sterna_rng_u64(rng) % 3 << 4);
    for (size_t r = 0; info->writable && r < rows; r++) {
        random_row(rng, cols, info->group, trits, scales);
        sterna_type_pack(tensor->type, trits, scales, cols, data + r * (tensor->bytes / rows));
    }
}

/* Lines say what rows say: codes, scales, and which row holds no trits. */
static void lines_are_rows(void **state)
{
    (void)state;
    enum { ROWS = 20, COLS = 512 };
    static const sterna_type types[] = {STERNA_TYPE_TQ1_0,     STERNA_TYPE_TQ2_0, STERNA_TYPE_Q2_0,
                                        STERNA_TYPE_Q2_0_G128, STERNA_TYPE_PQ2_0, STERNA_TYPE_I2_S,
                                        STERNA_TYPE_I2_S};
    sterna_rng rng;
    sterna_rng_seed(&rng, 3);
    for (int i = 0; i < 7 * 40; i++) {
        static uint8_t data[ROWS * COLS];
        sterna_tensor tensor = make_tensor(types[i % 7], COLS, ROWS, data);
        tensor.order = i % 7 == 6 ? STERNA_I2S_ARM : STERNA_I2S_X86;
        assert_true(sterna_tensor_has_lines(&tensor));
        fill_codes(&rng, &tensor, data);
        if (i % 2) data[sterna_rng_u64(&rng) % (ROWS * COLS / 5)] = 0xff;
        uint64_t rows[16];
        size_t count = 1 + sterna_rng_u64(&rng) % 16, groups = COLS / sterna_tensor_group(&tensor);
        for (size_t r = 0; r < count; r++) rows[r] = sterna_rng_u64(&rng) % ROWS;
        uint8_t lines[COLS / 16][64];
        float scales[16 * COLS / 16], want_scales[COLS];
        int bad = sterna_tensor_lines(&tensor, rows, count, lines[0], scales, groups),
            want_bad = -1;
        for (size_t r = 0; r < count; r++) {
            int8_t trits[COLS];
            bool valid = sterna_tensor_row_trits(&tensor, rows[r], trits, want_scales);
            bool quads = types[i % 7] == STERNA_TYPE_Q2_0 || types[i % 7] == STERNA_TYPE_PQ2_0 ||
                         types[i % 7] == STERNA_TYPE_Q2_0_G128;
            if (!valid && !quads && want_bad < 0) want_bad = (int)r;
            assert_memory_equal(scales + r * groups, want_scales, groups * sizeof *scales);
            for (size_t k = 0; (valid || quads) && k < COLS; k++)
                assert_int_equal(lines[k / 16][4 * r + k % 4] >> 2 * (k % 16 / 4) & 3,
                                 trits[k] + 1);
        }
        assert_int_equal(bad, want_bad);
    }
}

static void conversion_is_exact(void **state)
{
    (void)state;
    sterna_rng rng;
    sterna_rng_seed(&rng, 2);
    enum { ROWS = 3 };
    static uint8_t first[ROWS * MAX_COLS], second[ROWS * MAX_COLS], third[ROWS * MAX_COLS];
    for (int a = 0; a < WRITTEN; a++)
        for (int b = 0; b < WRITTEN; b++) {
            int8_t trits[MAX_COLS];
            float scales[MAX_COLS], wide[MAX_COLS];
            size_t group = sterna_type_describe(written[a])->group, bytes = 0;
            for (size_t row = 0; row < ROWS; row++) { /* one scale per 256 columns suits all */
                random_row(&rng, MAX_COLS, 256, trits, wide);
                for (size_t i = 0; i < MAX_COLS / group; i++) scales[i] = wide[i * group / 256];
                memset(trits + 256, 0, 256);
                sterna_type_pack(written[a], trits, scales, MAX_COLS, first + bytes);
                bytes += MAX_COLS / group * sterna_type_describe(written[a])->block_bytes;
            }
            sterna_tensor source = make_tensor(written[a], MAX_COLS, ROWS, first);
            assert_int_equal(sterna_tensor_convert(&source, written[b], false, second, NULL),
                             STERNA_OK);
            sterna_tensor target = make_tensor(written[b], MAX_COLS, ROWS, second);
            for (size_t row = 0; row < ROWS; row++) {
                float x[MAX_COLS], y[MAX_COLS];
                sterna_tensor_row(&source, row, x);
                sterna_tensor_row(&target, row, y);
                for (size_t i = 0; i < MAX_COLS; i++) assert_true(x[i] == y[i]);
            }
            assert_int_equal(sterna_tensor_convert(&target, written[a], false, third, NULL),
                             STERNA_OK);
            source.data = third;
            for (size_t row = 0; row < ROWS; row++) {
                float x[MAX_COLS], y[MAX_COLS];
                sterna_tensor_row(&source, row, x);
                sterna_tensor_row(&target, row, y);
                for (size_t i = 0; i < MAX_COLS; i++) assert_true(x[i] == y[i]);
            }
        }
}

static void refuses(const sterna_tensor *tensor, sterna_type target, bool round, const char *part)
{
    static uint8_t out[4 * MAX_COLS];
    sterna_error err = {0};
    assert_int_not_equal(sterna_tensor_convert(tensor, target, round, out, &err), STERNA_OK);
    if (!strstr(err.message, part)) fail_msg("'%s' does not say '%s'", err.message, part);
    assert_non_null(strstr(err.message, "'t'"));
}

static void conversion_refuses(void **state)
{
    (void)state;
    uint8_t bytes[256];
    int8_t trits[256];
    float scales[4] = {0.5f, 0.5f, 0.25f, 0.5f};
    for (int i = 0; i < 256; i++) trits[i] = (int8_t)(i % 3 - 1);

    sterna_type_pack(STERNA_TYPE_Q2_0, trits, scales, 256, bytes);
    sterna_tensor tensor = make_tensor(STERNA_TYPE_Q2_0, 256, 1, bytes);
    refuses(&tensor, STERNA_TYPE_TQ2_0, false, "choose a type with groups of at most 64");
    refuses(&tensor, STERNA_TYPE_PQ2_0, true, "columns 128 to 255 have the scales 0.25 and 0.5");
    refuses(&tensor, STERNA_TYPE_F16, false, "no exact conversion");
    tensor.dims[0] = 192;
    refuses(&tensor, STERNA_TYPE_TQ1_0, false, "rows of 192 weights");
    memset(trits + 128, 0, 64); /* the odd group is silent now */
    sterna_type_pack(STERNA_TYPE_Q2_0, trits, scales, 256, bytes);
    tensor = make_tensor(STERNA_TYPE_Q2_0, 256, 1, bytes);
    uint8_t out[66];
    assert_int_equal(sterna_tensor_convert(&tensor, STERNA_TYPE_TQ2_0, false, out, NULL),
                     STERNA_OK);
    bytes[5] |= 3; /* code 3 */
    refuses(&tensor, STERNA_TYPE_TQ2_0, false, "row 0 holds a Q2_0 code that is none of");
    bytes[5] = 0;
    bytes[1] = 0x7e; /* NaN */
    refuses(&tensor, STERNA_TYPE_TQ2_0, false, "not a finite number");

    uint8_t packed[256];
    memset(packed, 0xaa, sizeof packed);
    tensor = make_tensor(STERNA_TYPE_BITNET, 256, 4, packed);
    tensor.scale = 0.1f;
    refuses(&tensor, STERNA_TYPE_TQ2_0, false, "no float16 number");
    uint8_t four[4 * 66];
    assert_int_equal(sterna_tensor_convert(&tensor, STERNA_TYPE_TQ2_0, true, four, NULL),
                     STERNA_OK);
    tensor.scale = 1e6f;
    refuses(&tensor, STERNA_TYPE_TQ2_0, true, "out of float16's range");
    tensor.scale = 1e-8f;
    refuses(&tensor, STERNA_TYPE_TQ2_0, true, "out of float16's range");
}

static void conversion_survives_no_memory(void **state)
{
    (void)state;
    uint8_t packed[64], out[4 * 18];
    memset(packed, 0x55, sizeof packed);
    sterna_tensor tensor = make_tensor(STERNA_TYPE_BITNET, 64, 4, packed);
    tensor.scale = 0.5f;
    for (long n = 0; n < 3; n++) {
        sterna_alloc_fail_after(n);
        sterna_status status = sterna_tensor_convert(&tensor, STERNA_TYPE_Q2_0, false, out, NULL);
        sterna_alloc_fail_after(-1);
        assert_int_equal(status, STERNA_ERROR_MEMORY);
    }
}

/* Codes of blocks that are no trits come back as code times scale. */
static void codes_of_blocks_round_trip(void **state)
{
    (void)state;
    static const struct {
        sterna_type type;
        int low, high, block_bytes;
    } kinds[] = {{STERNA_TYPE_Q4_0, -8, 7, 18}, {STERNA_TYPE_Q8_0, -127, 127, 34}};
    enum { COLS = 96 };
    const float scales[COLS / 32] = {0.25f, -0.5f, 0};
    for (int k = 0; k < 2; k++) {
        int8_t codes[COLS];
        uint8_t bytes[COLS / 32 * 34];
        float row[COLS];
        int levels = kinds[k].high - kinds[k].low + 1;
        for (int i = 0; i < COLS; i++) codes[i] = (int8_t)(kinds[k].low + i * 7 % levels);
        sterna_type_pack(kinds[k].type, codes, scales, COLS, bytes);
        sterna_tensor tensor = {.type = kinds[k].type,
                                .n_dims = 1,
                                .dims = {COLS, 1, 1, 1},
                                .data = bytes,
                                .bytes = (uint64_t)(COLS / 32 * kinds[k].block_bytes)};
        sterna_tensor_row(&tensor, 0, row);
        for (int i = 0; i < COLS; i++) assert_true(row[i] == scales[i / 32] * (float)codes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_consistent),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(goldens_agree),
        cmocka_unit_test(every_half),
        cmocka_unit_test(base3_is_exact),
        cmocka_unit_test(packing_round_trips),
        cmocka_unit_test(lines_are_rows),
        cmocka_unit_test(conversion_is_exact),
        cmocka_unit_test(conversion_refuses),
        cmocka_unit_test(conversion_survives_no_memory),
        cmocka_unit_test(codes_of_blocks_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
