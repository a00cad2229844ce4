#include "run/chat.h"

#include <jansson.h>
#include <string.h>

#include "base/memory.h"
#include "run/text.h"
#include "text/chat.h"

enum { TEMPLATE_LIMIT = 16 << 20 };

/* A noncharacter put into control-token text that comes from outside, so that it is not that token
 * when the rendered conversation is encoded; it is taken out again on the way. */
static const char cut_mark[] = "\xEF\xB7\x90"; /* U+FDD0 */
enum { CUT_BYTES = sizeof cut_mark - 1 };

typedef struct chat_json {
    json_t *messages, *tools, *variables;
} chat_json;

static void free_json(chat_json *json)
{
    json_decref(json->messages);
    json_decref(json->tools);
    json_decref(json->variables);
}

static sterna_status parse_one(const char *what, const char *text, json_type type, json_t **out,
                               sterna_error *err)
{
    if (!text) return STERNA_OK;
    json_error_t detail;
    json_t *value = json_loads(text, JSON_ALLOW_NUL, &detail);
    if (!value)
        return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: line %d column %d: %s", what, detail.line,
                           detail.column, detail.text);
    if (json_typeof(value) != type) {
        json_decref(value);
        return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: expected a JSON %s", what,
                           type == JSON_ARRAY ? "array" : "object");
    }
    *out = value;
    return STERNA_OK;
}

static sterna_status parse_chat(const sterna_chat *chat, chat_json *out, sterna_error *err)
{
    chat_json json = {0};
    sterna_status status = parse_one("messages", chat->messages, JSON_ARRAY, &json.messages, err);
    if (!status) status = parse_one("tools", chat->tools, JSON_ARRAY, &json.tools, err);
    if (!status)
        status = parse_one("variables", chat->variables, JSON_OBJECT, &json.variables, err);
    if (!status && !json.variables && !(json.variables = json_object()))
        status = sterna_fail_memory(err, "template variables");
    if (status)
        free_json(&json);
    else
        *out = json;
    return status;
}

/* bos_token and its like, as transformers hands them to a template; given variables win. */
static void add_token_names(const sterna_tokenizer *tokenizer, json_t *variables)
{
    static const struct {
        sterna_token_role role;
        const char *name;
    } rows[] = {{STERNA_TOKEN_BOS, "bos_token"},  {STERNA_TOKEN_EOS, "eos_token"},
                {STERNA_TOKEN_UNK, "unk_token"},  {STERNA_TOKEN_SEP, "sep_token"},
                {STERNA_TOKEN_PAD, "pad_token"},  {STERNA_TOKEN_CLS, "cls_token"},
                {STERNA_TOKEN_MASK, "mask_token"}};
    for (size_t i = 0; tokenizer && i < sizeof rows / sizeof *rows; i++) {
        int32_t id = sterna_token_id(tokenizer, rows[i].role);
        sterna_text text = id >= 0 ? sterna_token_text(tokenizer, id) : (sterna_text){0};
        if (text.data && !json_object_get(variables, rows[i].name))
            json_object_set_new(variables, rows[i].name, json_stringn(text.data, text.size));
    }
}

static sterna_status render(const char *template_text, const sterna_tokenizer *tokenizer,
                            const chat_json *json, bool add_generation_prompt, sterna_buffer *out,
                            sterna_error *err)
{
    add_token_names(tokenizer, json->variables);
    return sterna_chat_render(template_text, json->messages, json->tools, json->variables,
                              add_generation_prompt, out, err);
}

static sterna_status render_text(const char *template_text, const sterna_tokenizer *tokenizer,
                                 const sterna_chat *chat, char **out, sterna_error *err)
{
    chat_json json = {0};
    sterna_status status = parse_chat(chat, &json, err);
    if (status) return status;
    sterna_buffer text = {0};
    status = render(template_text, tokenizer, &json, chat->add_generation_prompt, &text, err);
    free_json(&json);
    char *bytes = status ? NULL : sterna_buffer_take(&text);
    sterna_buffer_free(&text);
    if (!status && !bytes) status = sterna_fail_memory(err, "a rendered conversation");
    if (!status) *out = bytes;
    return status;
}

static sterna_status no_template(const char *path, sterna_error *err)
{
    return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                       "%s: holds no chat template; give a .jinja file, or a prompt without one "
                       "(sterna run --raw)",
                       path);
}

sterna_status sterna_run_render_chat(const sterna_model *model, const sterna_chat *chat, char **out,
                                     sterna_error *err)
{
    if (!model->chat_template) return no_template(model->path, err);
    return render_text(model->chat_template, model->tokenizer, chat, out, err);
}

static bool is_model_path(const char *path)
{
    static const char *const ends[] = {".gguf", ".safetensors", ".bin"};
    if (sterna_path_is_folder(path)) return true;
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (length >= end && strcmp(path + length - end, ends[i]) == 0) return true;
    }
    return false;
}

sterna_status sterna_run_render_path(const char *source, const sterna_chat *chat, char **out,
                                     sterna_error *err)
{
    char *template_text = NULL;
    sterna_tokenizer *tokenizer = NULL;
    sterna_status status;
    if (is_model_path(source)) {
        sterna_model_file *file = NULL;
        status = sterna_model_file_open(source, NULL, &file, err);
        if (!status) status = sterna_load_chat_template(file, &template_text, err);
        if (!status) status = sterna_load_tokenizer(file, 0, &tokenizer, err);
        if (!status && !template_text) status = no_template(source, err);
        sterna_model_file_close(file);
    } else {
        status = sterna_file_read(source, TEMPLATE_LIMIT, &template_text, NULL, err);
    }
    if (!status) status = render_text(template_text, tokenizer, chat, out, err);
    sterna_tokenizer_free(tokenizer);
    sterna_free(template_text);
    return status;
}

/* ---- ids ---- */

/* A copy of a string with a mark behind the first character of every control token in it; marks
 * that were there already become U+FFFD. */
static json_t *cut_string(const sterna_tokenizer *tokenizer, json_t *value)
{
    const char *text = json_string_value(value);
    size_t size = json_string_length(value);
    sterna_buffer out = {0};
    for (size_t at = 0; at < size;) {
        if (size - at >= CUT_BYTES && memcmp(text + at, cut_mark, CUT_BYTES) == 0) {
            sterna_buffer_add_utf8(&out, 0xFFFD);
            at += CUT_BYTES;
            continue;
        }
        bool control = sterna_control_prefix(tokenizer, text + at, size - at) > 0;
        size_t character = 1;
        while (at + character < size && ((unsigned char)text[at + character] & 0xC0) == 0x80)
            character++;
        sterna_buffer_add(&out, text + at, character);
        if (control) sterna_buffer_add(&out, cut_mark, CUT_BYTES);
        at += character;
    }
    json_t *copy = out.failed ? NULL : json_stringn(out.data ? out.data : "", out.size);
    sterna_buffer_free(&out);
    return copy;
}

/* A deep copy with every string value cut. Keys stay: templates look members up by them. */
static json_t *cut_value(const sterna_tokenizer *tokenizer, json_t *value)
{
    if (json_is_string(value)) return cut_string(tokenizer, value);
    if (json_is_array(value)) {
        json_t *copy = json_array(), *item;
        size_t i;
        json_array_foreach(value, i, item)
        {
            if (copy && json_array_append_new(copy, cut_value(tokenizer, item)) != 0) {
                json_decref(copy);
                copy = NULL;
            }
        }
        return copy;
    }
    if (json_is_object(value)) {
        json_t *copy = json_object(), *item;
        const char *key;
        json_object_foreach(value, key, item)
        {
            if (copy && json_object_set_new(copy, key, cut_value(tokenizer, item)) != 0) {
                json_decref(copy);
                copy = NULL;
            }
        }
        return copy;
    }
    return json_incref(value);
}

/* Takes the marks out of a rendered text; *cuts (sterna_free) are the byte offsets where they
 * stood. */
static sterna_status take_marks_out(sterna_buffer *text, size_t **cuts, size_t *n_cuts,
                                    sterna_error *err)
{
    size_t count = 0, kept = 0;
    for (size_t at = 0; at + CUT_BYTES <= text->size; at++)
        count += memcmp(text->data + at, cut_mark, CUT_BYTES) == 0;
    size_t *places = sterna_alloc(count, sizeof *places);
    if (!places) return sterna_fail_memory(err, "a rendered conversation");
    count = 0;
    for (size_t at = 0; at < text->size;) {
        if (text->size - at >= CUT_BYTES && memcmp(text->data + at, cut_mark, CUT_BYTES) == 0) {
            places[count++] = kept;
            at += CUT_BYTES;
        } else {
            text->data[kept++] = text->data[at++];
        }
    }
    text->size = kept;
    *cuts = places;
    *n_cuts = count;
    return STERNA_OK;
}

sterna_status sterna_run_encode_chat(const sterna_model *model, const sterna_chat *chat,
                                     int32_t **ids, size_t *count, sterna_error *err)
{
    if (!model->chat_template) return no_template(model->path, err);
    if (!model->tokenizer)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED, "%s: holds no tokenizer", model->path);
    chat_json json = {0}, cut = {0};
    sterna_buffer text = {0};
    size_t *cuts = NULL, n_cuts = 0;
    sterna_status status = parse_chat(chat, &json, err);
    if (status) return status;
    cut.messages = cut_value(model->tokenizer, json.messages);
    cut.tools = json.tools ? cut_value(model->tokenizer, json.tools) : NULL;
    cut.variables = cut_value(model->tokenizer, json.variables);
    if (!cut.messages || !cut.variables || (json.tools && !cut.tools))
        status = sterna_fail_memory(err, "a conversation");
    if (!status)
        status = render(model->chat_template, model->tokenizer, &cut, chat->add_generation_prompt,
                        &text, err);
    if (!status) status = take_marks_out(&text, &cuts, &n_cuts, err);
    if (!status)
        status = sterna_encode_cut(model->tokenizer, text.data ? text.data : "", text.size,
                                   STERNA_PARSE_SPECIAL, cuts, n_cuts, ids, count, err);
    free_json(&json);
    free_json(&cut);
    sterna_buffer_free(&text);
    sterna_free(cuts);
    return status;
}
