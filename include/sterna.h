/* sterna.h: the public interface of libsterna.
 *
 * Conventions. Functions that can fail return a sterna_status (0 = success) and take a
 * `sterna_error *err` last (NULL if the caller does not want the sentence). Output parameters are
 * set only on success. Objects made by *_open or *_new are released by the matching
 * *_close or *_free, which accept NULL. Text is UTF-8. Strings handed out as `char **` are released
 * with sterna_string_free. A model is immutable and may be shared by threads; a session belongs to
 * one thread at a time.
 */
#ifndef STERNA_H
#define STERNA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STERNA_VERSION_MAJOR 0
#define STERNA_VERSION_MINOR 1
#define STERNA_VERSION_PATCH 0

#if defined(__GNUC__)
#define STERNA_API __attribute__((visibility("default")))
#else
#define STERNA_API
#endif

/* ---- status ---- */

typedef enum sterna_status {
    STERNA_OK = 0,
    STERNA_ERROR_ARGUMENT,    /* the caller asked for something that makes no sense */
    STERNA_ERROR_IO,          /* a file could not be read or written */
    STERNA_ERROR_FORMAT,      /* a file, template or JSON text is malformed */
    STERNA_ERROR_UNSUPPORTED, /* well-formed, but of a kind that this build does not know */
    STERNA_ERROR_LIMIT,       /* larger than a stated limit */
    STERNA_ERROR_MEMORY,      /* out of memory */
    STERNA_ERROR_CANCELLED,   /* a callback asked to stop */
    STERNA_ERROR_INTERNAL     /* a bug in Sterna */
} sterna_status;

typedef struct sterna_error {
    sterna_status status;
    char message[1024]; /* one sentence, NUL-terminated */
} sterna_error;

/* "0.1.0" and one word for a status. Static strings. */
STERNA_API const char *sterna_version(void);
STERNA_API const char *sterna_status_name(sterna_status status);
/* Releases what the library hands out through a `char **` or `int32_t **`. NULL accepted. */
STERNA_API void sterna_free(void *memory);

/* Called now and then during long work, from the calling thread. `stage` is a short phrase; done <=
 * total in the unit that suits the stage. Return false to cancel (the work ends with
 * STERNA_ERROR_CANCELLED). */
typedef bool (*sterna_progress)(void *context, const char *stage, double done, double total);

/* ---- models ---- */

typedef struct sterna_model sterna_model;
typedef struct sterna_session sterna_session;
typedef struct sterna_tokenizer sterna_tokenizer;

typedef enum sterna_arithmetic {
    STERNA_ARITHMETIC_AUTO, /* as the model was trained, else int8 activations per weight group */
    STERNA_ARITHMETIC_FLOAT /* float32 weights and activations: slow, the accuracy reference */
} sterna_arithmetic;

/* Zero-initialise; zero is the default of every field. */
typedef struct sterna_model_options {
    const char *cpu; /* instruction-set cap: "auto" (NULL), "ref", "avx2", "avx512vnni", ... */
    int threads;     /* 0 = all that this process may use */
    sterna_arithmetic arithmetic;
    const char *i2s_order; /* byte order of I2_S tensors: "x86" (NULL), "x86-rows4", "arm" */
    sterna_progress progress;
    void *progress_context;
} sterna_model_options;

/* Loads a GGUF file, a Hugging Face folder or a llama2.c .bin: all or nothing. `options` may be
 * NULL. */
STERNA_API sterna_status sterna_model_open(const char *path, const sterna_model_options *options,
                                           sterna_model **out, sterna_error *err);
/* A model of a known shape ("bitnet-2b4t", "llama3-8b"; sterna_shapes lists them) with random
 * weights and no tokenizer, to measure with. `type`: the ternary layout that its matrices would
 * have in a file, by which it has a scale per tensor ("I2_S"), per 256 ("TQ2_0", "TQ1_0"), 128
 * ("PQ2_0", "PTQ1_0") or 64 weights ("Q2_0"); NULL = as the shape's models have. `head`: type of
 * embedding and head: "Q8_0" (NULL), "Q6_K", "F16". Fails when it would not fit into the free
 * memory. */
STERNA_API sterna_status sterna_model_open_shape(const char *shape, const char *type,
                                                 const char *head,
                                                 const sterna_model_options *options,
                                                 sterna_model **out, sterna_error *err);
/* The known shapes as a JSON object: shapes: [{name, family, parameters, layers, width, ffn, heads,
 * kv_heads, head_dim, vocabulary, context, rope_base, tied, type}]. */
STERNA_API sterna_status sterna_shapes(char **json, sterna_error *err);
/* Close the sessions of a model before it. */
STERNA_API void sterna_model_close(sterna_model *model);
/* Borrowed from the model: its tokenizer, its chat template; NULL when the files hold none. */
STERNA_API const sterna_tokenizer *sterna_model_tokenizer(const sterna_model *model);
STERNA_API const char *sterna_model_chat_template(const sterna_model *model);
STERNA_API uint32_t sterna_model_vocabulary(const sterna_model *model); /* logits per token */
STERNA_API uint32_t sterna_model_context(const sterna_model *model);    /* trained length, tokens */
/* What was loaded and how it runs, as a JSON object: name, family, cpu, threads, device, load_s,
 * resident_bytes, tensors: [{name, type, layout, kernel}]. */
STERNA_API sterna_status sterna_model_report(const sterna_model *model, char **json,
                                             sterna_error *err);

/* ---- sessions: one timeline of tokens ---- */

typedef enum sterna_cache_type {
    STERNA_CACHE_F16,
    STERNA_CACHE_F32,
    STERNA_CACHE_Q8
} sterna_cache_type;

typedef struct sterna_session_options {
    uint32_t context; /* tokens it can hold; 0 = the smaller of the model's length and 4096 */
    sterna_cache_type cache;
} sterna_session_options;

STERNA_API sterna_status sterna_session_new(sterna_model *model,
                                            const sterna_session_options *options,
                                            sterna_session **out, sterna_error *err);
STERNA_API void sterna_session_free(sterna_session *session);
/* Appends tokens (ids in [0, vocabulary)). `logits` (NULL or [count][vocabulary]) receives those
 * after every token. Fails with STERNA_ERROR_LIMIT, the session unchanged, when the context is too
 * small. */
STERNA_API sterna_status sterna_session_append(sterna_session *session, const int32_t *ids,
                                               size_t count, float *logits, sterna_error *err);
/* Logits after the last token, [vocabulary], or NULL when it holds none. Valid until the next call.
 */
STERNA_API const float *sterna_session_logits(const sterna_session *session);
STERNA_API size_t sterna_session_length(const sterna_session *session);
/* The ids it holds, [length]. Valid until the next call that changes the session. */
STERNA_API const int32_t *sterna_session_tokens(const sterna_session *session);
STERNA_API size_t sterna_session_capacity(const sterna_session *session);
/* Forgets all but the first `length` tokens. */
STERNA_API void sterna_session_rewind(sterna_session *session, size_t length);
/* Appends one token to each of `count` sessions of one model in a single forward pass. */
STERNA_API sterna_status sterna_sessions_step(sterna_session *const *sessions, const int32_t *ids,
                                              size_t count, sterna_error *err);

/* ---- generation ---- */

typedef struct sterna_sampling {
    float temperature;      /* 0 = greedy */
    int32_t top_k;          /* 0 = off */
    float top_p;            /* 1 = off */
    float min_p;            /* 0 = off */
    float repeat_penalty;   /* 1 = off */
    uint32_t repeat_window; /* last tokens that are penalised */
    uint64_t seed;          /* the same seed gives the same text */
} sterna_sampling;

/* The model's own recommendation (generation_config.json, GGUF metadata) over temperature 0.8,
 * top_k 40, top_p 0.95, min_p 0.05, repeat_penalty 1, repeat_window 64, seed 0. */
STERNA_API void sterna_sampling_default(const sterna_model *model, sterna_sampling *sampling);

/* A piece of the answer (whole UTF-8 characters, not NUL-terminated). Return false to stop. */
typedef bool (*sterna_on_text)(void *context, const char *text, size_t size);

typedef struct sterna_generate_options {
    sterna_sampling sampling;
    uint32_t n_predict;      /* most tokens to generate; 0 = until the context is full */
    const char *const *stop; /* the answer ends before any of these texts */
    size_t stop_count;
    bool ignore_end;        /* go on after end-of-turn tokens */
    sterna_on_text on_text; /* may be NULL */
    void *context;
    char **text; /* NULL, or receives the whole answer (sterna_free) */
} sterna_generate_options;

typedef enum sterna_stop_reason {
    STERNA_STOP_END,    /* the model ended its turn */
    STERNA_STOP_TEXT,   /* a stop text came */
    STERNA_STOP_LENGTH, /* n_predict or the context is used up */
    STERNA_STOP_CALLER  /* on_text returned false, or sterna_session_cancel */
} sterna_stop_reason;

typedef struct sterna_generate_result {
    size_t prompt_tokens, tokens;
    double prompt_s, decode_s;
    sterna_stop_reason reason;
} sterna_generate_result;

/* Appends the prompt and then tokens that it samples. `result` may be NULL. */
STERNA_API sterna_status sterna_generate(sterna_session *session, const int32_t *prompt,
                                         size_t count, const sterna_generate_options *options,
                                         sterna_generate_result *result, sterna_error *err);
/* Stops a running sterna_generate or sterna_session_append at the next token or chunk. Safe from
 * other threads and signal handlers. */
STERNA_API void sterna_session_cancel(sterna_session *session);

/* ---- text ---- */

/* From anything that holds a vocabulary: GGUF, Hugging Face folder, tokenizer.json, SentencePiece
 * .model, tiktoken list, llama2.c tokenizer.bin. Free what you opened; a model's own tokenizer is
 * the model's. */
STERNA_API sterna_status sterna_tokenizer_load(const char *path, sterna_tokenizer **out,
                                               sterna_error *err);
STERNA_API void sterna_tokenizer_free(sterna_tokenizer *tokenizer);

typedef enum sterna_token_flags {
    STERNA_TOKENS_ADD_SPECIAL = 1,  /* BOS/EOS where the model's files ask for them */
    STERNA_TOKENS_PARSE_SPECIAL = 2 /* special-token text becomes those tokens */
} sterna_token_flags;

STERNA_API sterna_status sterna_tokenize(const sterna_tokenizer *tokenizer, const char *text,
                                         size_t size, int flags, int32_t **ids, size_t *count,
                                         sterna_error *err);
/* Ids to NUL-terminated text; *size (may be NULL) counts its bytes. Special tokens give their text
 * unless `skip_special`. */
STERNA_API sterna_status sterna_detokenize(const sterna_tokenizer *tokenizer, const int32_t *ids,
                                           size_t count, bool skip_special, char **text,
                                           size_t *size, sterna_error *err);

/* Renders a chat template as transformers does. `source`: a model file, folder or .jinja file.
 * messages, tools, variables: JSON texts (an array, an array or NULL, an object or NULL). */
STERNA_API sterna_status sterna_template_render(const char *source, const char *messages,
                                                const char *tools, const char *variables,
                                                bool add_generation_prompt, char **out,
                                                sterna_error *err);
/* The same with a loaded model's template. */
STERNA_API sterna_status sterna_model_render_chat(const sterna_model *model, const char *messages,
                                                  const char *tools, const char *variables,
                                                  bool add_generation_prompt, char **out,
                                                  sterna_error *err);
/* The rendered conversation as ids, ready for sterna_generate: what the template writes becomes
 * control tokens, the same text inside messages, tools or variables never does. *ids: sterna_free.
 */
STERNA_API sterna_status sterna_model_encode_chat(const sterna_model *model, const char *messages,
                                                  const char *tools, const char *variables,
                                                  bool add_generation_prompt, int32_t **ids,
                                                  size_t *count, sterna_error *err);

/* ---- evaluation ---- */

typedef struct sterna_eval_options {
    uint32_t context; /* window, tokens; 0 = 512 */
    uint32_t
        stride;     /* 0 = windows without overlap, second half scored; else sliding by this much */
    uint32_t limit; /* most windows or tasks; 0 = all */
    sterna_progress progress;
    void *progress_context;
} sterna_eval_options;

typedef struct sterna_perplexity_result {
    double perplexity, nll,
        standard_error;     /* nll: mean per scored token, nats; its standard error */
    size_t tokens, windows; /* scored */
    double kl, kl_standard_error,
        agreement; /* against the other model: mean KL(other || model), share of equal top tokens */
    double other_perplexity; /* of the other model on the same tokens */
} sterna_perplexity_result;

/* Perplexity of a text; with `other` (may be NULL, same vocabulary) also the divergence from it. */
STERNA_API sterna_status sterna_perplexity(sterna_model *model, sterna_model *other,
                                           const char *text, size_t size,
                                           const sterna_eval_options *options,
                                           sterna_perplexity_result *result, sterna_error *err);

typedef struct sterna_task_result {
    size_t tasks;
    double accuracy, standard_error; /* by total log-likelihood; LAMBADA: greedy match */
    double accuracy_normalised,
        standard_error_normalised; /* by log-likelihood per byte of the choice */
    double perplexity;             /* LAMBADA: of the continuations */
} sterna_task_result;

/* Lines {query, choices, gold} or {context, continuation}. */
STERNA_API sterna_status sterna_tasks(sterna_model *model, const char *path,
                                      const sterna_eval_options *options,
                                      sterna_task_result *result, sterna_error *err);

typedef struct sterna_bench_options {
    const uint32_t *prefill;
    size_t prefill_count; /* prompt lengths; none = 128, 512 */
    const uint32_t *contexts;
    size_t
        contexts_count; /* tokens that stand before the decoded ones; none = those of 0, 512, 4096
                           and 16384 that the model was trained for and that take 20 s to reach */
    const uint32_t *batches;
    size_t batches_count;   /* sequences that decode together, each behind contexts[0] tokens */
    uint32_t decode_tokens; /* per repetition; 0 = 32 */
    uint32_t repetitions;   /* 0 = 5, beside one that warms up and is not counted */
    sterna_cache_type cache;
    sterna_progress progress;
    void *progress_context;
} sterna_bench_options;

/* Speed of a loaded model, which nobody else may use meanwhile, as a JSON object: model, family,
 * threads, cpu, level, load_s, first_token_s (load and a pass over 8 tokens), resident_bytes
 * (weights), cache_bytes (keys and values of the longest context), rss_bytes (the process's peak);
 * limits measured in the same run: read_gb_s (memory), int8_gop_s; prefill: [{tokens, tok_per_s,
 * slowest, fastest, gop_per_s, peak_percent, matmul_percent, attention_percent}], decode:
 * [{context, sequences, tokens, tok_per_s, slowest, fastest, bytes_per_token, gb_per_s,
 * read_percent, matmul_percent, attention_percent}]; contexts_left_out: usual ones that would have
 * taken too long. tok_per_s is the median; slowest and fastest are tokens/s as well, of all
 * sequences together. gop_per_s counts the time in matrix products alone and peak_percent holds it
 * against int8_gop_s; gb_per_s counts all of the time, read_percent holds it against read_gb_s. */
STERNA_API sterna_status sterna_bench(sterna_model *model, const sterna_bench_options *options,
                                      char **json, sterna_error *err);

/* ---- files ---- */

/* What a file is, without loading it, as a JSON object: container, family, file_bytes, parameters,
 * bits_per_weight, ternary_bits_per_weight, tensors, tokenizer, ..., runs (how each part will run),
 * missing; of a quantized file also receipt: what matters of the one beside it. */
STERNA_API sterna_status sterna_inspect(const char *path, const sterna_model_options *options,
                                        char **json, sterna_error *err);

typedef struct sterna_convert_options {
    const char *type; /* ternary layout for ternary tensors: "TQ2_0", ...; NULL = as they are */
    const char *float_type; /* for the other matrices: "F32", "F16", "Q8_0"; NULL = as they are */
    const char *i2s_order;
    bool round_scales; /* float32 scales (I2_S, BitNet) may be rounded to float16, by 2^-11 */
    sterna_progress progress;
    void *progress_context;
} sterna_convert_options;

/* Container by the output's name: .gguf, or .safetensors (the weights alone). Exact for ternary
 * tensors, or it fails and says why. *report (may be NULL) is a JSON object. */
STERNA_API sterna_status sterna_convert(const char *in, const char *out,
                                        const sterna_convert_options *options, char **report,
                                        sterna_error *err);

/* How a model becomes ternary. `sterna` looks at calibration text: two streams, the full model's
 * and the ternary one's, go through the layers, and every matrix is fitted to the inputs that it
 * will really get (docs/QUANTIZATION.md). The others look at the weights alone. */
typedef struct sterna_quantize_options {
    const char *method; /* "sterna" (NULL), "pt2", "itf", "absmean", "twn" */
    const char *type;   /* layout: "native" (NULL), "TQ2_0", "TQ1_0", "Q2_0", "PQ2_0", "PTQ1_0" */
    const char *scales; /* "group" (NULL: as the layout has), "row", "tensor" */
    /* what does not become ternary: "embed", "head", "vision" and names of tensors, in which * and
     * ? stand for any text and any letter, separated by commas; NULL = "embed,head,vision" */
    const char *keep;
    /* their type: "auto" (NULL: byte for byte what is quantised in the source, floats as Q8_0),
     * "source" (byte for byte), "Q8_0", "F16"; a folder holds floats, F16 unless told "source" */
    const char *keep_type;
    const char *recipe; /* a recipe, or a receipt with one: takes all its decisions again; what is
                           set here beside it stays */
    bool asymmetric;    /* a shift beside every scale (not absmean, twn) */
    int threads;
    sterna_progress progress;
    void *progress_context;
    const char *const *evaluation; /* texts to measure the result on; none = three built-in ones */
    size_t evaluation_count;
    /* Called before long work, with progress_context: a sentence that people may want to know. */
    void (*notice)(void *context, const char *sentence);
    bool no_evaluation;    /* measure perplexity on nothing */
    bool no_receipt_files; /* leave out OUT.receipt.json and OUT.receipt.html */
    /* method sterna only */
    const char *calibration; /* text, or JSON lines with a "text" each (.jsonl); NULL = built in */
    uint32_t tokens;         /* of calibration, in windows of 512; 0 = 16k to 128k by size */
    uint32_t group; /* columns that share a scale: a multiple of the layout's; 0 = that; native: 512
                       where bits are spent, else 128 */
    bool portable;  /* no transform of the inputs, so that any engine can run the file; transforms
                       that fold into the matrices instead */
    int64_t tune;   /* tokens to tune all scales and norms with, towards the full model; -1 = no
                       tuning; 0 = the usual 128k, halved until they take ten minutes at most;
                       none where fewer than 16k would be left, or memory is short */
    float drift, residual; /* how much of earlier errors a matrix takes back: of its input, of the
                              residual stream; 0 = 0.5, negative = nothing */
    float damping; /* of the inputs' second moments; 0 = 0.2 / sqrt(tokens a column) (pt2: 0.01) */
    const char *stages; /* of the fit, to compare: "balance,order,columns,refit,descent" (NULL) */
    float outliers;     /* share of every matrix's columns that stay int8 */
    float bits;         /* a weight of the layers' matrices: some get a second plane, Q4_0 or
                           Q8_0, those that need it most; 0 = native: 1.75, unless group, outliers
                           or asymmetric are set; else, and for other types, all the same */
    bool resume;        /* go on with an interrupted run that left OUT.resume; the same settings are
                           needed, and the same file comes out */
} sterna_quantize_options;

/* Makes a ternary model, and a receipt in two files beside it: OUT.receipt.json, and
 * OUT.receipt.html to look at. *receipt (may be NULL) is the first: settings, calibration, bytes,
 * evaluation: [{text, before, after, kl, ...}], times, peak memory, honest totals, and per tensor
 * type, bits, relative error and shares of -1, 0 and +1. A model that was written stays when the
 * evaluation fails; the receipt says why there is none. In an MPI build under mpirun all processes
 * make the call together; the first one writes, and the others get a NULL receipt. */
STERNA_API sterna_status sterna_quantize(const char *in, const char *out,
                                         const sterna_quantize_options *options, char **receipt,
                                         sterna_error *err);

/* Self-test on a model: every kernel this machine can run against the reference, on this model's
 * own weights. *report: JSON with checks: [{name, ok, detail}]. An unequal result is
 * STERNA_ERROR_INTERNAL. */
STERNA_API sterna_status sterna_verify(const char *path, const sterna_model_options *options,
                                       char **report, sterna_error *err);

#ifdef __cplusplus
}
#endif
#endif
