/* What the loaders of text files share. */
#ifndef STERNA_TEXT_LOAD_INTERNAL_H
#define STERNA_TEXT_LOAD_INTERNAL_H

#include <jansson.h>

#include "text/tokenizer_internal.h"

/* Appends the decoded bytes (RFC 4648, padding optional); false when a character does not belong.
 */
bool sterna_base64(const char *text, size_t size, sterna_buffer *out);

/* The trie of a unigram or longest-match model from the tokens, and the score of the unknown
 * character: 10 below the worst normal token. */
sterna_status sterna_tokenizer_make_unigram(sterna_tokenizer *t, sterna_error *err);

/* The sections of a tokenizer.json (json_pipeline.c). A JSON null leaves things as they are. */
sterna_status sterna_json_normalizer(sterna_tokenizer *t, const json_t *section, sterna_error *err);
sterna_status sterna_json_pretokenizer(sterna_tokenizer *t, const json_t *section,
                                       sterna_error *err);
sterna_status sterna_json_decoder(sterna_tokenizer *t, const json_t *section, sterna_error *err);
sterna_status sterna_json_postprocessor(sterna_tokenizer *t, const json_t *section,
                                        sterna_error *err);

/* A string member with its length, or {NULL, 0}; and a boolean one. */
sterna_text sterna_json_text(const json_t *object, const char *key);
bool sterna_json_flag(const json_t *object, const char *key, bool otherwise);

#endif
