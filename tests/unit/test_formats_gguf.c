/* formats/: GGUF, read and written; split files; damage. */
#include <math.h>

#include "formats_support.h"

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };

/* ---- files made by hand ---- */

static void header(sterna_buffer *b, uint32_t version, uint64_t tensors, uint64_t keys)
{
    sterna_buffer_add_text(b, "GGUF");
    put(b, version, 4);
    put(b, tensors, 8);
    put(b, keys, 8);
}

static void key(sterna_buffer *b, const char *name, uint32_t type)
{
    put_text(b, name);
    put(b, type, 4);
}

static void key_u32(sterna_buffer *b, const char *name, uint32_t value)
{
    key(b, name, U32);
    put(b, value, 4);
}

static void entry(sterna_buffer *b, const char *name, uint64_t cols, uint64_t rows, uint32_t type,
                  uint64_t offset)
{
    put_text(b, name);
    put(b, 2, 4);
    put(b, cols, 8);
    put(b, rows, 8);
    put(b, type, 4);
    put(b, offset, 8);
}

/* Padding, then n bytes of data. */
static void data(sterna_buffer *b, size_t n)
{
    while (b->size % 32) sterna_buffer_add_char(b, 0);
    put_noise(b, n);
}

/* ---- write, read, write ---- */

static const struct {
    const char *name;
    sterna_type type;
    uint64_t cols, rows;
} samples[] = {
    {"a.f32", STERNA_TYPE_F32, 3, 2},         {"b.f16", STERNA_TYPE_F16, 5, 1},
    {"c.bf16", STERNA_TYPE_BF16, 4, 3},       {"d.q8_0", STERNA_TYPE_Q8_0, 64, 2},
    {"e.tq1_0", STERNA_TYPE_TQ1_0, 256, 1},   {"f.tq2_0", STERNA_TYPE_TQ2_0, 256, 2},
    {"g.q2_0", STERNA_TYPE_Q2_0, 192, 3},     {"h.pq2_0", STERNA_TYPE_PQ2_0, 128, 3},
    {"i.ptq1_0", STERNA_TYPE_PTQ1_0, 128, 2}, {"j.q4_1", STERNA_TYPE_Q4_1, 32, 1},
    {"k.i2_s", STERNA_TYPE_I2_S, 128, 4},     {"l.i32", STERNA_TYPE_I32, 2, 2},
};
enum { SAMPLES = sizeof samples / sizeof *samples };

static void write_meta(sterna_model_writer *w)
{
    static const struct {
        const char *key;
        sterna_meta_type type;
        uint32_t gguf_type;
        int64_t value;
    } numbers[] = {
        {"n.u8", STERNA_META_UINT, U8, 200},        {"n.i8", STERNA_META_INT, I8, -100},
        {"n.u16", STERNA_META_UINT, U16, 60000},    {"n.i16", STERNA_META_INT, I16, -30000},
        {"n.i32", STERNA_META_INT, I32, -5},        {"n.u64", STERNA_META_UINT, U64, INT64_MAX},
        {"n.i64", STERNA_META_INT, I64, INT64_MIN}, {"n.seven", STERNA_META_INT, I32, 7},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        sterna_meta m = {.key = {numbers[i].key, strlen(numbers[i].key)},
                         .type = numbers[i].type,
                         .gguf_type = numbers[i].gguf_type,
                         .value.i = numbers[i].value};
        assert_int_equal(sterna_model_writer_copy_meta(w, &m, NULL), STERNA_OK);
    }
    sterna_meta pi = {.key = {"n.f64", 5},
                      .type = STERNA_META_FLOAT,
                      .gguf_type = F64,
                      .value.f = 3.14159265358979};
    assert_int_equal(sterna_model_writer_copy_meta(w, &pi, NULL), STERNA_OK);
    static const uint8_t shorts[] = {1, 0, 255, 255};
    sterna_meta array = {.key = {"a.i16", 5},
                         .type = STERNA_META_ARRAY,
                         .gguf_type = ARRAY,
                         .element_type = I16,
                         .count = 2,
                         .raw = shorts};
    assert_int_equal(sterna_model_writer_copy_meta(w, &array, NULL), STERNA_OK);
    static const uint8_t elements[16] = {254, 255, 255, 255, 255, 255, 255, 255};
    static const struct {
        const char *key;
        uint32_t type;
    } arrays[] = {{"a.u8", U8},   {"a.i8", I8},   {"a.u16", U16}, {"a.u32", U32},
                  {"a.i32", I32}, {"a.u64", U64}, {"a.i64", I64}, {"a.f64", F64}};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        sterna_meta m = {.key = {arrays[i].key, strlen(arrays[i].key)},
                         .type = STERNA_META_ARRAY,
                         .gguf_type = ARRAY,
                         .element_type = arrays[i].type,
                         .count = 1,
                         .raw = elements + (arrays[i].type == F64 ? 8 : 0)};
        assert_int_equal(sterna_model_writer_copy_meta(w, &m, NULL), STERNA_OK);
    }
    const sterna_text words[] = {{"one", 3}, {"", 0}, {"t\0o", 3}};
    const float floats[] = {0.5f, -2};
    const int32_t ints[] = {7, -7};
    assert_int_equal(sterna_model_writer_meta_strings(w, "a.words", words, 3, NULL), STERNA_OK);
    assert_int_equal(sterna_model_writer_meta_floats(w, "a.floats", floats, 2, NULL), STERNA_OK);
    assert_int_equal(sterna_model_writer_meta_i32s(w, "a.ints", ints, 2, NULL), STERNA_OK);
    assert_int_equal(sterna_model_writer_meta_u32(w, "n.u32", 1, NULL), STERNA_OK);
    assert_int_equal(sterna_model_writer_meta_u32(w, "n.u32", 42, NULL), STERNA_OK);
    assert_int_equal(sterna_model_writer_meta_bool(w, "n.yes", true, NULL), STERNA_OK);
    assert_int_equal(sterna_model_writer_meta_float(w, "n.f32", 0.25f, NULL), STERNA_OK);
    assert_int_equal(sterna_model_writer_meta_float(w, "n.inf", HUGE_VALF, NULL), STERNA_OK);
    assert_int_equal(sterna_model_writer_meta_string(w, "general.architecture", "llama", 5, NULL),
                     STERNA_OK);
    assert_int_equal(sterna_model_writer_meta_u32(w, "general.alignment", 64, NULL), STERNA_OK);
}

static sterna_status write_samples(const char *path, sterna_error *err)
{
    sterna_model_writer *w = NULL;
    sterna_status status = sterna_model_writer_open(path, &w, err);
    if (status) return status;
    sterna_buffer bytes = {0};
    put_noise(&bytes, 4096);
    write_meta(w);
    for (size_t i = 0; i < SAMPLES && !status; i++) {
        sterna_tensor t = {.name = samples[i].name,
                           .type = samples[i].type,
                           .n_dims = 2,
                           .dims = {samples[i].cols, samples[i].rows, 1, 1}};
        status = sterna_model_writer_declare(w, &t, err);
    }
    for (size_t i = 0; i < SAMPLES && !status; i++) {
        uint64_t size = 0;
        assert_true(sterna_type_bytes(samples[i].type, samples[i].cols, samples[i].rows, &size));
        status = sterna_model_writer_data(w, bytes.data + i, 3, err); /* in two pieces */
        if (!status) status = sterna_model_writer_data(w, bytes.data + i + 3, size - 3, err);
    }
    sterna_buffer_free(&bytes);
    if (!status) return sterna_model_writer_commit(w, err);
    sterna_model_writer_abort(w);
    return status;
}

static void copy_file(const sterna_model_file *file, const char *path)
{
    sterna_model_writer *w = NULL;
    assert_int_equal(sterna_model_writer_open(path, &w, NULL), STERNA_OK);
    for (size_t i = 0; i < file->n_meta; i++)
        assert_int_equal(sterna_model_writer_copy_meta(w, &file->meta[i], NULL), STERNA_OK);
    for (size_t i = 0; i < file->n_tensors; i++)
        assert_int_equal(sterna_model_writer_declare(w, &file->tensors[i], NULL), STERNA_OK);
    for (size_t i = 0; i < file->n_tensors; i++)
        assert_int_equal(sterna_model_writer_data(w, file->tensors[i].data,
                                                  (size_t)file->tensors[i].bytes, NULL),
                         STERNA_OK);
    assert_int_equal(sterna_model_writer_commit(w, NULL), STERNA_OK);
}

static void check_meta(const sterna_model_file *file)
{
    uint32_t u = 0;
    float f = 0;
    bool b = false;
    sterna_text s = {0};
    sterna_error err;
    assert_int_equal(sterna_meta_u32(file, "n.u32", true, 0, 100, &u, NULL), STERNA_OK);
    assert_int_equal(u, 42);
    assert_int_equal(sterna_meta_u32(file, "n.u32", true, 43, 100, &u, &err), STERNA_ERROR_FORMAT);
    assert_non_null(strstr(err.message, "'n.u32' is 42; expected 43 to 100"));
    assert_int_equal(sterna_meta_u32(file, "n.i8", true, 0, 100, &u, &err), STERNA_ERROR_FORMAT);
    assert_int_equal(sterna_meta_u32(file, "n.f32", true, 0, 100, &u, &err), STERNA_ERROR_FORMAT);
    assert_int_equal(sterna_meta_u32(file, "none", false, 0, 100, &u, NULL), STERNA_OK);
    assert_int_equal(u, 42);
    assert_int_equal(sterna_meta_u32(file, "none", true, 0, 100, &u, &err), STERNA_ERROR_FORMAT);
    assert_int_equal(sterna_meta_float(file, "n.f64", true, &f, NULL), STERNA_OK);
    assert_true(f == 3.14159265358979f);
    assert_int_equal(sterna_meta_float(file, "n.i16", true, &f, NULL), STERNA_OK);
    assert_true(f == -30000);
    assert_int_equal(sterna_meta_bool(file, "n.yes", true, &b, NULL), STERNA_OK);
    assert_true(b);
    assert_int_equal(sterna_meta_bool(file, "n.u8", true, &b, NULL), STERNA_ERROR_FORMAT);
    assert_int_equal(sterna_meta_string(file, "general.architecture", true, &s, NULL), STERNA_OK);
    assert_memory_equal(s.data, "llama", 5);
    const sterna_meta *m = sterna_model_file_meta(file, "a.i16");
    assert_int_equal(m->count, 2);
    assert_true(sterna_meta_element(m, 1) == -1);
    m = sterna_model_file_meta(file, "a.words");
    assert_int_equal(m->strings[2].size, 3);
    assert_memory_equal(m->strings[2].data, "t\0o", 3);
    static const struct {
        const char *key;
        double value;
    } elements[] = {{"a.u8", 254}, {"a.i8", -2},  {"a.u16", 65534}, {"a.u32", 4294967294.0},
                    {"a.i32", -2}, {"a.i64", -2}, {"a.f64", 0},     {"a.u64", 0x1p64}};
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++) {
        m = sterna_model_file_meta(file, elements[i].key);
        assert_true(sterna_meta_element(m, 0) == elements[i].value);
        assert_true(sterna_meta_element(m, 1) == 0); /* past the end */
    }
    assert_int_equal(sterna_meta_u32(file, "a.ints", true, 0, 1, &u, &err), STERNA_ERROR_FORMAT);
    assert_non_null(strstr(err.message, "expected an integer, found an array"));
    assert_int_equal(sterna_meta_float(file, "a.ints", true, &f, NULL), STERNA_ERROR_FORMAT);
    assert_int_equal(sterna_meta_float(file, "n.inf", true, &f, NULL), STERNA_ERROR_FORMAT);
    assert_int_equal(sterna_meta_float(file, "n.u8", true, &f, NULL), STERNA_OK);
    assert_true(f == 200);
    assert_int_equal(sterna_meta_u32(file, "n.seven", true, 7, 7, &u, NULL), STERNA_OK);
    assert_int_equal(sterna_meta_string(file, "n.u8", true, &s, NULL), STERNA_ERROR_FORMAT);
    m = sterna_model_file_meta(file, "n.i64");
    assert_true(m->value.i == INT64_MIN && m->gguf_type == I64);
}

static void gguf_round_trips(void **state)
{
    (void)state;
    const char *path = in_folder("a.gguf"), *again = in_folder("b.gguf");
    assert_int_equal(write_samples(path, NULL), STERNA_OK);
    sterna_model_file *file = NULL;
    assert_int_equal(sterna_model_file_open(path, NULL, &file, NULL), STERNA_OK);
    assert_int_equal(file->container, STERNA_GGUF);
    assert_int_equal(file->gguf_version, 3);
    assert_int_equal(file->alignment, 64);
    assert_int_equal(file->n_tensors, SAMPLES);
    sterna_buffer noise = {0};
    put_noise(&noise, 4096);
    for (size_t i = 0; i < SAMPLES; i++) {
        const sterna_tensor *t = sterna_model_file_find(file, samples[i].name);
        assert_ptr_equal(t, &file->tensors[i]);
        assert_int_equal(t->type, samples[i].type);
        assert_int_equal(t->dims[0], samples[i].cols);
        assert_int_equal(t->dims[1], samples[i].rows);
        assert_memory_equal(t->data, noise.data + i, t->bytes);
    }
    sterna_buffer_free(&noise);
    check_meta(file);
    sterna_model_file_release(file, &file->tensors[3]);
    copy_file(file, again);
    sterna_model_file_close(file);
    sterna_buffer one = load(path), two = load(again);
    assert_int_equal(one.size, two.size);
    assert_memory_equal(one.data, two.data, one.size);
    sterna_buffer_free(&one);
    sterna_buffer_free(&two);
}

static void writer_refuses(void **state)
{
    (void)state;
    sterna_model_writer *w = NULL;
    sterna_error err;
    sterna_tensor t = {
        .name = "t", .type = STERNA_TYPE_Q2_0_G128, .n_dims = 1, .dims = {128, 1, 1, 1}};
    assert_int_equal(sterna_model_writer_open(in_folder("x.bin"), &w, &err), STERNA_ERROR_ARGUMENT);
    assert_int_equal(sterna_model_writer_open(in_folder("x.gguf"), &w, &err), STERNA_OK);
    assert_int_equal(sterna_model_writer_declare(w, &t, &err), STERNA_ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "PQ2_0"));
    t.type = STERNA_TYPE_BITNET;
    assert_int_equal(sterna_model_writer_declare(w, &t, &err), STERNA_ERROR_UNSUPPORTED);
    t.type = STERNA_TYPE_TQ2_0; /* 128 is no multiple of 256 */
    assert_int_equal(sterna_model_writer_declare(w, &t, &err), STERNA_ERROR_FORMAT);
    t.type = STERNA_TYPE_F32;
    t.n_dims = 5;
    assert_int_equal(sterna_model_writer_declare(w, &t, &err), STERNA_ERROR_ARGUMENT);
    t.n_dims = 1;
    assert_int_equal(sterna_model_writer_meta_u32(w, "", 1, &err), STERNA_ERROR_ARGUMENT);
    assert_int_equal(sterna_model_writer_meta_u32(w, "general.alignment", 48, &err), STERNA_OK);
    assert_int_equal(sterna_model_writer_declare(w, &t, &err), STERNA_ERROR_ARGUMENT);
    assert_int_equal(sterna_model_writer_meta_u32(w, "general.alignment", 32, &err), STERNA_OK);
    assert_int_equal(sterna_model_writer_declare(w, &t, &err), STERNA_OK);
    assert_int_equal(sterna_model_writer_declare(w, &t, &err), STERNA_ERROR_ARGUMENT);
    assert_int_equal(sterna_model_writer_meta_u32(w, "late", 1, &err), STERNA_ERROR_INTERNAL);
    char bytes[600] = {0};
    assert_int_equal(sterna_model_writer_data(w, bytes, 513, &err), STERNA_ERROR_INTERNAL);
    assert_int_equal(sterna_model_writer_data(w, bytes, 511, &err), STERNA_OK);
    assert_int_equal(sterna_model_writer_commit(w, &err), STERNA_ERROR_INTERNAL);
    assert_false(sterna_path_exists(in_folder("x.gguf")));
}

/* ---- damage ---- */

/* A small file with every kind of thing in it. */
static void small_file(sterna_buffer *b)
{
    header(b, 3, 2, 6);
    key_u32(b, "general.alignment", 32);
    key(b, "s", STRING);
    put_text(b, "text");
    key(b, "b", BOOL);
    put(b, 1, 1);
    key(b, "w", ARRAY);
    put(b, STRING, 4);
    put(b, 2, 8);
    put_text(b, "x");
    put_text(b, "yz");
    key(b, "n", ARRAY);
    put(b, F32, 4);
    put(b, 2, 8);
    put(b, 0, 8);
    key(b, "t", ARRAY);
    put(b, BOOL, 4);
    put(b, 2, 8);
    put(b, 1, 2);
    entry(b, "two", 64, 2, 42, 32);
    entry(b, "one", 3, 2, 0, 0);
    data(b, 32 + 36);
}

static void gguf_survives_damage(void **state)
{
    (void)state;
    sterna_buffer b = {0};
    small_file(&b);
    assert_int_equal(open_bytes(b.data, b.size, NULL), STERNA_OK);
    truncate_everywhere(&b, 0);
    flip_everywhere(&b);
    sterna_buffer_free(&b);
}

static void gguf_headers(void **state)
{
    (void)state;
    static const uint32_t versions[] = {0, 1, 4, 0x80000000u};
    sterna_buffer b = {0};
    for (int i = 0; i < 4; i++) {
        header(&b, versions[i], 0, 0);
        refuse(&b, STERNA_ERROR_UNSUPPORTED, "versions 2 and 3");
    }
    header(&b, 0x03000000, 0, 0);
    refuse(&b, STERNA_ERROR_UNSUPPORTED, "big-endian");
    sterna_buffer_add_text(&b, "FUGG....................");
    refuse(&b, STERNA_ERROR_UNSUPPORTED, "swapped");
    sterna_buffer_add_text(&b, "gguf....................");
    refuse(&b, STERNA_ERROR_FORMAT, "not a model file");
    refuse(&b, STERNA_ERROR_FORMAT, "empty");
    static const uint64_t counts[] = {UINT64_C(1) << 63, (UINT64_C(1) << 32) + 1, UINT64_MAX,
                                      70000};
    for (int i = 0; i < 4; i++) {
        header(&b, 3, 0, counts[i]);
        refuse(&b, STERNA_ERROR_LIMIT, "metadata keys");
        header(&b, 3, counts[i], 0);
        refuse(&b, i == 3 ? STERNA_ERROR_FORMAT : STERNA_ERROR_LIMIT, "tensors");
    }
    header(&b, 3, 0, 1000);
    refuse(&b, STERNA_ERROR_FORMAT, "1000 metadata keys are announced");
    header(&b, 2, 0, 0); /* nothing in it, but well-formed */
    assert_int_equal(open_bytes(b.data, b.size, NULL), STERNA_OK);
    sterna_buffer_free(&b);
}

static void gguf_metadata(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1000, UINT64_C(1) << 63, UINT64_MAX};
    sterna_buffer b = {0};
    for (int i = 0; i < 3; i++) { /* a key, a value, an element longer than the file */
        header(&b, 3, 0, 1);
        put(&b, sizes[i], 8);
        put_noise(&b, 60);
        refuse(&b, STERNA_ERROR_FORMAT, "ends in metadata key 0");
        header(&b, 3, 0, 1);
        key(&b, "s", STRING);
        put(&b, sizes[i], 8);
        refuse(&b, STERNA_ERROR_FORMAT, "ends in the metadata, at key 's'");
        header(&b, 3, 0, 1);
        key(&b, "s", ARRAY);
        put(&b, STRING, 4);
        put(&b, 1, 8);
        put(&b, sizes[i], 8);
        refuse(&b, STERNA_ERROR_FORMAT, "ends in the metadata, at key 's'");
    }
    static const char *const names[] = {"", "a\nb", "\xc3", "\xed\xa0\x80", "\xc0\xaf", "\x7f"};
    for (int i = 0; i < 6; i++) {
        header(&b, 3, 0, 1);
        key_u32(&b, names[i], 1);
        put_noise(&b, 8);
        refuse(&b, STERNA_ERROR_FORMAT, "UTF-8");
    }
    header(&b, 3, 0, 1);
    put(&b, 3, 8);
    sterna_buffer_add(&b, "a\0b", 3);
    put_noise(&b, 8);
    refuse(&b, STERNA_ERROR_FORMAT, "control characters");
    header(&b, 3, 0, 2);
    key_u32(&b, "k", 1);
    key_u32(&b, "k", 2);
    refuse(&b, STERNA_ERROR_FORMAT, "'k' appears twice");
    header(&b, 3, 0, 1);
    key_u32(&b, "k", 1);
    b.data[33] = 13; /* the type */
    refuse(&b, STERNA_ERROR_FORMAT, "value type 13 is unknown");
    header(&b, 3, 0, 1);
    key(&b, "k", BOOL);
    put(&b, 2, 1);
    refuse(&b, STERNA_ERROR_FORMAT, "0 or 1, found 2");
}

static void gguf_arrays(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        uint64_t count;
        sterna_status status;
        const char *words;
    } arrays[] = {
        {U32, UINT64_C(1) << 61, STERNA_ERROR_LIMIT, "array of"},
        {STRING, UINT64_C(1) << 61, STERNA_ERROR_LIMIT, "array of"},
        {F64, UINT64_MAX, STERNA_ERROR_LIMIT, "array of"},
        {U8, 1 << 28, STERNA_ERROR_FORMAT, "ends in the metadata"},
        {STRING, 1 << 28, STERNA_ERROR_FORMAT, "ends in the metadata"},
        {ARRAY, 1, STERNA_ERROR_FORMAT, "elements of type 9"},
        {ARRAY, 0, STERNA_ERROR_FORMAT, "elements of type 9"},
        {13, 1, STERNA_ERROR_FORMAT, "elements of type 13"},
        {BOOL, 4, STERNA_ERROR_FORMAT, "0 or 1"},
    };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        sterna_buffer b = {0};
        header(&b, 3, 0, 1);
        key(&b, "k", ARRAY);
        put(&b, arrays[i].type, 4);
        put(&b, arrays[i].count, 8);
        put_noise(&b, 8);
        refuse(&b, arrays[i].status, arrays[i].words);
    }
    sterna_buffer b = {0};
    header(&b, 3, 0, 1);
    key(&b, "k", ARRAY);
    put(&b, STRING, 4);
    put(&b, 1, 8);
    put(&b, STERNA_GGUF_MAX_ELEMENT_BYTES + 1, 8);
    put_noise(&b, STERNA_GGUF_MAX_ELEMENT_BYTES + 1);
    refuse(&b, STERNA_ERROR_LIMIT, "at most 65536");
}

static void gguf_alignment(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0, 3, 33, 0x80000000u};
    sterna_buffer b = {0};
    for (int i = 0; i < 4; i++) {
        header(&b, 3, 0, 1);
        key_u32(&b, "general.alignment", bad[i]);
        refuse(&b, STERNA_ERROR_FORMAT, "power of two");
    }
    static const uint32_t types[] = {I32, STRING, U64};
    for (int i = 0; i < 3; i++) {
        header(&b, 3, 0, 1);
        key(&b, "general.alignment", types[i]);
        put(&b, i == 1 ? 0 : 32, 8);
        refuse(&b, STERNA_ERROR_FORMAT, "expected a value of type 4");
    }
    header(&b, 3, 1, 1); /* larger than the file: the data cannot be there */
    key_u32(&b, "general.alignment", 1 << 20);
    entry(&b, "t", 1, 1, 0, 0);
    data(&b, 64);
    refuse(&b, STERNA_ERROR_FORMAT, "0 bytes of data");
}

static void gguf_tensors(void **state)
{
    (void)state;
    static const struct {
        uint64_t cols, rows;
        uint32_t type;
        uint64_t offset;
        sterna_status status;
        const char *words;
    } bad[] = {
        {0, 1, 0, 0, STERNA_ERROR_FORMAT, "dimension 0 is 0"},
        {1, 0, 0, 0, STERNA_ERROR_FORMAT, "dimension 1 is 0"},
        {UINT64_MAX, 1, 0, 0, STERNA_ERROR_FORMAT, "cannot have the dimensions"},
        {UINT64_C(1) << 33, UINT64_C(1) << 33, 0, 0, STERNA_ERROR_FORMAT, "cannot have"},
        {UINT64_C(1) << 62, 1, 0, 0, STERNA_ERROR_FORMAT, "cannot have"},
        {UINT64_C(1) << 31, UINT64_C(1) << 32, 0, 0, STERNA_ERROR_FORMAT, "cannot have"},
        {1 << 20, 1 << 20, 0, 0, STERNA_ERROR_FORMAT, "bytes of data"},
        {33, 1, 8, 0, STERNA_ERROR_FORMAT, "no multiple of its block of 32"},
        {128, 1, 35, 0, STERNA_ERROR_FORMAT, "no multiple of its block of 256"},
        {4, 1, 0, 4, STERNA_ERROR_FORMAT, "no multiple of the alignment"},
        {4, 1, 0, 128, STERNA_ERROR_FORMAT, "bytes of data"},
        {4, 1, 0, UINT64_MAX - 31, STERNA_ERROR_FORMAT, "bytes of data"},
        {4, 1, 4, 0, STERNA_ERROR_UNSUPPORTED, "type 4 (Q4_2, removed)"},
        {4, 1, 39, 0, STERNA_ERROR_UNSUPPORTED, "type 39 (MXFP4"},
        {4, 1, UINT32_MAX, 0, STERNA_ERROR_UNSUPPORTED, "type 4294967295,"},
        {4, 1, 0x80000000u, 0, STERNA_ERROR_UNSUPPORTED, "type 2147483648,"},
    };
    sterna_buffer b = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        header(&b, 3, 1, 0);
        entry(&b, "t", bad[i].cols, bad[i].rows, bad[i].type, bad[i].offset);
        data(&b, 128);
        refuse(&b, bad[i].status, bad[i].words);
    }
    static const uint32_t dims[] = {0, 5, 0x80000000u};
    for (int i = 0; i < 3; i++) {
        header(&b, 3, 1, 0);
        put_text(&b, "t");
        put(&b, dims[i], 4);
        put_noise(&b, 64);
        refuse(&b, STERNA_ERROR_FORMAT, "expected 1 to 4");
    }
    char name[STERNA_MAX_TENSOR_NAME_BYTES + 2];
    for (size_t size = sizeof name - 2; size < sizeof name; size++) {
        memset(name, 'n', sizeof name);
        name[size] = 0;
        header(&b, 3, 1, 0);
        entry(&b, name, 4, 1, 0, 0);
        data(&b, 16);
        if (size == sizeof name - 1) {
            refuse(&b, STERNA_ERROR_FORMAT, "1 to 255 bytes");
        } else {
            assert_int_equal(open_bytes(b.data, b.size, NULL), STERNA_OK);
            sterna_buffer_free(&b);
        }
    }
}

static void gguf_pairs_of_tensors(void **state)
{
    (void)state;
    sterna_buffer b = {0};
    header(&b, 3, 2, 0);
    entry(&b, "t", 4, 1, 0, 0);
    entry(&b, "t", 4, 1, 0, 32);
    data(&b, 64);
    refuse(&b, STERNA_ERROR_FORMAT, "'t' appears twice");
    header(&b, 3, 2, 0);
    entry(&b, "t", 9, 1, 0, 0);
    entry(&b, "u", 4, 1, 0, 32);
    data(&b, 64);
    refuse(&b, STERNA_ERROR_FORMAT, "'t' and 'u' overlap");
    header(&b, 3, 2, 0);
    entry(&b, "t", 4, 1, 0, 32);
    entry(&b, "u", 4, 1, 0, 32);
    data(&b, 64);
    refuse(&b, STERNA_ERROR_FORMAT, "overlap");
    header(&b, 3, 2, 0); /* any order, any padding */
    entry(&b, "t", 4, 1, 0, 128);
    entry(&b, "u", 4, 1, 0, 32);
    data(&b, 160);
    assert_int_equal(open_bytes(b.data, b.size, NULL), STERNA_OK);
    sterna_buffer_free(&b);
}

/* ---- one number, two layouts ---- */

static sterna_type type_of_42(uint64_t cols, uint64_t rows, uint64_t second, size_t bytes,
                              uint32_t alignment)
{
    sterna_buffer b = {0};
    header(&b, 3, 2, 1);
    key_u32(&b, "general.alignment", alignment);
    entry(&b, "t", cols, rows, 42, 0);
    entry(&b, "u", 1, 1, 0, second);
    data(&b, bytes);
    sterna_model_file *file = NULL;
    sterna_type type = STERNA_TYPES;
    if (!sterna_model_file_open_memory("m", b.data, b.size, NULL, &file, NULL))
        type = file->tensors[0].type;
    sterna_model_file_close(file);
    sterna_buffer_free(&b);
    return type;
}

static void q2_0_tells_its_groups(void **state)
{
    (void)state;
    /* 2048 weights: 576 bytes in groups of 64, 544 in groups of 128 */
    assert_int_equal(type_of_42(2048, 1, 576, 608, 32), STERNA_TYPE_Q2_0);
    assert_int_equal(type_of_42(2048, 1, 544, 576, 32), STERNA_TYPE_Q2_0_G128);
    assert_int_equal(type_of_42(2048, 1, 640, 672, 32), STERNA_TYPE_Q2_0); /* more padding */
    assert_int_equal(type_of_42(2048, 1, 512, 576, 32), STERNA_TYPES);     /* overlap */
    assert_int_equal(type_of_42(64, 32, 576, 608, 32), STERNA_TYPE_Q2_0);  /* rows of 64 */
    assert_int_equal(type_of_42(64, 32, 544, 576, 32), STERNA_TYPES);
    /* 1024 weights: 288 or 272 bytes, the same after padding: the layout of today */
    assert_int_equal(type_of_42(1024, 1, 288, 320, 32), STERNA_TYPE_Q2_0);
    assert_int_equal(type_of_42(1024, 1, 272, 304, 16), STERNA_TYPE_Q2_0_G128);
    sterna_buffer b = {0};
    header(&b, 3, 3, 0); /* one of each */
    entry(&b, "t", 2048, 1, 42, 0);
    entry(&b, "u", 2048, 1, 42, 576);
    entry(&b, "v", 1, 1, 0, 576 + 544);
    data(&b, 576 + 544 + 4);
    refuse(&b, STERNA_ERROR_FORMAT, "groups of 64 and tensor 'u' groups of 128");
    header(&b, 3, 2, 0); /* a tensor that can tell speaks for one that cannot; the file's end */
    entry(&b, "t", 1024, 1, 42, 0);
    entry(&b, "u", 2048, 1, 42, 288);
    data(&b, 288 + 544);
    sterna_model_file *file = NULL;
    assert_int_equal(sterna_model_file_open_memory("m", b.data, b.size, NULL, &file, NULL),
                     STERNA_OK);
    assert_int_equal(file->tensors[0].type, STERNA_TYPE_Q2_0_G128);
    assert_int_equal(file->tensors[0].bytes, 272);
    sterna_model_file_close(file);
    sterna_buffer_free(&b);
}

static void i2_s_has_its_tail_and_order(void **state)
{
    (void)state;
    sterna_buffer b = {0};
    header(&b, 3, 1, 0);
    entry(&b, "t", 128, 4, 36, 0);
    data(&b, 128 + 32);
    sterna_file_options options = {.i2s_order = STERNA_I2S_ARM};
    sterna_model_file *file = NULL;
    assert_int_equal(sterna_model_file_open_memory("m", b.data, b.size, &options, &file, NULL),
                     STERNA_OK);
    assert_int_equal(file->tensors[0].order, STERNA_I2S_ARM);
    assert_int_equal(file->tensors[0].bytes, 160);
    sterna_model_file_close(file);
    b.size--;
    refuse(&b, STERNA_ERROR_FORMAT, "takes 160 bytes");
}

/* ---- split files ---- */

/* Part `no` of `count` under its name, with one tensor "t<no>". */
static void write_part(const char *name, uint32_t no, uint32_t count, uint32_t total,
                       const char *architecture)
{
    sterna_buffer b = {0};
    header(&b, 3, 1, architecture ? 4 : 3);
    key(&b, "split.no", U16);
    put(&b, no, 2);
    key(&b, "split.count", U16);
    put(&b, count, 2);
    key(&b, "split.tensors.count", I32);
    put(&b, total, 4);
    if (architecture) {
        key(&b, "general.architecture", STRING);
        put_text(&b, architecture);
    }
    char tensor[8];
    snprintf(tensor, sizeof tensor, "t%u", no);
    entry(&b, tensor, 4, 1, 0, 0);
    data(&b, 16);
    save(in_folder(name), &b);
    sterna_buffer_free(&b);
}

static void split_files(void **state)
{
    (void)state;
    static const char *const names[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf",
                                        "m-00003-of-00003.gguf"};
    for (uint32_t i = 0; i < 3; i++) write_part(names[i], i, 3, 3, i ? NULL : "llama");
    for (int i = 0; i < 3; i++) { /* by any part */
        sterna_model_file *file = NULL;
        sterna_error err = {0};
        sterna_status status = sterna_model_file_open(in_folder(names[i]), NULL, &file, &err);
        assert_string_equal(err.message, "");
        assert_int_equal(status, STERNA_OK);
        assert_int_equal(file->n_tensors, 3);
        assert_string_equal(file->tensors[1].name, "t1");
        assert_int_equal(file->n_meta, 1);
        assert_non_null(sterna_model_file_meta(file, "general.architecture"));
        assert_null(sterna_model_file_meta(file, "split.count"));
        assert_true(touch_file(file));
        sterna_model_file_release(file, &file->tensors[2]);
        sterna_model_file_close(file);
    }
    open_without_memory(in_folder(names[1]));
    sterna_buffer b = load(in_folder(names[0]));
    refuse(&b, STERNA_ERROR_UNSUPPORTED, "only from a path");
    write_part(names[2], 2, 3, 3, "qwen2");
    refuse_path(in_folder(names[0]), STERNA_ERROR_FORMAT, "different models");
    write_part(names[2], 2, 3, 4, NULL);
    refuse_path(in_folder(names[0]), STERNA_ERROR_FORMAT, "different models");
    write_part(names[2], 1, 3, 3, NULL); /* swapped */
    refuse_path(in_folder(names[0]), STERNA_ERROR_FORMAT, "it is part 2 of 3");
    write_part(names[2], 2, 4, 3, NULL);
    refuse_path(in_folder(names[0]), STERNA_ERROR_FORMAT, "it is part 3 of 4");
    unlink(in_folder(names[2]));
    refuse_path(in_folder(names[0]), STERNA_ERROR_IO, "part 3 of 3 cannot be read");
    for (uint32_t i = 0; i < 3; i++) write_part(names[i], i, 3, 5, NULL);
    refuse_path(in_folder(names[1]), STERNA_ERROR_FORMAT, "split.tensors.count is 5");
    write_part("renamed.gguf", 0, 3, 3, "llama");
    refuse_path(in_folder("renamed.gguf"), STERNA_ERROR_FORMAT, "must end in -00001-of-00003.gguf");
    write_part("m-00001-of-00003.gguf", 3, 3, 3, NULL);
    refuse_path(in_folder(names[0]), STERNA_ERROR_FORMAT, "numbered from 0");
    sterna_buffer_add_text(&b, "no GGUF at all, whatever its name says");
    save(in_folder(names[0]), &b);
    refuse_path(in_folder(names[1]), STERNA_ERROR_FORMAT, "not a GGUF file");
    sterna_buffer_free(&b);
    header(&b, 3, 0, 1);
    key(&b, "split.count", STRING);
    put_text(&b, "two");
    refuse(&b, STERNA_ERROR_FORMAT, "an integer from 0 to 65535");
    write_part("single.gguf", 0, 1, 1, NULL); /* a whole in one part */
    sterna_model_file *file = NULL;
    assert_int_equal(sterna_model_file_open(in_folder("single.gguf"), NULL, &file, NULL),
                     STERNA_OK);
    sterna_model_file_close(file);
}

/* ---- no memory ---- */

static void gguf_without_memory(void **state)
{
    (void)state;
    const char *path = in_folder("memory.gguf");
    sterna_buffer b = {0};
    small_file(&b);
    save(path, &b);
    sterna_buffer_free(&b);
    open_without_memory(path);
    sterna_model_file *file = NULL;
    assert_int_equal(sterna_model_file_open(path, NULL, &file, NULL), STERNA_OK);
    for (long n = 0;; n++) { /* the writer, too; the old file stays */
        sterna_model_writer *w = NULL;
        sterna_alloc_fail_after(n);
        sterna_status status = sterna_model_writer_open(path, &w, NULL);
        for (size_t i = 0; i < file->n_meta && !status; i++)
            status = sterna_model_writer_copy_meta(w, &file->meta[i], NULL);
        for (size_t i = 0; i < file->n_tensors && !status; i++)
            status = sterna_model_writer_declare(w, &file->tensors[i], NULL);
        for (size_t i = 0; i < file->n_tensors && !status; i++)
            status = sterna_model_writer_data(w, file->tensors[i].data,
                                              (size_t)file->tensors[i].bytes, NULL);
        sterna_alloc_fail_after(-1);
        if (!status) {
            assert_true(n > 3);
            assert_int_equal(sterna_model_writer_commit(w, NULL), STERNA_OK);
            break;
        }
        assert_int_equal(status, STERNA_ERROR_MEMORY);
        sterna_model_writer_abort(w);
        assert_true(sterna_path_exists(path));
    }
    sterna_model_file_close(file);
}

static void odd_paths(void **state)
{
    (void)state;
    refuse_path(in_folder("missing.gguf"), STERNA_ERROR_IO, "cannot open");
    refuse_path("/dev/null", STERNA_ERROR_IO, "device");
    assert_int_equal(mkfifo(in_folder("pipe.gguf"), 0600), 0);
    refuse_path(in_folder("pipe.gguf"), STERNA_ERROR_IO, "pipe");
    refuse_path(test_folder, STERNA_ERROR_FORMAT, "config.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_round_trips),
        cmocka_unit_test(writer_refuses),
        cmocka_unit_test(gguf_survives_damage),
        cmocka_unit_test(gguf_headers),
        cmocka_unit_test(gguf_metadata),
        cmocka_unit_test(gguf_arrays),
        cmocka_unit_test(gguf_alignment),
        cmocka_unit_test(gguf_tensors),
        cmocka_unit_test(gguf_pairs_of_tensors),
        cmocka_unit_test(q2_0_tells_its_groups),
        cmocka_unit_test(i2_s_has_its_tail_and_order),
        cmocka_unit_test(split_files),
        cmocka_unit_test(gguf_without_memory),
        cmocka_unit_test(odd_paths),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
