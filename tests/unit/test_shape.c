/* Models of known shapes with random weights: they load through the usual path, run, and cost what
 * their sizes say. And the measurement of a model's speed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/shape.h"
#include "run/eval.h"

static sterna_model *open_tiny(const char *type, const char *head)
{
    const sterna_model_options options = {.threads = 1};
    sterna_model *model = NULL;
    sterna_error err = {0};
    if (sterna_run_open_shape("tiny", type, head, &options, &model, &err))
        fail_msg("%s %s: %s", type, head, err.message);
    return model;
}

static void every_layout_runs(void **state)
{
    (void)state;
    static const char *const types[] = {NULL, "I2_S", "TQ2_0", "TQ1_0", "Q2_0", "PQ2_0", "PTQ1_0"};
    static const char *const heads[] = {NULL, "Q8_0", "Q6_K", "F16", "BF16", "F32", NULL};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        sterna_model *model = open_tiny(types[i], heads[i]);
        sterna_session *session = NULL;
        const int32_t ids[] = {3, 1, 4, 1, 5, 9, 2, 6};
        assert_int_equal(sterna_run_session_new(model, NULL, &session, NULL), STERNA_OK);
        assert_int_equal(sterna_run_append(session, ids, 8, NULL, NULL), STERNA_OK);
        double sum = 0;
        for (int t = 0; t < 512; t++) {
            assert_true(isfinite(session->logits[t]));
            sum += (double)session->logits[t] * (double)session->logits[t];
        }
        assert_true(sum > 1e-3); /* the weights arrived */
        sterna_run_session_free(session);
        sterna_run_close(model);
    }
}

static void sizes_are_those_of_the_models(void **state)
{
    (void)state;
    /* billions of weights that the models' cards name */
    static const struct {
        const char *name;
        double billions;
    } known[] = {{"bitnet-0.7b", 0.729}, {"bitnet-2b4t", 2.41}, {"qwen3-1.7b", 1.72},
                 {"bonsai-4b", 4.02},    {"falcon3-7b", 7.46},  {"llama3-8b", 8.03},
                 {"bonsai-8b", 8.19},    {"llama3-70b", 70.55}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const sterna_shape *shape = NULL;
        assert_int_equal(sterna_shape_find(known[i].name, &shape, NULL), STERNA_OK);
        double billions = (double)sterna_shape_parameters(shape) * 1e-9;
        assert_true(fabs(billions / known[i].billions - 1) < 0.005);
    }
    assert_null(sterna_shape_at(sizeof known / sizeof *known + 1)); /* and "tiny" */
}

/* Trits of all three values, equally often; tensors of one size share their bytes. */
static void weights_are_random_trits(void **state)
{
    (void)state;
    const sterna_shape *shape = NULL;
    sterna_model_file *file = NULL;
    assert_int_equal(sterna_shape_find("tiny", &shape, NULL), STERNA_OK);
    assert_int_equal(sterna_shape_open(shape, STERNA_TYPE_TQ2_0, STERNA_TYPE_Q8_0, &file, NULL),
                     STERNA_OK);
    const sterna_tensor *a = sterna_model_file_find(file, "blk.0.ffn_down.weight"),
                        *b = sterna_model_file_find(file, "blk.1.ffn_down.weight");
    assert_non_null(a);
    assert_ptr_equal(a->data, b->data);
    int8_t trits[512];
    float scales[2];
    int seen[3] = {0};
    for (uint64_t r = 0; r < 64; r++) {
        assert_true(sterna_tensor_row_trits(a, r, trits, scales));
        for (int i = 0; i < 512; i++) seen[trits[i] + 1]++;
    }
    for (int i = 0; i < 3; i++) assert_in_range(seen[i], 10600, 11250); /* 10923, 3.5 sigma */
    sterna_model_file_close(file);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    sterna_error err = {0};
    sterna_model *model = NULL;
    assert_int_equal(sterna_run_open_shape("huge", NULL, NULL, NULL, &model, &err),
                     STERNA_ERROR_ARGUMENT);
    assert_non_null(strstr(err.message, "bitnet-2b4t"));
    assert_int_equal(sterna_run_open_shape("tiny", "Q4_K", NULL, NULL, &model, &err),
                     STERNA_ERROR_ARGUMENT);
    assert_non_null(strstr(err.message, "TQ2_0"));
    assert_int_equal(sterna_run_open_shape("tiny", "Q1_0", NULL, NULL, &model, &err),
                     STERNA_ERROR_ARGUMENT);
    assert_int_equal(sterna_run_open_shape("tiny", NULL, "TQ2_0", NULL, &model, &err),
                     STERNA_ERROR_ARGUMENT);
    assert_int_equal(sterna_run_open_shape("tiny", "no such", NULL, NULL, &model, &err),
                     STERNA_ERROR_ARGUMENT);
    assert_null(model);
    /* rows that are no multiple of a block: 0.7b's head of 1536 fits, 32,002 rows do not matter */
    sterna_model_file *file = NULL;
    sterna_shape odd = *sterna_shape_at(0);
    odd.width = 288;
    assert_int_equal(sterna_shape_open(&odd, STERNA_TYPE_TQ2_0, STERNA_TYPE_Q8_0, &file, &err),
                     STERNA_ERROR_FORMAT);
    /* far more than any machine has */
    odd = *sterna_shape_at(0);
    odd.layers = 1000000;
    odd.ffn = 1 << 20;
    if (sterna_memory_available())
        assert_int_equal(sterna_shape_open(&odd, STERNA_TYPE_TQ2_0, STERNA_TYPE_Q8_0, &file, &err),
                         STERNA_ERROR_MEMORY);
    assert_null(file);
}

static void making_a_shape_survives_every_lack_of_memory(void **state)
{
    (void)state;
    const sterna_shape *shape = NULL;
    assert_int_equal(sterna_shape_find("tiny", &shape, NULL), STERNA_OK);
    for (long n = 0;; n++) {
        sterna_model_file *file = NULL;
        sterna_alloc_fail_after(n);
        sterna_status status =
            sterna_shape_open(shape, STERNA_TYPE_PQ2_0, STERNA_TYPE_Q6_K, &file, NULL);
        sterna_alloc_fail_after(-1);
        sterna_model_file_close(file);
        if (status == STERNA_OK) break;
        assert_int_equal(status, STERNA_ERROR_MEMORY);
        assert_null(file);
        assert_true(n < 500);
    }
}

static bool stop(void *context, const char *stage, double done, double total)
{
    int *left = context;
    assert_non_null(stage);
    assert_true(done >= 0 && done <= total);
    return (*left)-- > 0;
}

static void a_measurement_tells_everything(void **state)
{
    (void)state;
    sterna_model *model = open_tiny("PQ2_0", "Q6_K");
    const uint32_t prefill[] = {16}, contexts[] = {4, 0}, batches[] = {3};
    int steps = 100;
    const sterna_bench_options options = {.prefill = prefill,
                                          .prefill_count = 1,
                                          .contexts = contexts,
                                          .contexts_count = 2,
                                          .batches = batches,
                                          .batches_count = 1,
                                          .decode_tokens = 4,
                                          .repetitions = 2,
                                          .progress = stop,
                                          .progress_context = &steps};
    char *text = NULL;
    assert_int_equal(sterna_run_bench(model, &options, &text, NULL), STERNA_OK);
    assert_int_equal(steps, 100 - 4 * 3); /* four measurements, each warmed up once */
    json_t *report = json_loads(text, 0, NULL);
    const json_t *decode = json_object_get(report, "decode"), *first = json_array_get(decode, 0),
                 *third = json_array_get(decode, 2);
    assert_int_equal(json_array_size(decode), 3);
    double weights = (double)sterna_decoder_bytes_per_token(model->decoder);
    double cached = 2.0 * 2 * 2 * 2 * 64; /* float16 keys and values, 2 layers of 2 heads of 64 */
    assert_true(fabs(json_number_value(json_object_get(first, "bytes_per_token")) -
                     (weights + cached * 6)) < 1);
    assert_int_equal(json_integer_value(json_object_get(third, "sequences")), 3);
    assert_true(fabs(json_number_value(json_object_get(third, "bytes_per_token")) -
                     (weights / 3 + cached * 6)) < 1);
    for (size_t i = 0; i < 3; i++) {
        const json_t *row = json_array_get(decode, i);
        double slowest = json_number_value(json_object_get(row, "slowest")),
               fastest = json_number_value(json_object_get(row, "fastest")),
               median = json_number_value(json_object_get(row, "tok_per_s")),
               products = json_number_value(json_object_get(row, "matmul_percent")),
               attention = json_number_value(json_object_get(row, "attention_percent"));
        assert_true(0 < slowest && slowest <= median && median <= fastest);
        assert_true(0 < products && 0 < attention && products + attention < 100);
        assert_true(json_number_value(json_object_get(row, "read_percent")) > 0);
    }
    json_decref(report);
    sterna_free(text);

    steps = 2;
    assert_int_equal(sterna_run_bench(model, &options, &text, NULL), STERNA_ERROR_CANCELLED);
    const uint32_t too_many[] = {1000};
    sterna_bench_options wrong = options;
    wrong.batches = too_many;
    assert_int_equal(sterna_run_bench(model, &wrong, &text, NULL), STERNA_ERROR_ARGUMENT);
    sterna_run_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_runs),
        cmocka_unit_test(sizes_are_those_of_the_models),
        cmocka_unit_test(weights_are_random_trits),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(making_a_shape_survives_every_lack_of_memory),
        cmocka_unit_test(a_measurement_tells_everything),
    };
    return cmocka_run_group_tests_name("shape", tests, NULL, NULL);
}
