/* Sessions: one timeline of tokens over a loaded model. And what "a loaded model" is for everything
 * above the decoder: the decoder with its device, tokenizer and chat template.
 *
 * A session owns its key-value cache; the buffers of a forward pass belong to the model, whose
 * sessions share them. A session belongs to one thread at a time; several sessions of one model may
 * be used by several threads, their forward passes then take turns.
 */
#ifndef STERNA_RUN_SESSION_H
#define STERNA_RUN_SESSION_H

#include <pthread.h>
#include <stdatomic.h>

#include "model/model.h"
#include "text/tokenizer.h"

enum { STERNA_MAX_ENDS = 16 };

struct sterna_model {
    char *path;
    sterna_device *device;
    sterna_decoder *decoder;
    sterna_tokenizer *tokenizer;   /* NULL: the files hold none */
    char *chat_template;           /* NULL: the files hold none */
    sterna_sampling sampling;      /* the model's recommendation over the defaults */
    int32_t ends[STERNA_MAX_ENDS]; /* ids that end an answer beside those the tokenizer knows */
    size_t n_ends;
    double load_s;
    int threads;       /* asked for and settled */
    uint32_t features; /* of base/cpu.h, allowed */
    /* The buffers of forward passes: there while there are sessions, as large as the largest needs.
     * Whoever runs a pass, or reads what it left, holds `pass`. */
    pthread_mutex_t pass;
    sterna_workspace *workspace;
    uint32_t pass_tokens, pass_capacity;
    size_t sessions;
};

/* Opens and loads all of it (sterna_model_open of the public interface). The model file is closed
 * again: nothing depends on it afterwards. */
sterna_status sterna_run_open(const char *path, const sterna_model_options *options,
                              sterna_model **out, sterna_error *err);
/* The same for a known shape with random weights (sterna_model_open_shape). */
sterna_status sterna_run_open_shape(const char *name, const char *type, const char *head,
                                    const sterna_model_options *options, sterna_model **out,
                                    sterna_error *err);
void sterna_run_close(sterna_model *model);

struct sterna_session {
    sterna_model *model;
    sterna_kv *kv;
    bool joined; /* counts among the model's sessions */
    uint32_t capacity, length;
    uint32_t max_batch; /* tokens of one forward pass */
    int32_t *tokens;    /* [capacity] what it holds */
    float *logits;      /* [vocabulary] after the last token */
    bool has_logits;
    sterna_batch_place *places; /* [max_batch] */
    uint32_t *lengths;          /* [max_batch] */
    float **rows;               /* [max_batch] */
    atomic_bool cancelled;
};

sterna_status sterna_run_session_new(sterna_model *model, const sterna_session_options *options,
                                     sterna_session **out, sterna_error *err);
void sterna_run_session_free(sterna_session *session);
/* Appends tokens. `logits` may be NULL or [count][vocabulary]. All or nothing: ids and room are
 * checked first; a cancelled call leaves the session as it was. */
sterna_status sterna_run_append(sterna_session *session, const int32_t *ids, size_t count,
                                float *logits, sterna_error *err);
/* The same for callers that run many: a cancellation that came before the call counts too. */
sterna_status sterna_run_extend(sterna_session *session, const int32_t *ids, size_t count,
                                sterna_error *err);
/* Called with the logits [vocabulary] after token `index` of the appended ones, in order. */
typedef void (*sterna_on_logits)(void *context, size_t index, const float *logits);
/* As sterna_run_append; the logits of tokens first..count-1 are shown to `on_logits`, which may not
 * call the model's sessions, and not kept. */
sterna_status sterna_run_append_each(sterna_session *session, const int32_t *ids, size_t count,
                                     size_t first, sterna_on_logits on_logits, void *context,
                                     sterna_error *err);
/* One token to each of `count` sessions of one model in one forward pass; a session may not occur
 * twice. */
sterna_status sterna_run_step(sterna_session *const *sessions, const int32_t *ids, size_t count,
                              sterna_error *err);
void sterna_run_rewind(sterna_session *session, size_t length);
void sterna_run_cancel(sterna_session *session);

#endif
