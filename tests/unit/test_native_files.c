/* The native form in files: written as parts, read back as one tensor, refused where parts are
 * missing, strange or damaged. */
#include "formats_support.h"
#include "native_support.h"

static sterna_rng rng;

/* What a file holds beside what it should; NULL entries end the list. */
typedef struct damage {
    const char *leave_out; /* the part with this suffix */
    int field;             /* of the layout; -1: none */
    int32_t value;
    const char *rename, *to; /* a suffix */
} damage;

static const damage none = {.field = -1};

typedef struct parts_file {
    sterna_model_writer *writer;
    const native_matrix *m;
    const damage *damage;
    bool declare;
} parts_file;

static void put_part(const parts_file *f, const char *suffix, sterna_tensor part, const void *data)
{
    char name[300];
    if (f->damage->leave_out && strcmp(f->damage->leave_out, suffix) == 0) return;
    if (f->damage->rename && strcmp(f->damage->rename, suffix) == 0) suffix = f->damage->to;
    snprintf(name, sizeof name, "%s%s", f->m->tensor.name, suffix);
    part.name = name;
    if (f->declare)
        assert_int_equal(sterna_model_writer_declare(f->writer, &part, NULL), STERNA_OK);
    else
        assert_int_equal(sterna_model_writer_data(f->writer, data, (size_t)part.bytes, NULL), 0);
}

static void put_parts(const parts_file *f)
{
    sterna_tensor part;
    int32_t header[STERNA_NATIVE_HEADER];
    if (f->m->tensor.data) {
        part = f->m->tensor;
        part.bytes -= sterna_native_bytes(&f->m->tensor);
        put_part(f, "", part, part.data);
    }
    sterna_native_header(&f->m->tensor, header);
    if (f->damage->field >= 0) header[f->damage->field] = f->damage->value;
    part = (sterna_tensor){
        .type = STERNA_TYPE_I32, .n_dims = 1, .dims = {8, 1, 1, 1}, .bytes = sizeof header};
    put_part(f, ".layout", part, header);
    for (int kind = 0; kind < STERNA_PARTS; kind++)
        if (sterna_native_part(&f->m->tensor, (sterna_part_kind)kind, &part))
            put_part(f, sterna_part_suffix((sterna_part_kind)kind), part, part.data);
}

static const char *write_file(const char *name, const native_matrix *m, const damage *with)
{
    const char *path = in_folder(name);
    parts_file f = {.m = m, .damage = with, .declare = true};
    assert_int_equal(sterna_model_writer_open(path, &f.writer, NULL), STERNA_OK);
    put_parts(&f);
    f.declare = false;
    put_parts(&f);
    assert_int_equal(sterna_model_writer_commit(f.writer, NULL), STERNA_OK);
    return path;
}

static const sterna_native whole = {.code = STERNA_CODE_BASE3,
                                    .code2 = STERNA_CODE_TWO_BIT,
                                    .group = 32,
                                    .shifted = true,
                                    .outliers = 4};

static void both_containers_hold_it(void **state)
{
    (void)state;
    static const sterna_native forms[] = {
        {.code = STERNA_CODE_BASE3, .group = 48},
        {.code = STERNA_CODE_TWO_BIT, .group = 72, .wide = true},
        {.code = STERNA_CODE_BASE3, .group = 0, .wide = true, .outliers = 40},
        {.code = STERNA_CODE_BASE3, .group = 5, .shifted = true},
        {.code = STERNA_CODE_BASE3, .code2 = STERNA_CODE_TWO_BIT, .group = 32, .outliers = 4}};
    for (size_t i = 0; i < 5; i++)
        for (int k = 0; k < 2; k++) {
            native_matrix *m = native_make(&rng, STERNA_TYPE_NATIVE, forms[i], 72, 6);
            const char *path = write_file(k ? "m.safetensors" : "m.gguf", m, &none);
            sterna_model_file *file = NULL;
            sterna_error err = {0};
            if (sterna_model_file_open(path, NULL, &file, &err)) fail_msg("%s", err.message);
            assert_int_equal(file->n_tensors, 1);
            const sterna_tensor *t = sterna_model_file_find(file, m->tensor.name);
            assert_non_null(t);
            assert_int_equal(t->type, STERNA_TYPE_NATIVE);
            assert_int_equal(t->bytes, m->tensor.bytes);
            assert_memory_equal(t->dims, m->tensor.dims, sizeof t->dims);
            for (uint64_t r = 0; r < 6; r++) {
                float a[72], b[72];
                sterna_tensor_row(t, r, a);
                sterna_tensor_row(&m->tensor, r, b);
                assert_memory_equal(a, b, sizeof a);
            }
            sterna_model_file_release(file, t);
            sterna_model_file_close(file);
            native_free(m);
        }
}

/* A Q2_0 tensor with a shift, a second plane and outliers beside it. */
static void parts_stand_beside_a_standard_tensor(void **state)
{
    (void)state;
    sterna_native form = {.code2 = STERNA_CODE_BASE3, .group = 128, .shifted = true, .outliers = 2};
    native_matrix *m = native_make(&rng, STERNA_TYPE_Q2_0, form, 256, 3);
    sterna_model_file *file = NULL;
    assert_int_equal(sterna_model_file_open(write_file("q.gguf", m, &none), NULL, &file, NULL), 0);
    const sterna_tensor *t = sterna_model_file_find(file, m->tensor.name);
    assert_int_equal(file->n_tensors, 1);
    assert_int_equal(t->type, STERNA_TYPE_Q2_0);
    assert_false(sterna_tensor_is_plain(t));
    for (uint64_t r = 0; r < 3; r++) {
        float a[256], b[256];
        sterna_tensor_row(t, r, a);
        sterna_tensor_row(&m->tensor, r, b);
        assert_memory_equal(a, b, sizeof a);
    }
    sterna_model_file_close(file);
    const damage bad[] = {{.leave_out = "", .field = -1},
                          {.field = 2, .value = 255},
                          {.field = 3, .value = 96},
                          {.field = 1, .value = 1}};
    const char *const words[] = {"is missing", "other columns", "do not divide",
                                 "is there beside its own codes"};
    for (size_t i = 0; i < 4; i++)
        refuse_path(write_file("bad.gguf", m, &bad[i]), STERNA_ERROR_FORMAT, words[i]);
    native_free(m);
}

static void strange_parts_are_refused(void **state)
{
    (void)state;
    native_matrix *m = native_make(&rng, STERNA_TYPE_NATIVE, whole, 72, 6);
    const struct {
        damage damage;
        sterna_status status;
        const char *words;
    } cases[] = {
        {{.leave_out = ".codes", .field = -1},
         STERNA_ERROR_FORMAT,
         ".codes' of a native matrix is missing"},
        {{.leave_out = ".scales", .field = -1},
         STERNA_ERROR_FORMAT,
         ".scales' of a native matrix is missing"},
        {{.leave_out = ".shift", .field = -1},
         STERNA_ERROR_FORMAT,
         ".shift' of a native matrix is missing"},
        {{.leave_out = ".codes2", .field = -1}, STERNA_ERROR_FORMAT, "is missing"},
        {{.leave_out = ".scales2", .field = -1}, STERNA_ERROR_FORMAT, "is missing"},
        {{.leave_out = ".outlier_columns", .field = -1}, STERNA_ERROR_FORMAT, "is missing"},
        {{.leave_out = ".outliers", .field = -1}, STERNA_ERROR_FORMAT, "is missing"},
        {{.leave_out = ".outlier_scales", .field = -1}, STERNA_ERROR_FORMAT, "is missing"},
        {{.field = 0, .value = 2}, STERNA_ERROR_UNSUPPORTED, "another version"},
        {{.field = 7, .value = 1}, STERNA_ERROR_UNSUPPORTED, "another version"},
        {{.field = 1, .value = 3}, STERNA_ERROR_FORMAT, "out of its range"},
        {{.field = 1, .value = 0}, STERNA_ERROR_FORMAT, "is missing"},
        {{.field = 1, .value = 2}, STERNA_ERROR_FORMAT, "its layout asks for I8 of 18 x 6"},
        {{.field = 2, .value = 70}, STERNA_ERROR_FORMAT, "its layout asks for"},
        {{.field = 2, .value = 0}, STERNA_ERROR_FORMAT, "out of its range"},
        {{.field = 2, .value = -5}, STERNA_ERROR_FORMAT, "out of its range"},
        {{.field = 3, .value = 33}, STERNA_ERROR_FORMAT, "out of its range"},
        {{.field = 3, .value = 36}, STERNA_ERROR_FORMAT, "asks for F16 of 2 x 6"},
        {{.field = 3, .value = 0}, STERNA_ERROR_FORMAT, "asks for F16 of 1 x 1"},
        {{.field = 4, .value = 0}, STERNA_ERROR_FORMAT, "its layout does not say so"},
        {{.field = 4, .value = 7}, STERNA_ERROR_FORMAT, "out of its range"},
        {{.field = 5, .value = 3}, STERNA_ERROR_FORMAT, "asks for"},
        {{.field = 5, .value = 0}, STERNA_ERROR_FORMAT, "its layout does not say so"},
        {{.field = 6, .value = 0}, STERNA_ERROR_FORMAT, "its layout does not say so"},
        {{.field = -1, .rename = ".shift", .to = ".codes3"}, STERNA_ERROR_FORMAT, "is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int k = 0; k < 2; k++) {
            damage d = cases[i].damage;
            if (d.field == 3 && d.value == 33) d.value = 73; /* more than there are columns */
            refuse_path(write_file(k ? "m.safetensors" : "m.gguf", m, &d), cases[i].status,
                        cases[i].words);
        }
    /* outlier columns out of order, twice, beyond the last */
    static const uint8_t columns[][4] = {{0, 2, 1, 3}, {0, 1, 1, 3}, {0, 1, 2, 72}};
    for (size_t i = 0; i < 3; i++) {
        uint8_t *at = (uint8_t *)(uintptr_t)m->native.part[STERNA_PART_OUTLIER_COLUMNS];
        for (size_t k = 0; k < 4; k++) at[4 * k] = columns[i][k];
        refuse_path(write_file("m.gguf", m, &none), STERNA_ERROR_FORMAT, "ascending order");
    }
    native_free(m);
}

static void damage_never_harms(void **state)
{
    (void)state;
    native_matrix *m = native_make(&rng, STERNA_TYPE_NATIVE, whole, 72, 2);
    static const char *const names[] = {"m.gguf", "m.safetensors"};
    for (int k = 0; k < 2; k++) {
        const char *path = write_file(names[k], m, &none);
        open_without_memory(path);
        sterna_buffer b = load(path);
        truncate_everywhere(&b, 32);
        flip_everywhere(&b);
        sterna_buffer_free(&b);
    }
    native_free(m);
}

int main(void)
{
    sterna_rng_seed(&rng, 11);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_containers_hold_it),
        cmocka_unit_test(parts_stand_beside_a_standard_tensor),
        cmocka_unit_test(strange_parts_are_refused),
        cmocka_unit_test(damage_never_harms),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
