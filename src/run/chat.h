/* Conversations as a model wants to read them: its chat template applied, as text or as ids. */
#ifndef STERNA_RUN_CHAT_H
#define STERNA_RUN_CHAT_H

#include "run/session.h"

typedef struct sterna_chat {
    const char *messages;  /* JSON array of objects with a role */
    const char *tools;     /* JSON array, or NULL */
    const char *variables; /* JSON object of further names for the template, or NULL */
    bool add_generation_prompt;
} sterna_chat;

/* `source` is a model file, a Hugging Face folder, or a template's own file (any other name). */
sterna_status sterna_run_render_path(const char *source, const sterna_chat *chat, char **out,
                                     sterna_error *err);
sterna_status sterna_run_render_chat(const sterna_model *model, const sterna_chat *chat, char **out,
                                     sterna_error *err);
/* Ids of the rendered conversation. Control tokens come from the template alone: their text inside
 * messages, tools and variables stays text. */
sterna_status sterna_run_encode_chat(const sterna_model *model, const sterna_chat *chat,
                                     int32_t **ids, size_t *count, sterna_error *err);

#endif
