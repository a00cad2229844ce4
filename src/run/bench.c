/* Speed: prefill and decode at given sizes, medians of repetitions, beside the memory bandwidth
 * measured in the same run. And the report of what was loaded. */
#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/rng.h"
#include "run/eval.h"

enum { MAX_SIZES = 64, MAX_REPETITIONS = 100, MAX_DECODE = 4096 };

typedef struct bench {
    sterna_model *model;
    sterna_session *session;
    int32_t *ids; /* [capacity] */
    uint32_t repetitions, decode_tokens;
    const sterna_bench_options *options;
    size_t done, total; /* measurements */
} bench;

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static sterna_status step(bench *b, sterna_error *err)
{
    if (!b->options->progress || b->options->progress(b->options->progress_context, "measuring",
                                                      (double)b->done++, (double)b->total))
        return STERNA_OK;
    return sterna_fail(err, STERNA_ERROR_CANCELLED, "the measurement was cancelled");
}

static sterna_status measure_prefill(bench *b, uint32_t tokens, double *speed, sterna_error *err)
{
    double seconds[MAX_REPETITIONS];
    for (uint32_t r = 0; r < b->repetitions; r++) {
        sterna_status status = step(b, err);
        sterna_run_rewind(b->session, 0);
        double start = sterna_now();
        if (!status) status = sterna_run_append(b->session, b->ids, tokens, NULL, err);
        if (status) return status;
        seconds[r] = sterna_now() - start;
    }
    *speed = tokens / median(seconds, b->repetitions);
    return STERNA_OK;
}

static sterna_status measure_decode(bench *b, uint32_t context, double *speed, sterna_error *err)
{
    double seconds[MAX_REPETITIONS];
    sterna_run_rewind(b->session, 0);
    sterna_status status = sterna_run_append(b->session, b->ids, context, NULL, err);
    for (uint32_t r = 0; !status && r < b->repetitions; r++) {
        status = step(b, err);
        sterna_run_rewind(b->session, context);
        double start = sterna_now();
        for (uint32_t i = 0; !status && i < b->decode_tokens; i++)
            status = sterna_run_append(b->session, &b->ids[context + i], 1, NULL, err);
        seconds[r] = sterna_now() - start;
    }
    if (!status) *speed = b->decode_tokens / median(seconds, b->repetitions);
    return status;
}

/* What one token reads: the weights, and the cached keys and values of the tokens before it. */
static double bytes_per_token(const bench *b, uint32_t context)
{
    const sterna_config *config = sterna_decoder_config(b->model->decoder);
    double cached = 2.0 * 2 * config->n_layers * config->kv_heads * config->head_dim;
    return (double)sterna_decoder_bytes_per_token(b->model->decoder) +
           cached * (context + b->decode_tokens / 2.0);
}

static sterna_status measure(bench *b, const uint32_t *prefill, size_t n_prefill,
                             const uint32_t *contexts, size_t n_contexts, json_t *out,
                             sterna_error *err)
{
    json_t *prefills = json_array(), *decodes = json_array();
    int bad = json_object_set_new(out, "prefill", prefills);
    bad |= json_object_set_new(out, "decode", decodes);
    sterna_status status = STERNA_OK;
    double speed = 0;
    for (size_t i = 0; !status && !bad && i < n_prefill; i++) {
        status = measure_prefill(b, prefill[i], &speed, err);
        bad |=
            json_array_append_new(prefills, json_pack("{s:I, s:f}", "tokens",
                                                      (json_int_t)prefill[i], "tok_per_s", speed));
    }
    for (size_t i = 0; !status && !bad && i < n_contexts; i++) {
        status = measure_decode(b, contexts[i], &speed, err);
        bad |= json_array_append_new(
            decodes, json_pack("{s:I, s:I, s:f, s:f}", "context", (json_int_t)contexts[i], "tokens",
                               (json_int_t)b->decode_tokens, "tok_per_s", speed, "bytes_per_token",
                               bytes_per_token(b, contexts[i])));
    }
    if (!status && bad) status = sterna_fail_memory(err, "the measurements");
    return status;
}

/* The largest amount of memory that this process has held. */
static double peak_memory(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : (double)usage.ru_maxrss * 1024;
}

static int add_text(const char *text, size_t size, void *buffer)
{
    sterna_buffer_add(buffer, text, size);
    return ((sterna_buffer *)buffer)->failed ? -1 : 0;
}

static sterna_status to_text(const json_t *json, char **out, sterna_error *err)
{
    sterna_buffer buffer = {0};
    if (json && json_dump_callback(json, add_text, &buffer, JSON_INDENT(2)) == 0)
        *out = sterna_buffer_take(&buffer);
    else
        sterna_buffer_free(&buffer);
    return *out ? STERNA_OK : sterna_fail_memory(err, "a report");
}

static sterna_status check(const sterna_bench_options *options, const uint32_t *prefill,
                           size_t n_prefill, const uint32_t *contexts, size_t n_contexts,
                           uint32_t *longest, sterna_error *err)
{
    if (n_prefill > MAX_SIZES || n_contexts > MAX_SIZES || options->repetitions > MAX_REPETITIONS ||
        options->decode_tokens > MAX_DECODE)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "too much to measure: at most %d sizes of each kind, %d repetitions and "
                           "%d decoded tokens",
                           MAX_SIZES, MAX_REPETITIONS, MAX_DECODE);
    *longest = 1;
    for (size_t i = 0; i < n_prefill; i++) {
        if (prefill[i] == 0 || prefill[i] > STERNA_MAX_CONTEXT)
            return sterna_fail(err, STERNA_ERROR_ARGUMENT, "a prompt of %u tokens", prefill[i]);
        if (prefill[i] > *longest) *longest = prefill[i];
    }
    for (size_t i = 0; i < n_contexts; i++) {
        if (contexts[i] > STERNA_MAX_CONTEXT - MAX_DECODE)
            return sterna_fail(err, STERNA_ERROR_LIMIT, "a context of %u tokens", contexts[i]);
        uint32_t end = contexts[i] + (options->decode_tokens ? options->decode_tokens : 32);
        if (end > *longest) *longest = end;
    }
    return STERNA_OK;
}

static sterna_status run(bench *b, const uint32_t *prefill, size_t n_prefill,
                         const uint32_t *contexts, size_t n_contexts, uint32_t longest, char **json,
                         sterna_error *err)
{
    const sterna_model *model = b->model;
    const sterna_session_options options = {.context = longest};
    sterna_status status = sterna_run_session_new(b->model, &options, &b->session, err);
    if (status) return status;
    b->ids = sterna_alloc(longest, sizeof *b->ids);
    if (!b->ids) return sterna_fail_memory(err, "a prompt");
    sterna_rng rng;
    sterna_rng_seed(&rng, 1);
    uint32_t vocabulary = sterna_decoder_config(model->decoder)->vocabulary;
    for (uint32_t i = 0; i < longest; i++) b->ids[i] = (int32_t)(sterna_rng_u64(&rng) % vocabulary);
    char cpu[128];
    sterna_cpu_model(cpu, sizeof cpu);
    json_t *out = json_pack("{s:s, s:i, s:s, s:s, s:f}", "model", model->path, "threads",
                            model->threads, "cpu", cpu, "level",
                            sterna_cpu_level_name(model->features), "load_s", model->load_s);
    status = out ? measure(b, prefill, n_prefill, contexts, n_contexts, out, err)
                 : sterna_fail_memory(err, "the measurements");
    double peak = peak_memory(); /* before the bandwidth's buffer counts */
    double read = status ? 0 : model->device->read_speed(model->device);
    double products = status ? 0 : model->device->int8_peak(model->device);
    if (!status && (json_object_set_new(out, "rss_bytes", json_real(peak)) ||
                    json_object_set_new(out, "read_gb_s", json_real(read * 1e-9)) ||
                    json_object_set_new(out, "int8_gop_s", json_real(products * 1e-9))))
        status = sterna_fail_memory(err, "the measurements");
    if (!status) status = to_text(out, json, err);
    json_decref(out);
    return status;
}

sterna_status sterna_run_bench(sterna_model *model, const sterna_bench_options *options,
                               char **json, sterna_error *err)
{
    static const uint32_t usual_prefill[] = {128, 512}, usual_contexts[] = {0, 512};
    const sterna_bench_options none = {0};
    if (!options) options = &none;
    bool own = options->prefill_count || options->contexts_count;
    const uint32_t *prefill = own ? options->prefill : usual_prefill,
                   *contexts = own ? options->contexts : usual_contexts;
    size_t n_prefill = own ? options->prefill_count : 2,
           n_contexts = own ? options->contexts_count : 2;
    uint32_t longest = 1;
    sterna_status status = check(options, prefill, n_prefill, contexts, n_contexts, &longest, err);
    if (status) return status;
    bench b = {.model = model,
               .repetitions = options->repetitions ? options->repetitions : 3,
               .decode_tokens = options->decode_tokens ? options->decode_tokens : 32,
               .options = options};
    b.total = (n_prefill + n_contexts) * b.repetitions;
    status = run(&b, prefill, n_prefill, contexts, n_contexts, longest, json, err);
    sterna_run_session_free(b.session);
    sterna_free(b.ids);
    return status;
}

sterna_status sterna_run_report(const sterna_model *model, char **json, sterna_error *err)
{
    const sterna_decoder *decoder = model->decoder;
    char cpu[128];
    sterna_cpu_model(cpu, sizeof cpu);
    json_t *tensors = json_array();
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:f, s:I, s:o*}", "name", model->path, "family",
                  sterna_family_name(sterna_decoder_config(decoder)->family), "cpu", cpu, "level",
                  sterna_cpu_level_name(model->features), "threads", model->threads, "device",
                  model->device->name, "load_s", model->load_s, "resident_bytes",
                  (json_int_t)sterna_decoder_bytes(decoder), "tensors", tensors);
    const sterna_loaded_weight *weights;
    size_t n = sterna_decoder_weights(decoder, &weights);
    bool bad = !out || !tensors;
    for (size_t i = 0; !bad && i < n; i++)
        bad = json_array_append_new(
            tensors, json_pack("{s:s, s:s, s:s, s:s, s:I}", "name", weights[i].name, "type",
                               sterna_type_describe(weights[i].type)->name, "layout",
                               weights[i].info.layout, "kernel", weights[i].info.kernel, "bytes",
                               (json_int_t)weights[i].info.bytes));
    sterna_status status = bad ? sterna_fail_memory(err, "a report") : to_text(out, json, err);
    json_decref(out);
    return status;
}
