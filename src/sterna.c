/* The public functions: check arguments, call one floor below, fill the error. No algorithm lives
 * here. */
#include "sterna.h"

#include <jansson.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "quant/convert.h"
#include "quant/quantize.h"
#include "run/chat.h"
#include "run/eval.h"
#include "run/generate.h"
#include "run/inspect.h"
#include "run/session.h"
#include "run/text.h"
#include "run/verify.h"

/* Fails when one of the pointers that a function needs is NULL. */
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return sterna_fail(err, STERNA_ERROR_ARGUMENT, "%s: expected %s", __func__,            \
                               #condition);                                                        \
    } while (0)

/* ---- models ---- */

sterna_status sterna_model_open(const char *path, const sterna_model_options *options,
                                sterna_model **out, sterna_error *err)
{
    REQUIRE(path && out);
    return sterna_run_open(path, options, out, err);
}

sterna_status sterna_model_open_shape(const char *shape, const char *type, const char *head,
                                      const sterna_model_options *options, sterna_model **out,
                                      sterna_error *err)
{
    REQUIRE(shape && out);
    return sterna_run_open_shape(shape, type, head, options, out, err);
}

sterna_status sterna_shapes(char **json, sterna_error *err)
{
    REQUIRE(json);
    return sterna_run_shapes(json, err);
}

void sterna_model_close(sterna_model *model)
{
    sterna_run_close(model);
}

const sterna_tokenizer *sterna_model_tokenizer(const sterna_model *model)
{
    return model ? model->tokenizer : NULL;
}

const char *sterna_model_chat_template(const sterna_model *model)
{
    return model ? model->chat_template : NULL;
}

uint32_t sterna_model_vocabulary(const sterna_model *model)
{
    return model ? sterna_decoder_config(model->decoder)->vocabulary : 0;
}

uint32_t sterna_model_context(const sterna_model *model)
{
    return model ? sterna_decoder_config(model->decoder)->context : 0;
}

sterna_status sterna_model_report(const sterna_model *model, char **json, sterna_error *err)
{
    REQUIRE(model && json);
    return sterna_run_report(model, json, err);
}

/* ---- sessions ---- */

sterna_status sterna_session_new(sterna_model *model, const sterna_session_options *options,
                                 sterna_session **out, sterna_error *err)
{
    REQUIRE(model && out);
    return sterna_run_session_new(model, options, out, err);
}

void sterna_session_free(sterna_session *session)
{
    sterna_run_session_free(session);
}

sterna_status sterna_session_append(sterna_session *session, const int32_t *ids, size_t count,
                                    float *logits, sterna_error *err)
{
    REQUIRE(session && (ids || count == 0));
    return sterna_run_append(session, ids, count, logits, err);
}

const float *sterna_session_logits(const sterna_session *session)
{
    return session && session->has_logits ? session->logits : NULL;
}

size_t sterna_session_length(const sterna_session *session)
{
    return session ? session->length : 0;
}

const int32_t *sterna_session_tokens(const sterna_session *session)
{
    return session ? session->tokens : NULL;
}

size_t sterna_session_capacity(const sterna_session *session)
{
    return session ? session->capacity : 0;
}

void sterna_session_rewind(sterna_session *session, size_t length)
{
    if (session) sterna_run_rewind(session, length);
}

sterna_status sterna_sessions_step(sterna_session *const *sessions, const int32_t *ids,
                                   size_t count, sterna_error *err)
{
    REQUIRE((sessions && ids) || count == 0);
    return sterna_run_step(sessions, ids, count, err);
}

/* ---- generation ---- */

void sterna_sampling_default(const sterna_model *model, sterna_sampling *sampling)
{
    if (sampling) *sampling = model ? model->sampling : sterna_sampling_usual();
}

sterna_status sterna_generate(sterna_session *session, const int32_t *prompt, size_t count,
                              const sterna_generate_options *options,
                              sterna_generate_result *result, sterna_error *err)
{
    REQUIRE(session && options && (prompt || count == 0));
    return sterna_run_generate(session, prompt, count, options, result, err);
}

void sterna_session_cancel(sterna_session *session)
{
    if (session) sterna_run_cancel(session);
}

/* ---- text ---- */

sterna_status sterna_tokenizer_load(const char *path, sterna_tokenizer **out, sterna_error *err)
{
    REQUIRE(path && out);
    return sterna_load_tokenizer_path(path, out, err);
}

sterna_status sterna_tokenize(const sterna_tokenizer *tokenizer, const char *text, size_t size,
                              int flags, int32_t **ids, size_t *count, sterna_error *err)
{
    REQUIRE(tokenizer && (text || size == 0) && ids && count);
    int inner = (flags & STERNA_TOKENS_ADD_SPECIAL ? STERNA_ADD_SPECIAL : 0) |
                (flags & STERNA_TOKENS_PARSE_SPECIAL ? STERNA_PARSE_SPECIAL : 0);
    return sterna_encode(tokenizer, text, size, inner, ids, count, err);
}

sterna_status sterna_detokenize(const sterna_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                bool skip_special, char **text, size_t *size, sterna_error *err)
{
    REQUIRE(tokenizer && (ids || count == 0) && text);
    sterna_buffer buffer = {0};
    int flags = skip_special ? STERNA_SKIP_SPECIAL : 0;
    sterna_status status = sterna_decode(tokenizer, ids, count, flags, &buffer, err);
    size_t length = buffer.size;
    char *bytes = NULL;
    if (!status && !(bytes = sterna_buffer_take(&buffer)))
        status = sterna_fail_memory(err, "a decoded text");
    sterna_buffer_free(&buffer);
    if (status) return status;
    *text = bytes;
    if (size) *size = length;
    return STERNA_OK;
}

sterna_status sterna_template_render(const char *source, const char *messages, const char *tools,
                                     const char *variables, bool add_generation_prompt, char **out,
                                     sterna_error *err)
{
    REQUIRE(source && messages && out);
    const sterna_chat chat = {messages, tools, variables, add_generation_prompt};
    return sterna_run_render_path(source, &chat, out, err);
}

sterna_status sterna_model_render_chat(const sterna_model *model, const char *messages,
                                       const char *tools, const char *variables,
                                       bool add_generation_prompt, char **out, sterna_error *err)
{
    REQUIRE(model && messages && out);
    const sterna_chat chat = {messages, tools, variables, add_generation_prompt};
    return sterna_run_render_chat(model, &chat, out, err);
}

sterna_status sterna_model_encode_chat(const sterna_model *model, const char *messages,
                                       const char *tools, const char *variables,
                                       bool add_generation_prompt, int32_t **ids, size_t *count,
                                       sterna_error *err)
{
    REQUIRE(model && messages && ids && count);
    const sterna_chat chat = {messages, tools, variables, add_generation_prompt};
    return sterna_run_encode_chat(model, &chat, ids, count, err);
}

/* ---- evaluation ---- */

sterna_status sterna_perplexity(sterna_model *model, sterna_model *other, const char *text,
                                size_t size, const sterna_eval_options *options,
                                sterna_perplexity_result *result, sterna_error *err)
{
    REQUIRE(model && text && result);
    const sterna_eval_options defaults = {0};
    return sterna_run_perplexity(model, other, text, size, options ? options : &defaults, result,
                                 err);
}

sterna_status sterna_tasks(sterna_model *model, const char *path,
                           const sterna_eval_options *options, sterna_task_result *result,
                           sterna_error *err)
{
    REQUIRE(model && path && result);
    const sterna_eval_options defaults = {0};
    return sterna_run_tasks(model, path, options ? options : &defaults, result, err);
}

sterna_status sterna_bench(sterna_model *model, const sterna_bench_options *options, char **json,
                           sterna_error *err)
{
    REQUIRE(model && json);
    const sterna_bench_options defaults = {0};
    return sterna_run_bench(model, options ? options : &defaults, json, err);
}

/* ---- files ---- */

sterna_status sterna_inspect(const char *path, const sterna_model_options *options, char **json,
                             sterna_error *err)
{
    REQUIRE(path && json);
    const sterna_model_options defaults = {0};
    return sterna_run_inspect(path, options ? options : &defaults, json, err);
}

sterna_status sterna_convert(const char *in, const char *out, const sterna_convert_options *options,
                             char **report, sterna_error *err)
{
    REQUIRE(in && out);
    const sterna_convert_options defaults = {0};
    return sterna_convert_model(in, out, options ? options : &defaults, report, err);
}

sterna_status sterna_quantize(const char *in, const char *out,
                              const sterna_quantize_options *options, char **receipt,
                              sterna_error *err)
{
    REQUIRE(in && out);
    const sterna_quantize_options defaults = {0};
    return sterna_quantize_model(in, out, options ? options : &defaults, receipt, err);
}

sterna_status sterna_verify(const char *path, const sterna_model_options *options, char **report,
                            sterna_error *err)
{
    REQUIRE(path);
    const sterna_model_options defaults = {0};
    return sterna_run_verify(path, options ? options : &defaults, report, err);
}
