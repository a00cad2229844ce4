/* Chat rendering: checks a conversation and hands it to its template. */
#include "text/chat.h"

#include <string.h>

static sterna_status check(json_t *messages, json_t *tools, json_t *extra, sterna_error *err)
{
    if (!json_is_array(messages))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT, "the messages are not a JSON array");
    if (json_array_size(messages) > STERNA_CHAT_MAX_MESSAGES)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "the conversation has %zu messages; at most %d are read",
                           json_array_size(messages), STERNA_CHAT_MAX_MESSAGES);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *message = json_array_get(messages, i);
        if (!json_is_object(message))
            return sterna_fail(err, STERNA_ERROR_ARGUMENT, "message %zu is not a JSON object", i);
        if (!json_is_string(json_object_get(message, "role")))
            return sterna_fail(
                err, STERNA_ERROR_ARGUMENT,
                "message %zu has no \"role\" string; give it \"system\", \"user\" or "
                "\"assistant\"",
                i);
    }
    if (extra && !json_is_object(extra))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "the template's variables are not a JSON object");
    if (!tools || json_is_null(tools)) return STERNA_OK;
    if (!json_is_array(tools))
        return sterna_fail(err, STERNA_ERROR_ARGUMENT, "the tools are not a JSON array");
    if (json_array_size(tools) > STERNA_CHAT_MAX_TOOLS)
        return sterna_fail(err, STERNA_ERROR_LIMIT, "there are %zu tools; at most %d are read",
                           json_array_size(tools), STERNA_CHAT_MAX_TOOLS);
    for (size_t i = 0; i < json_array_size(tools); i++)
        if (!json_is_object(json_array_get(tools, i)))
            return sterna_fail(err, STERNA_ERROR_ARGUMENT, "tool %zu is not a JSON object", i);
    return STERNA_OK;
}

/* A copy of a message that has its reasoning under the names that templates read; NULL when out of
 * memory. "thinking" is put in front where it is new, as transformers does: the order of keys shows
 * in templates that print whole messages. */
static json_t *with_reasoning(json_t *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    json_t *reasoning = NULL, *copy;
    for (size_t i = 0; i < 3 && !reasoning; i++) {
        json_t *value = json_object_get(message, names[i]);
        if (value && !json_is_null(value)) reasoning = value;
    }
    if (!reasoning) return json_incref(message);
    copy = json_object();
    if (!copy) return NULL;
    if (json_object_set(copy, "thinking", reasoning) || json_object_update(copy, message) ||
        json_object_set(copy, "reasoning_content", reasoning)) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}

static bool set_messages(json_t *variables, json_t *messages)
{
    json_t *copy = json_array();
    if (!copy || json_object_set_new(variables, "messages", copy)) return false;
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *message = with_reasoning(json_array_get(messages, i));
        if (!message || json_array_append_new(copy, message)) return false;
    }
    return true;
}

/* The variables of the template; what stands in `extra` cannot replace the conversation. */
static json_t *make_variables(json_t *messages, json_t *tools, json_t *extra, bool generation)
{
    json_t *variables = json_object();
    if (!variables) return NULL;
    bool fine = !extra || !json_object_update(variables, extra);
    fine = fine && (json_object_get(variables, "documents") ||
                    !json_object_set_new(variables, "documents", json_null()));
    fine = fine && !json_object_set(variables, "tools", tools ? tools : json_null()) &&
           !json_object_set_new(variables, "add_generation_prompt", json_boolean(generation)) &&
           set_messages(variables, messages);
    if (fine) return variables;
    json_decref(variables);
    return NULL;
}

sterna_status sterna_chat_render_with(const char *template_text, json_t *messages, json_t *tools,
                                      json_t *extra, bool add_generation_prompt,
                                      const sterna_jinja_options *options, sterna_buffer *out,
                                      sterna_error *err)
{
    sterna_jinja_program *program = NULL;
    sterna_status status = check(messages, tools, extra, err);
    if (status == STERNA_OK)
        status = sterna_jinja_compile(template_text, strlen(template_text), &program, err);
    if (status != STERNA_OK) return status;
    json_t *variables = make_variables(messages, tools, extra, add_generation_prompt);
    status = variables ? sterna_jinja_render(program, variables, options, out, err)
                       : sterna_fail_memory(err, "a conversation");
    json_decref(variables);
    sterna_jinja_free(program);
    return status;
}

sterna_status sterna_chat_render(const char *template_text, json_t *messages, json_t *tools,
                                 json_t *extra, bool add_generation_prompt, sterna_buffer *out,
                                 sterna_error *err)
{
    return sterna_chat_render_with(template_text, messages, tools, extra, add_generation_prompt,
                                   NULL, out, err);
}
