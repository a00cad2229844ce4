#include "quant/calibrate.h"

#include <jansson.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/rng.h"
#include "run/likelihood.h"
#include "run/session.h"
#include "run/text.h"

enum {
    MAX_TEXT_BYTES = 256 << 20,
    MAX_TOKENS = 1 << 24,
    CACHE_BYTES = 1 << 30, /* of all sessions that write */
    PREFIX = 3,            /* tokens that a window which the model writes starts with */
    FEWEST_TOKENS = 1 << 14,
    MOST_TOKENS = 1 << 17
};
static const double usual_work = 1.75e14; /* tokens times weights of the layers */

static bool ends_in(const char *path, const char *end)
{
    size_t size = strlen(path), tail = strlen(end);
    return size > tail && strcmp(path + size - tail, end) == 0;
}

/* The "text" of every line, an empty line between two. */
static sterna_status join_lines(const char *path, const char *lines, size_t size,
                                sterna_buffer *text, sterna_error *err)
{
    size_t number = 0;
    for (const char *line = lines, *end; line < lines + size; line = end + 1) {
        end = memchr(line, '\n', (size_t)(lines + size - line));
        if (!end) end = lines + size;
        number++;
        size_t length = (size_t)(end - line);
        if (strspn(line, " \t\r") >= length) continue;
        json_t *object = json_loadb(line, length, 0, NULL);
        json_t *value = json_object_get(object, "text");
        bool good = json_is_string(value);
        if (good) {
            sterna_buffer_add(text, json_string_value(value), json_string_length(value));
            sterna_buffer_add_text(text, "\n\n");
        }
        json_decref(object);
        if (!good)
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s, line %zu is no JSON object with a \"text\"", path, number);
    }
    return STERNA_OK;
}

static sterna_status read_text(const char *path, sterna_buffer *text, sterna_error *err)
{
    if (!path) {
        for (size_t i = 0; i < sterna_calibration_text_count; i++) {
            const sterna_text *part = sterna_calibration_texts[i];
            sterna_buffer_add(text, part->data, part->size);
            sterna_buffer_add_text(text, "\n\n");
        }
        return text->failed ? sterna_fail_memory(err, "the calibration text") : STERNA_OK;
    }
    char *bytes = NULL;
    size_t size = 0;
    sterna_status status = sterna_file_read(path, MAX_TEXT_BYTES, &bytes, &size, err);
    if (status) return status;
    if (ends_in(path, ".jsonl"))
        status = join_lines(path, bytes, size, text, err);
    else
        sterna_buffer_add(text, bytes, size);
    sterna_free(bytes);
    if (!status && text->failed) status = sterna_fail_memory(err, "the calibration text");
    return status;
}

static void digest_text(const sterna_buffer *text, sterna_calibration *out)
{
    sterna_digest digest;
    uint8_t bytes[STERNA_DIGEST_BYTES];
    sterna_digest_start(&digest);
    sterna_digest_add(&digest, text->data, text->size);
    sterna_digest_end(&digest, bytes);
    sterna_digest_text(bytes, out->text_digest);
}

/* Windows spread evenly over the text's tokens, in order. */
static void spread(const int32_t *tokens, size_t count, int32_t bos, size_t windows,
                   sterna_calibration *out)
{
    size_t room = count - out->length;
    for (size_t i = 0; i < windows; i++) {
        size_t at = windows > 1 ? (size_t)((double)room * (double)i / (double)(windows - 1)) : 0;
        int32_t *window = out->ids + i * out->length;
        memcpy(window, tokens + at, out->length * sizeof *window);
        if (bos >= 0) window[0] = bos;
    }
}

/* ---- what the model writes ---- */

typedef struct writers {
    sterna_model *model;
    sterna_session *sessions[STERNA_CALIBRATION_SESSIONS];
    size_t count;
    sterna_rng rng;
} writers;

/* Every fourth window starts as a document does, the others with a pair of tokens of the text. */
static void make_prefix(writers *w, const int32_t *tokens, size_t count, size_t index,
                        int32_t prefix[PREFIX], size_t *size)
{
    const sterna_tokenizer *tokenizer = w->model->tokenizer;
    int32_t bos = sterna_beginning(tokenizer), eos = sterna_token_id(tokenizer, STERNA_TOKEN_EOS);
    *size = 0;
    if (bos >= 0) prefix[(*size)++] = bos;
    if (index % 4 == 0 && (bos >= 0 || eos >= 0)) {
        if (bos < 0) prefix[(*size)++] = eos;
        return;
    }
    size_t at = (size_t)(sterna_rng_double(&w->rng) * (double)(count - 1));
    prefix[(*size)++] = tokens[at];
    prefix[(*size)++] = tokens[at + 1];
}

static sterna_status fail_logits(const writers *w, sterna_error *err)
{
    return sterna_fail(err, STERNA_ERROR_FORMAT,
                       "%s: the model's logits are not finite: its weights are damaged or overflow",
                       w->model->path);
}

/* `count` windows at once into out[count][length]. */
static sterna_status write_windows(writers *w, const int32_t *tokens, size_t n_tokens, size_t index,
                                   size_t count, size_t length, int32_t *out,
                                   const sterna_calibration_options *options, size_t total,
                                   sterna_error *err)
{
    size_t vocabulary = sterna_decoder_config(w->model->decoder)->vocabulary, size, longest = 0;
    int32_t ids[STERNA_CALIBRATION_SESSIONS];
    sterna_status status = STERNA_OK;
    size_t lengths[STERNA_CALIBRATION_SESSIONS];
    for (size_t i = 0; i < count && !status; i++) {
        int32_t prefix[PREFIX];
        make_prefix(w, tokens, n_tokens, index + i, prefix, &size);
        if (size > length) size = length;
        sterna_run_rewind(w->sessions[i], 0);
        memcpy(out + i * length, prefix, size * sizeof *out);
        status = sterna_run_append(w->sessions[i], prefix, size, NULL, err);
        lengths[i] = size;
    }
    while (!status && longest < length) {
        size_t running = 0;
        sterna_session *sessions[STERNA_CALIBRATION_SESSIONS];
        longest = length;
        for (size_t i = 0; i < count && !status; i++) {
            if (lengths[i] >= length) continue;
            int32_t id = sterna_draw(sterna_session_logits(w->sessions[i]), vocabulary,
                                     sterna_rng_double(&w->rng));
            if (id < 0) status = fail_logits(w, err);
            out[i * length + lengths[i]++] = id;
            if (lengths[i] >= length) continue;
            ids[running] = id;
            sessions[running++] = w->sessions[i];
            if (lengths[i] < longest) longest = lengths[i];
        }
        if (!status && running) status = sterna_run_step(sessions, ids, running, err);
        double done = (double)index + (double)(longest * count) / (double)length;
        if (!status && options->progress &&
            !options->progress(options->progress_context, "writing calibration text", done,
                               (double)total))
            status = sterna_fail(err, STERNA_ERROR_CANCELLED,
                                 "quantizing was cancelled; nothing was written");
    }
    return status;
}

/* How many sessions write at the same time. */
static size_t count_writers(const sterna_config *config, size_t windows, size_t length)
{
    double bytes = 4.0 * config->n_layers * config->kv_heads * config->head_dim * (double)length;
    double fit = CACHE_BYTES / bytes;
    size_t count = fit < 1                             ? 1
                   : fit > STERNA_CALIBRATION_SESSIONS ? STERNA_CALIBRATION_SESSIONS
                                                       : (size_t)fit;
    return count < windows ? count : windows;
}

static sterna_status generate(sterna_model *model, const int32_t *tokens, size_t n_tokens,
                              const sterna_calibration_options *options, sterna_calibration *out,
                              sterna_error *err)
{
    writers w = {.model = model};
    sterna_rng_seed(&w.rng, 1);
    const sterna_session_options session = {.context = (uint32_t)out->length};
    const sterna_config *config = sterna_decoder_config(model->decoder);
    size_t most = count_writers(config, out->generated, out->length);
    sterna_status status = STERNA_OK;
    for (; w.count < most && !status; w.count += !status)
        status = sterna_run_session_new(model, &session, &w.sessions[w.count], err);
    for (size_t done = 0; done < out->generated && !status; done += most) {
        size_t count = out->generated - done < most ? out->generated - done : most;
        status = write_windows(&w, tokens, n_tokens, done, count, out->length,
                               out->ids + (out->windows - out->generated + done) * out->length,
                               options, out->generated, err);
    }
    for (size_t i = 0; i < w.count; i++) sterna_run_session_free(w.sessions[i]);
    return status;
}

size_t sterna_calibration_usual_tokens(const sterna_config *config)
{
    double width = config->width, heads = 2.0 * (config->heads + config->kv_heads), weights = 0;
    for (uint32_t i = 0; i < config->n_layers; i++)
        weights += width * (heads * config->head_dim + 3.0 * config->layers[i].ffn_width);
    double tokens = usual_work / weights;
    if (!(tokens > FEWEST_TOKENS)) return FEWEST_TOKENS;
    return tokens < MOST_TOKENS ? (size_t)tokens : MOST_TOKENS;
}

double sterna_calibration_own_tokens(const char *path, double tokens)
{
    static const double token_bytes = 4;
    struct stat info;
    double bytes = 0;
    for (size_t i = 0; !path && i < sterna_calibration_text_count; i++)
        bytes += (double)sterna_calibration_texts[i]->size;
    if (path && stat(path, &info) == 0) bytes = (double)info.st_size;
    return fmax(tokens * 3 / 8, tokens - bytes / token_bytes);
}

/* How many windows there are and how many of them the model writes, for a text of `count` tokens.
 */
static void count_windows(const sterna_calibration_options *options, const sterna_config *config,
                          size_t count, sterna_calibration *out)
{
    size_t wanted = options->tokens ? options->tokens : sterna_calibration_usual_tokens(config);
    out->length =
        config->context < STERNA_CALIBRATION_WINDOW ? config->context : STERNA_CALIBRATION_WINDOW;
    out->windows = (wanted + out->length - 1) / out->length;
    size_t whole = count / out->length;
    size_t from_text = options->text_only ? out->windows : (out->windows * 5 + 7) / 8;
    if (from_text > whole) from_text = whole;
    if (options->text_only) out->windows = from_text;
    out->generated = out->windows - from_text;
}

static sterna_status make(const char *path, const sterna_config *config,
                          const sterna_tokenizer *tokenizer, const sterna_buffer *text,
                          const sterna_calibration_options *options, sterna_calibration *out,
                          sterna_error *err)
{
    const sterna_model_options load = {.threads = options->threads,
                                       .progress = options->progress,
                                       .progress_context = options->progress_context};
    sterna_model *model = NULL;
    int32_t *tokens = NULL;
    size_t count = 0, ids;
    sterna_status status =
        sterna_encode(tokenizer, text->data, text->size, 0, &tokens, &count, err);
    if (status) return status;
    count_windows(options, config, count, out);
    if (count < 2)
        status = sterna_fail(err, STERNA_ERROR_ARGUMENT, "%s holds no calibration text",
                             options->path ? options->path : "the built-in set");
    if (!status && (!sterna_mul_size(out->windows, out->length, &ids) ||
                    !(out->ids = sterna_alloc(ids, sizeof *out->ids))))
        status = sterna_fail_memory(err, "the calibration windows");
    if (!status)
        spread(tokens, count, sterna_beginning(tokenizer), out->windows - out->generated, out);
    if (!status && out->generated) status = sterna_run_open(path, &load, &model, err);
    if (!status && out->generated) status = generate(model, tokens, count, options, out, err);
    sterna_run_close(model);
    sterna_free(tokens);
    return status;
}

sterna_status sterna_calibration_make(const char *path, const sterna_calibration_options *options,
                                      sterna_calibration *out, sterna_error *err)
{
    sterna_model_file *file = NULL;
    sterna_config config = {0};
    sterna_tokenizer *tokenizer = NULL;
    sterna_buffer text = {0};
    *out = (sterna_calibration){0};
    if (options->tokens > MAX_TOKENS)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "%zu calibration tokens are more than the limit of %d", options->tokens,
                           MAX_TOKENS);
    sterna_status status = read_text(options->path, &text, err);
    if (!status) status = sterna_model_file_open(path, NULL, &file, err);
    if (!status) status = sterna_config_read(file, &config, err);
    if (!status) status = sterna_load_tokenizer(file, config.vocabulary, &tokenizer, err);
    sterna_model_file_close(file);
    if (!status && !tokenizer)
        status = sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                             "%s: the model's files hold no tokenizer, so it cannot be calibrated; "
                             "quantize it with the method itf",
                             path);
    if (!status) status = make(path, &config, tokenizer, &text, options, out, err);
    if (!status) digest_text(&text, out);
    sterna_tokenizer_free(tokenizer);
    sterna_config_free(&config);
    sterna_buffer_free(&text);
    if (status) sterna_calibration_free(out);
    return status;
}

void sterna_calibration_free(sterna_calibration *calibration)
{
    sterna_free(calibration->ids);
    *calibration = (sterna_calibration){0};
}
