/* Speed: prefill and decode at given sizes, medians of repetitions, beside the memory bandwidth and
 * the int8 peak measured in the same run. */
#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/rng.h"
#include "run/eval.h"

enum {
    MAX_SIZES = 64,
    MAX_REPETITIONS = 100,
    MAX_DECODE = 4096,
    MAX_BATCH = 256,
    FIRST_TOKENS = 8, /* of the pass that ends the wait for a first token */
    FILL_S = 20       /* most seconds that filling a usual context may take */
};

typedef struct sizes {
    const uint32_t *items;
    size_t count;
} sizes;

typedef struct bench {
    sterna_model *model;
    const sterna_bench_options *options;
    sizes prefill, contexts, batches;
    uint32_t usual[4]; /* the contexts where the caller names none */
    bool choose;
    uint32_t repetitions, decode_tokens;
    int32_t *ids; /* [n_ids] */
    uint32_t n_ids;
    sterna_session *sessions[MAX_BATCH]; /* those of the measurement at work */
    sterna_pass_times times;             /* of its repetitions */
    double seconds[MAX_REPETITIONS];
    size_t done, total; /* repetitions, warm-ups too */
    double first_token_s, cache_bytes;
    json_t *prefills, *decodes;
} bench;

/* One measurement: tokens/s of `tokens` per repetition. */
typedef struct result {
    double median, slowest, fastest;
    double matmul_s; /* of a repetition, mean */
    double matmul_share, attention_share;
} result;

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static result summarise(bench *b, double tokens)
{
    size_t n = b->repetitions;
    qsort(b->seconds, n, sizeof *b->seconds, compare);
    double median = n % 2 ? b->seconds[n / 2] : (b->seconds[n / 2 - 1] + b->seconds[n / 2]) / 2;
    return (result){.median = tokens / median,
                    .slowest = tokens / b->seconds[n - 1],
                    .fastest = tokens / b->seconds[0],
                    .matmul_s = b->times.matmul / (double)n,
                    .matmul_share = b->times.matmul / b->times.total,
                    .attention_share = b->times.attention / b->times.total};
}

static void close_sessions(bench *b)
{
    if (b->model->workspace) sterna_workspace_time(b->model->workspace, NULL);
    for (size_t i = 0; i < MAX_BATCH; i++) {
        sterna_run_session_free(b->sessions[i]);
        b->sessions[i] = NULL;
    }
}

static double cache_bytes_per_token(const bench *b)
{
    /* of a value; Q8 has a float16 scale for 32 */
    static const double bytes[] = {
        [STERNA_CACHE_F16] = 2, [STERNA_CACHE_F32] = 4, [STERNA_CACHE_Q8] = 34.0 / 32};
    const sterna_config *config = sterna_decoder_config(b->model->decoder);
    return 2 * bytes[b->options->cache] * config->n_layers * config->kv_heads * config->head_dim;
}

static sterna_status open_sessions(bench *b, uint32_t count, uint32_t context, sterna_error *err)
{
    sterna_status status = STERNA_OK;
    const sterna_session_options options = {.context = context < count ? count : context,
                                            .cache = b->options->cache};
    for (uint32_t i = 0; !status && i < count; i++)
        status = sterna_run_session_new(b->model, &options, &b->sessions[i], err);
    if (status) return status;
    double cache = cache_bytes_per_token(b) * options.context * count;
    if (cache > b->cache_bytes) b->cache_bytes = cache;
    return STERNA_OK;
}

static sterna_status step(bench *b, sterna_error *err)
{
    if (!b->options->progress || b->options->progress(b->options->progress_context, "measuring",
                                                      (double)b->done++, (double)b->total))
        return STERNA_OK;
    return sterna_fail(err, STERNA_ERROR_CANCELLED, "the measurement was cancelled");
}

/* Repetition -1 warms up. */
static void count_time(bench *b, int64_t repetition, double seconds)
{
    if (repetition < 0)
        b->times = (sterna_pass_times){0};
    else
        b->seconds[repetition] = seconds;
}

static sterna_status measure_prefill(bench *b, uint32_t tokens, result *out, sterna_error *err)
{
    sterna_status status = open_sessions(b, 1, tokens, err);
    sterna_session *session = b->sessions[0];
    if (!status) sterna_workspace_time(b->model->workspace, &b->times);
    for (int64_t r = -1; !status && r < b->repetitions; r++) {
        status = step(b, err);
        sterna_run_rewind(session, 0);
        double start = sterna_now();
        if (!status) status = sterna_run_append(session, b->ids, tokens, NULL, err);
        count_time(b, r, sterna_now() - start);
    }
    close_sessions(b);
    if (!status) *out = summarise(b, tokens);
    return status;
}

/* Fills every session to the context, then appends tokens to all of them, one a step. */
static sterna_status measure_decode(bench *b, uint32_t context, uint32_t count, result *out,
                                    sterna_error *err)
{
    int32_t next[MAX_BATCH];
    sterna_status status = open_sessions(b, count, context + b->decode_tokens, err);
    for (uint32_t i = 0; !status && i < count; i++)
        status = sterna_run_append(b->sessions[i], b->ids, context, NULL, err);
    if (!status) sterna_workspace_time(b->model->workspace, &b->times);
    for (int64_t r = -1; !status && r < b->repetitions; r++) {
        status = step(b, err);
        for (uint32_t i = 0; i < count; i++) sterna_run_rewind(b->sessions[i], context);
        double start = sterna_now();
        for (uint32_t t = 0; !status && t < b->decode_tokens; t++) {
            for (uint32_t i = 0; i < count; i++) next[i] = b->ids[(t + i) % b->n_ids];
            status = sterna_run_step(b->sessions, next, count, err);
        }
        count_time(b, r, sterna_now() - start);
    }
    close_sessions(b);
    if (!status) *out = summarise(b, (double)b->decode_tokens * count);
    return status;
}

/* What one token reads: its share of the weights, and the cached keys and values before it. */
static double bytes_per_token(const bench *b, uint32_t context, uint32_t count)
{
    return (double)sterna_decoder_bytes_per_token(b->model->decoder) / count +
           cache_bytes_per_token(b) * (context + b->decode_tokens / 2.0);
}

static sterna_status add_row(json_t *list, json_t *row, sterna_error *err)
{
    return json_array_append_new(list, row) ? sterna_fail_memory(err, "the measurements")
                                            : STERNA_OK;
}

static sterna_status report_prefill(bench *b, uint32_t tokens, sterna_error *err)
{
    result speed = {0};
    sterna_status status = measure_prefill(b, tokens, &speed, err);
    if (status) return status;
    double gop = sterna_decoder_operations(b->model->decoder, tokens, 1) / speed.matmul_s * 1e-9;
    return add_row(b->prefills,
                   json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "tokens",
                             (json_int_t)tokens, "tok_per_s", speed.median, "slowest",
                             speed.slowest, "fastest", speed.fastest, "gop_per_s", gop,
                             "peak_percent", 0.0, "matmul_percent", 100 * speed.matmul_share,
                             "attention_percent", 100 * speed.attention_share),
                   err);
}

static sterna_status report_decode(bench *b, uint32_t context, uint32_t count, sterna_error *err)
{
    result speed = {0};
    sterna_status status = measure_decode(b, context, count, &speed, err);
    if (status) return status;
    double bytes = bytes_per_token(b, context, count), rate = bytes * speed.median * 1e-9;
    return add_row(b->decodes,
                   json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "context",
                             (json_int_t)context, "sequences", (json_int_t)count, "tokens",
                             (json_int_t)b->decode_tokens, "tok_per_s", speed.median, "slowest",
                             speed.slowest, "fastest", speed.fastest, "bytes_per_token", bytes,
                             "gb_per_s", rate, "read_percent", 0.0, "matmul_percent",
                             100 * speed.matmul_share, "attention_percent",
                             100 * speed.attention_share),
                   err);
}

/* Where the caller names no contexts: those that are reached soon enough at the speed of the last
 * prefill, attention's growing share included as a quarter more per 4096 tokens. */
static void choose_contexts(bench *b)
{
    uint32_t trained = sterna_decoder_config(b->model->decoder)->context;
    const json_t *last = json_array_get(b->prefills, json_array_size(b->prefills) - 1);
    double speed = json_number_value(json_object_get(last, "tok_per_s"));
    size_t fit = 0;
    for (; fit < b->contexts.count; fit++) {
        uint32_t context = b->usual[fit];
        double seconds = speed > 0 ? context / speed * (1 + context / 16384.0) : 0;
        if (context + b->decode_tokens > trained || seconds > FILL_S) break;
    }
    b->total -= (b->contexts.count - fit) * (b->repetitions + 1);
    b->contexts.count = fit;
}

static sterna_status measure_first_token(bench *b, sterna_error *err)
{
    sterna_status status = open_sessions(b, 1, FIRST_TOKENS, err);
    double start = sterna_now();
    if (!status) status = sterna_run_append(b->sessions[0], b->ids, FIRST_TOKENS, NULL, err);
    b->first_token_s = b->model->load_s + sterna_now() - start;
    close_sessions(b);
    return status;
}

static sterna_status measure(bench *b, sterna_error *err)
{
    sterna_status status = measure_first_token(b, err);
    for (size_t i = 0; !status && i < b->prefill.count; i++)
        status = report_prefill(b, b->prefill.items[i], err);
    if (!status && b->choose) choose_contexts(b);
    for (size_t i = 0; !status && i < b->contexts.count; i++)
        status = report_decode(b, b->contexts.items[i], 1, err);
    uint32_t context = b->contexts.count ? b->contexts.items[0] : 0;
    for (size_t i = 0; !status && i < b->batches.count; i++)
        status = report_decode(b, context, b->batches.items[i], err);
    return status;
}

/* The largest amount of memory that this process has held. */
static double peak_memory(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : (double)usage.ru_maxrss * 1024;
}

/* Holds a rate of every row (in 10^9 a second) against the limit. */
static sterna_status compare_rows(const json_t *list, const char *rate, const char *percent,
                                  double limit, sterna_error *err)
{
    for (size_t i = 0; limit > 0 && i < json_array_size(list); i++) {
        json_t *row = json_array_get(list, i);
        double share = 100 * 1e9 * json_number_value(json_object_get(row, rate)) / limit;
        if (json_object_set_new(row, percent, json_real(share)))
            return sterna_fail_memory(err, "the measurements");
    }
    return STERNA_OK;
}

static sterna_status add_limits(bench *b, json_t *out, sterna_error *err)
{
    sterna_device *device = b->model->device;
    double peak = peak_memory(); /* before the bandwidth's buffer counts */
    double read = device->read_speed(device), products = device->int8_peak(device);
    if (json_object_set_new(out, "rss_bytes", json_real(peak)) ||
        json_object_set_new(out, "read_gb_s", json_real(read * 1e-9)) ||
        json_object_set_new(out, "int8_gop_s", json_real(products * 1e-9)))
        return sterna_fail_memory(err, "the measurements");
    sterna_status status = compare_rows(b->prefills, "gop_per_s", "peak_percent", products, err);
    if (!status) status = compare_rows(b->decodes, "gb_per_s", "read_percent", read, err);
    return status;
}

static sterna_status add_left_out(const bench *b, json_t *out, sterna_error *err)
{
    json_t *left = json_array();
    bool bad = false;
    for (size_t i = b->contexts.count; b->choose && i < sizeof b->usual / sizeof *b->usual; i++)
        bad |= json_array_append_new(left, json_integer((json_int_t)b->usual[i])) != 0;
    size_t n = json_array_size(left);
    if (!bad && n) bad = json_object_set(out, "contexts_left_out", left) != 0;
    json_decref(left);
    return bad ? sterna_fail_memory(err, "the measurements") : STERNA_OK;
}

/* Packed GB/s of a thread while the model was loaded. */
static double load_rate(const sterna_model *model)
{
    double bytes = (double)sterna_decoder_bytes(model->decoder);
    return model->load_s > 0 ? bytes * 1e-9 / model->load_s / model->threads : 0;
}

static sterna_status run(bench *b, char **json, sterna_error *err)
{
    const sterna_model *model = b->model;
    char cpu[128];
    sterna_cpu_model(cpu, sizeof cpu);
    b->prefills = json_array();
    b->decodes = json_array();
    sterna_status status =
        b->prefills && b->decodes ? measure(b, err) : sterna_fail_memory(err, "the measurements");
    json_t *out = NULL;
    if (!status)
        out = json_pack(
            "{s:s, s:s, s:i, s:s, s:s, s:f, s:f, s:f, s:I, s:f, s:O, s:O}", "model", model->path,
            "family", sterna_family_name(sterna_decoder_config(model->decoder)->family), "threads",
            model->threads, "cpu", cpu, "level", sterna_cpu_level_name(model->features), "load_s",
            model->load_s, "load_gb_s", load_rate(model), "first_token_s", b->first_token_s,
            "resident_bytes", (json_int_t)sterna_decoder_bytes(model->decoder), "cache_bytes",
            b->cache_bytes, "prefill", b->prefills, "decode", b->decodes);
    if (!status && !out) status = sterna_fail_memory(err, "the measurements");
    if (!status) status = add_limits(b, out, err);
    if (!status) status = add_left_out(b, out, err);
    if (!status) status = sterna_run_json_text(out, json, err);
    json_decref(out);
    json_decref(b->prefills);
    json_decref(b->decodes);
    return status;
}

/* ---- what is asked for ---- */

static sterna_status check(const bench *b, uint32_t *longest, sterna_error *err)
{
    if (b->prefill.count > MAX_SIZES || b->contexts.count > MAX_SIZES ||
        b->batches.count > MAX_SIZES || b->repetitions > MAX_REPETITIONS ||
        b->decode_tokens > MAX_DECODE)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "too much to measure: at most %d sizes of each kind, %d repetitions and "
                           "%d decoded tokens",
                           MAX_SIZES, MAX_REPETITIONS, MAX_DECODE);
    *longest = FIRST_TOKENS;
    for (size_t i = 0; i < b->prefill.count; i++) {
        uint32_t tokens = b->prefill.items[i];
        if (tokens == 0 || tokens > STERNA_MAX_CONTEXT)
            return sterna_fail(err, STERNA_ERROR_ARGUMENT, "a prompt of %u tokens", tokens);
        if (tokens > *longest) *longest = tokens;
    }
    for (size_t i = 0; i < b->contexts.count; i++) {
        uint32_t context = b->contexts.items[i];
        if (context > STERNA_MAX_CONTEXT - MAX_DECODE)
            return sterna_fail(err, STERNA_ERROR_LIMIT, "a context of %u tokens", context);
        if (context + b->decode_tokens > *longest) *longest = context + b->decode_tokens;
    }
    for (size_t i = 0; i < b->batches.count; i++)
        if (b->batches.items[i] == 0 || b->batches.items[i] > MAX_BATCH)
            return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                               "a batch of %u sequences; from 1 to %d can be measured",
                               b->batches.items[i], MAX_BATCH);
    return STERNA_OK;
}

/* A prompt of random ids: every pass reads other rows of the embedding. */
static sterna_status make_ids(bench *b, sterna_error *err)
{
    uint32_t vocabulary = sterna_decoder_config(b->model->decoder)->vocabulary;
    b->ids = sterna_alloc(b->n_ids, sizeof *b->ids);
    if (!b->ids) return sterna_fail_memory(err, "a prompt");
    sterna_rng rng;
    sterna_rng_seed(&rng, 1);
    for (uint32_t i = 0; i < b->n_ids; i++)
        b->ids[i] = (int32_t)(sterna_rng_u64(&rng) % vocabulary);
    return STERNA_OK;
}

sterna_status sterna_run_bench(sterna_model *model, const sterna_bench_options *options,
                               char **json, sterna_error *err)
{
    static const uint32_t usual_prefill[] = {128, 512};
    const sterna_bench_options none = {0};
    if (!options) options = &none;
    bench b = {.model = model,
               .options = options,
               .prefill = {options->prefill, options->prefill_count},
               .contexts = {options->contexts, options->contexts_count},
               .batches = {options->batches, options->batches_count},
               .usual = {0, 512, 4096, 16384},
               .repetitions = options->repetitions ? options->repetitions : 5,
               .decode_tokens = options->decode_tokens ? options->decode_tokens : 32};
    if (b.prefill.count == 0) b.prefill = (sizes){usual_prefill, 2};
    b.choose = b.contexts.count == 0;
    if (b.choose) b.contexts = (sizes){b.usual, sizeof b.usual / sizeof *b.usual};
    b.total = (b.prefill.count + b.contexts.count + b.batches.count) * (b.repetitions + 1);
    sterna_status status = check(&b, &b.n_ids, err);
    if (!status) status = make_ids(&b, err);
    if (!status) status = run(&b, json, err);
    sterna_free(b.ids);
    return status;
}
