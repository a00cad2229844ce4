/* Chat rendering: messages and tools through a chat template, as transformers'
 * apply_chat_template does it. Knows nothing of models or tokenizers. */
#ifndef STERNA_TEXT_CHAT_H
#define STERNA_TEXT_CHAT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"
#include "text/jinja.h"

#define STERNA_CHAT_MAX_MESSAGES 4096
#define STERNA_CHAT_MAX_TOOLS    256

/* Renders a conversation and appends it to `out` (nothing on failure).
 *
 * messages: an array of objects, each with a string "role". tools: an array of objects (JSON
 * schemas of functions), or NULL. extra: an object of further variables (bos_token, eos_token,
 * enable_thinking, documents, ...), or NULL. The values are only read. As in transformers, text
 * given as "reasoning_content", "thinking" or "reasoning" is shown to the template under the first
 * two of these names.
 *
 * Fails with STERNA_ERROR_ARGUMENT for malformed messages or when the template refuses them,
 * otherwise as sterna_jinja_compile and sterna_jinja_render do. */
sterna_status sterna_chat_render(const char *template_text, json_t *messages, json_t *tools,
                                 json_t *extra, bool add_generation_prompt, sterna_buffer *out,
                                 sterna_error *err);

/* The same with limits and a clock of the caller's choice (NULL: the defaults). */
sterna_status sterna_chat_render_with(const char *template_text, json_t *messages, json_t *tools,
                                      json_t *extra, bool add_generation_prompt,
                                      const sterna_jinja_options *options, sterna_buffer *out,
                                      sterna_error *err);

#endif
