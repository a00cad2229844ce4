/* The native form of a ternary matrix: bytes and rows, products on the device against a naive
 * double computation at every level of this processor. */
#include "native_support.h"

#include <math.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "device/device.h"

static sterna_rng rng;

enum { FORMS = 12 };

/* Every part on its own and together, every kind of group. */
static sterna_native form_of(int i)
{
    static const sterna_native forms[FORMS] = {
        {.code = STERNA_CODE_BASE3, .group = 128},
        {.code = STERNA_CODE_TWO_BIT, .group = 32},
        {.code = STERNA_CODE_BASE3, .group = 64, .shifted = true},
        {.code = STERNA_CODE_BASE3, .group = 128, .code2 = STERNA_CODE_BASE3},
        {.code = STERNA_CODE_BASE3, .group = 128, .outliers = 3},
        {.code = STERNA_CODE_TWO_BIT,
         .group = 100,
         .shifted = true,
         .code2 = STERNA_CODE_TWO_BIT,
         .outliers = 35},
        {.code = STERNA_CODE_BASE3, .group = 24},
        {.code = STERNA_CODE_BASE3, .group = 192, .shifted = true},
        {.code = STERNA_CODE_BASE3, .group = 211},
        {.code = STERNA_CODE_BASE3, .group = 1 << 20, .shifted = true}, /* a row */
        {.code = STERNA_CODE_BASE3, .group = 0, .wide = true},          /* the tensor */
        {.code = STERNA_CODE_BASE3, .group = 0, .shifted = true, .code2 = STERNA_CODE_TWO_BIT},
    };
    return forms[i];
}

static native_matrix *make(int form, uint64_t cols, uint64_t rows)
{
    sterna_native native = form_of(form);
    if (native.group > cols) native.group = (uint32_t)cols;
    if (native.outliers > cols) native.outliers = (uint32_t)cols;
    return native_make(&rng, STERNA_TYPE_NATIVE, native, cols, rows);
}

/* ---- bytes ---- */

/* What is stored comes back; the float row is the sum that native.h states. */
static void rows_come_back(void **state)
{
    (void)state;
    static const uint64_t widths[] = {1, 4, 9, 64, 172, 576, 1201};
    for (int form = 0; form < FORMS; form++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
            size_t cols = (size_t)widths[w];
            native_matrix *m = make(form, cols, 5);
            const sterna_native *n = &m->native;
            size_t groups = sterna_native_groups(n, cols);
            uint32_t columns[64];
            sterna_tensor_outlier_columns(&m->tensor, columns);
            native_values v = native_row_values(&rng, m, columns);
            const sterna_ternary_row row = {v.trits,   v.scales,   v.shifts, v.trits2,
                                            v.scales2, v.outliers, NULL,     NULL};
            sterna_native_store(&m->tensor, m->block, 3, &row);
            int8_t *trits = malloc(cols), codes[64];
            float *scales = malloc(cols * sizeof(float)), *out = malloc(cols * sizeof(float));
            float outlier_scales[2];
            assert_true(sterna_tensor_row_trits(&m->tensor, 3, trits, scales));
            assert_memory_equal(trits, v.trits, cols);
            assert_memory_equal(scales, v.scales, groups * sizeof *scales);
            assert_true(sterna_tensor_row_plane2(&m->tensor, 3, trits, scales));
            if (n->code2) assert_memory_equal(trits, v.trits2, cols);
            if (n->code2) assert_memory_equal(scales, v.scales2, groups * sizeof *scales);
            sterna_tensor_row_shifts(&m->tensor, 3, scales);
            if (n->shifted) assert_memory_equal(scales, v.shifts, groups * sizeof *scales);
            sterna_tensor_row_outliers(&m->tensor, 3, codes, outlier_scales);
            sterna_tensor_row(&m->tensor, 3, out);
            for (size_t i = 0; i < cols; i++) {
                size_t g = n->group ? i / n->group : 0;
                float want = v.scales[g] * (float)v.trits[i];
                if (n->shifted) want += v.shifts[g];
                if (n->code2) want += v.scales2[g] * (float)v.trits2[i];
                for (uint32_t k = 0; k < n->outliers; k++)
                    if (columns[k] == i) {
                        want += (float)codes[k] * outlier_scales[k / 32];
                        assert_true(fabsf((float)codes[k] * outlier_scales[k / 32] -
                                          v.outliers[k]) < 2.0f / 200);
                    }
                assert_true(out[i] == want);
            }
            assert_int_equal(sterna_tensor_is_plain(&m->tensor),
                             !n->shifted && !n->code2 && !n->outliers);
            native_values_free(&v);
            free(trits);
            free(scales);
            free(out);
            native_free(m);
        }
}

/* Bytes that no trits give are told, in either plane and either code. */
static void strange_codes_are_told(void **state)
{
    (void)state;
    static const sterna_part_kind parts[] = {STERNA_PART_CODES, STERNA_PART_CODES2};
    for (int form = 0; form < FORMS; form++)
        for (int p = 0; p < 2; p++) {
            native_matrix *m = make(form, 64, 2);
            const sterna_native *n = &m->native;
            uint8_t *bytes = (uint8_t *)(uintptr_t)n->part[parts[p]];
            bool two_bit = (p ? n->code2 : n->code) == STERNA_CODE_TWO_BIT;
            size_t valid = 0;
            int8_t trits[64];
            float scales[64];
            for (int value = 0; bytes && value < 256; value++) {
                bytes[3] = (uint8_t)value;
                bool trit = p ? sterna_tensor_row_plane2(&m->tensor, 0, trits, scales)
                              : sterna_tensor_row_trits(&m->tensor, 0, trits, scales);
                valid += trit;
                for (int i = 0; i < 64; i++) assert_true(trits[i] >= -1 && trits[i] <= 2);
            }
            if (bytes) assert_int_equal(valid, two_bit ? 81 : 243);
            native_free(m);
        }
}

/* The example of docs/FORMAT.md, byte for byte. */
static void the_worked_example(void **state)
{
    (void)state;
    native_matrix *m =
        native_make(&rng, STERNA_TYPE_NATIVE,
                    (sterna_native){.code = STERNA_CODE_BASE3, .group = 4, .shifted = true}, 7, 1);
    const int8_t trits[] = {1, -1, 0, 0, 1, 1, -1};
    const float scales[] = {0.5f, 0.25f}, shifts[] = {0.0f, -0.125f};
    const sterna_ternary_row row = {.trits = trits, .scales = scales, .shifts = shifts};
    sterna_native_store(&m->tensor, m->block, 0, &row);
    const uint8_t codes[] = {0xdc, 0x34}, halves[] = {0x00, 0x38, 0x00, 0x34},
                  shift[] = {0x00, 0x00, 0x00, 0xb0};
    const int32_t header[] = {1, 1, 7, 4, 1, 0, 0, 0};
    int32_t said[STERNA_NATIVE_HEADER];
    sterna_native_header(&m->tensor, said);
    assert_memory_equal(said, header, sizeof header);
    assert_int_equal(m->tensor.bytes, 32 + 2 + 4 + 4);
    assert_memory_equal(m->native.part[STERNA_PART_CODES], codes, sizeof codes);
    assert_memory_equal(m->native.part[STERNA_PART_SCALES], halves, sizeof halves);
    assert_memory_equal(m->native.part[STERNA_PART_SHIFTS], shift, sizeof shift);
    float weights[7];
    const float want[] = {0.5f, -0.5f, 0, 0, 0.125f, 0.125f, -0.375f};
    sterna_tensor_row(&m->tensor, 0, weights);
    for (int i = 0; i < 7; i++) assert_true(weights[i] == want[i]);
    native_free(m);
}

/* ---- products ---- */

/* x as the device rounds it: each group by itself, in equal pieces of at most 128 columns (a row in
 * pieces of 128); or the whole token. */
static void round_inputs(const float *x, size_t cols, size_t group, bool token, double *out)
{
    size_t pieces = token ? 1 : (group + 127) / 128, take = (group + pieces - 1) / pieces;
    for (size_t begin = 0, end; begin < cols; begin = end) {
        size_t piece = token ? cols : begin / group * group + (begin % group / take + 1) * take;
        size_t limit = token ? cols : (begin / group + 1) * group;
        end = piece < limit ? piece : limit;
        if (end > cols) end = cols;
        float most = token ? 1e-5f : 0;
        for (size_t i = begin; i < end; i++) most = fmaxf(most, fabsf(x[i]));
        for (size_t i = begin; i < end; i++)
            out[i] = most > 0 ? (double)rintf(x[i] * (127.0f / most)) * (double)most / 127 : 0;
    }
}

/* The product of row r, without and with outliers, from rounded inputs. */
static double product_of(const native_matrix *m, uint64_t r, const float *x, const double *rounded,
                         bool exact, double *size)
{
    size_t cols = (size_t)m->tensor.dims[0];
    float *w = malloc(cols * sizeof *w), scales[64] = {0};
    int8_t codes[2048];
    uint32_t columns[2048], count = m->native.outliers;
    sterna_tensor_row(&m->tensor, r, w);
    sterna_tensor_outlier_columns(&m->tensor, columns);
    sterna_tensor_row_outliers(&m->tensor, r, codes, scales);
    double sum = 0, picked[2048];
    float thin[2048];
    for (uint32_t k = 0; k < count; k++) thin[k] = x[columns[k]];
    round_inputs(thin, count, 32, false, picked);
    *size = 0;
    for (uint32_t k = 0; k < count; k++) {
        float weight = (float)codes[k] * scales[k / 32];
        if (!exact) w[columns[k]] -= weight;
        if (!exact) sum += (double)weight * picked[k];
    }
    for (size_t i = 0; i < cols; i++) {
        sum += (double)w[i] * (exact ? (double)x[i] : rounded[i]);
        *size += fabs((double)w[i] * (double)x[i]);
    }
    free(w);
    return sum;
}

static void check_product(uint32_t features, const native_matrix *m, size_t n,
                          sterna_activation_mode mode)
{
    size_t cols = (size_t)m->tensor.dims[0], rows = (size_t)m->tensor.dims[1];
    sterna_device *device = NULL;
    sterna_cpu_options cpu = {.threads = 2, .features = features};
    assert_int_equal(sterna_device_cpu_open(&cpu, &device, NULL), STERNA_OK);
    /* scratch that was reserved before a wider matrix came must grow */
    assert_int_equal(device->reserve(device, 4, 16, 16, 1, 1, NULL), STERNA_OK);
    sterna_weight_options options = {.activation = mode};
    sterna_weight *weight = NULL;
    sterna_error err = {0};
    if (device->weight_load(device, &m->tensor, &options, &weight, &err))
        fail_msg("%s", err.message);
    float *x = malloc(n * cols * sizeof *x), *y = malloc(n * rows * sizeof *y);
    double *rounded = malloc(cols * sizeof *rounded);
    for (size_t i = 0; i < n * cols; i++) x[i] = native_random(&rng);
    sterna_product product = {weight, NULL, y, 0};
    device->matmul(device, x, n, &product, 1);
    size_t group = m->native.group ? m->native.group : cols;
    for (size_t t = 0; t < n; t++) {
        bool row = group >= cols && !m->native.code2;
        round_inputs(x + t * cols, cols, row ? 128 : group, mode == STERNA_ACT_INT8_TOKEN, rounded);
        for (size_t r = 0; r < rows; r++) {
            double size, got = (double)y[t * rows + r];
            double want = product_of(m, r, x + t * cols, rounded, mode == STERNA_ACT_FLOAT, &size);
            /* a token's one scale leaves no room for padded groups: those run as int8 */
            bool coarse = mode == STERNA_ACT_INT8_TOKEN && group % 16 && group < cols;
            double limit = 1e-5 * (size + 1), inputs = 0;
            for (size_t i = 0; i < cols; i++) inputs += fabs((double)x[t * cols + i]);
            if (coarse) limit = inputs * 2.2 / 254; /* no weight is larger than 2.2 */
            if (!(fabs(got - want) <= limit))
                fail_msg("mode %d g%zu [%zu][%zu] n %zu, token %zu row %zu: %g, want %g", (int)mode,
                         group, rows, cols, n, t, r, got, want);
        }
    }
    int32_t id = (int32_t)(rows - 1);
    float *w = malloc(cols * sizeof *w), *row = malloc(cols * sizeof *row);
    device->embed(device, weight, &id, 1, 1, row);
    sterna_tensor_row(&m->tensor, rows - 1, w);
    for (size_t i = 0; i < cols && mode != STERNA_ACT_INT8_TOKEN; i++)
        assert_true(fabsf(row[i] - w[i]) <= 1e-6f * (1 + fabsf(w[i])));
    free(w);
    free(row);
    free(x);
    free(y);
    free(rounded);
    device->weight_free(device, weight);
    device->close(device);
}

static void every_form_multiplies(void **state)
{
    (void)state;
    static const sterna_activation_mode modes[] = {STERNA_ACT_AUTO, STERNA_ACT_FLOAT,
                                                   STERNA_ACT_INT8_TOKEN};
    static const uint64_t shapes[][2] = {{64, 1}, {172, 36}, {576, 20}, {1200, 50}};
    static const size_t ns[] = {1, 3, 21};
    for (int form = 0; form < FORMS; form++)
        for (size_t s = 0; s < 4; s++) {
            native_matrix *m = make(form, shapes[s][0], shapes[s][1]);
            for (size_t k = 0; k < 3; k++)
                check_product(sterna_cpu_features(), m, ns[(k + s) % 3], modes[k]);
            native_free(m);
        }
}

/* Parts beside tensors of standard layouts. */
static void standard_layouts_have_parts(void **state)
{
    (void)state;
    static const sterna_type types[] = {STERNA_TYPE_TQ2_0, STERNA_TYPE_Q2_0, STERNA_TYPE_PTQ1_0};
    for (size_t i = 0; i < 3; i++)
        for (int parts = 1; parts < 8; parts++) {
            sterna_native form = {.group = 256,
                                  .shifted = parts & 1,
                                  .code2 = parts & 2 ? STERNA_CODE_BASE3 : STERNA_CODE_NONE,
                                  .outliers = parts & 4 ? 7 : 0};
            native_matrix *m = native_make(&rng, types[i], form, 768, 19);
            m->native.group = 256;
            sterna_device *device = NULL;
            sterna_cpu_options cpu = {.threads = 1, .features = sterna_cpu_features()};
            assert_int_equal(sterna_device_cpu_open(&cpu, &device, NULL), STERNA_OK);
            sterna_weight_options options = {0};
            sterna_weight *weight = NULL;
            assert_int_equal(device->weight_load(device, &m->tensor, &options, &weight, NULL), 0);
            float w[768], row[768];
            int32_t id = 18;
            device->embed(device, weight, &id, 1, 1, row);
            sterna_tensor_row(&m->tensor, 18, w);
            for (int k = 0; k < 768; k++)
                assert_true(fabsf(row[k] - w[k]) <= 1e-6f * (1 + fabsf(w[k])));
            device->weight_free(device, weight);
            device->close(device);
            native_free(m);
        }
}

/* Every instruction set gives the bits of the reference. */
static void levels_agree(void **state)
{
    (void)state;
    static const char *const levels[] = {"ref",        "avx2", "avxvnni", "avx512",
                                         "avx512vnni", "amx",  "neon",    "dotprod"};
    enum { ROWS = 37, COLS = 576, N = 5 };
    for (int form = 0; form < FORMS; form++) {
        native_matrix *m = make(form, COLS, ROWS);
        float x[N * COLS], y[N * ROWS], law[N * ROWS];
        for (size_t i = 0; i < N * COLS; i++) x[i] = native_random(&rng);
        for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
            uint32_t mask;
            if (sterna_cpu_level(levels[l], &mask, NULL) || mask & ~sterna_cpu_features()) continue;
            sterna_device *device = NULL;
            sterna_cpu_options cpu = {.threads = 1 + (int)l % 3, .features = mask};
            assert_int_equal(sterna_device_cpu_open(&cpu, &device, NULL), STERNA_OK);
            sterna_weight_options options = {0};
            sterna_weight *weight = NULL;
            assert_int_equal(device->weight_load(device, &m->tensor, &options, &weight, NULL), 0);
            assert_int_equal(device->reserve(device, N, COLS, ROWS, 1, 1, NULL), STERNA_OK);
            sterna_product product = {weight, NULL, y, 0};
            device->matmul(device, x, N, &product, 1);
            if (l == 0) memcpy(law, y, sizeof law);
            assert_memory_equal(y, law, sizeof law);
            device->weight_free(device, weight);
            device->close(device);
        }
        native_free(m);
    }
}

static void survives_failing_memory(void **state)
{
    (void)state;
    native_matrix *m = make(5, 300, 40);
    sterna_device *device = NULL;
    sterna_cpu_options cpu = {.threads = 1};
    assert_int_equal(sterna_device_cpu_open(&cpu, &device, NULL), STERNA_OK);
    sterna_weight_options options = {0};
    sterna_status status = STERNA_ERROR_MEMORY;
    for (long n = 0; status; n++) {
        sterna_weight *weight = NULL;
        sterna_error err;
        sterna_alloc_fail_after(n);
        status = device->weight_load(device, &m->tensor, &options, &weight, &err);
        if (!status) status = device->reserve(device, 3, 300, 40, 1, 1, &err);
        sterna_alloc_fail_after(-1);
        if (weight) device->weight_free(device, weight);
        if (status) assert_int_equal(status, STERNA_ERROR_MEMORY);
        assert_true(n < 60);
    }
    device->close(device);
    native_free(m);
}

int main(void)
{
    sterna_rng_seed(&rng, 5);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back),
        cmocka_unit_test(strange_codes_are_told),
        cmocka_unit_test(the_worked_example),
        cmocka_unit_test(every_form_multiplies),
        cmocka_unit_test(standard_layouts_have_parts),
        cmocka_unit_test(levels_agree),
        cmocka_unit_test(survives_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
