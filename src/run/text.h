/* The text side of a model file: its tokenizer and its chat template, from whichever container. */
#ifndef STERNA_RUN_TEXT_H
#define STERNA_RUN_TEXT_H

#include "formats/model_file.h"
#include "text/tokenizer.h"

/* *out = NULL (and STERNA_OK) when the files hold no vocabulary; fails when they hold one that
 * cannot be read. `vocabulary` is the model's number of logits: the tokenizer may not be larger;
 * 0 = no model. */
sterna_status sterna_load_tokenizer(const sterna_model_file *file, size_t vocabulary,
                                    sterna_tokenizer **out, sterna_error *err);
/* From any path that holds a vocabulary: GGUF (a vocabulary-only one too), Hugging Face folder,
 * tokenizer.json, SentencePiece .model, tiktoken list, tokenizer.bin. */
sterna_status sterna_load_tokenizer_path(const char *path, sterna_tokenizer **out,
                                         sterna_error *err);
/* The chat template's source, or *out = NULL when there is none. Release with sterna_free. */
sterna_status sterna_load_chat_template(const sterna_model_file *file, char **out,
                                        sterna_error *err);

#endif
