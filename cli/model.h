/* What the commands that load a model have in common: their options and the loading. */
#ifndef STERNA_CLI_MODEL_H
#define STERNA_CLI_MODEL_H

#include "options.h"
#include "progress.h"
#include "sterna.h"

typedef struct cli_model_settings {
    uint64_t threads;
    const char *cpu, *i2s_order;
    bool exact; /* float arithmetic */
} cli_model_settings;

enum { CLI_THREADS_MAX = 1024 };

/* Rows of an option table; the settings struct holds a cli_model_settings as `model`. */
#define CLI_THREADS_OPTION(settings)                                                               \
    {                                                                                              \
        "threads", 't', CLI_INTEGER, "N", 0, CLI_THREADS_MAX, offsetof(settings, model.threads),   \
            "threads that compute; 0 takes all that this process may use (default 0)"              \
    }
#define CLI_I2S_OPTION(settings)                                                                   \
    {                                                                                              \
        "i2s-order", 0, CLI_CHOICE, "x86|x86-rows4|arm", 0, 0,                                     \
            offsetof(settings, model.i2s_order),                                                   \
            "byte order of I2_S tensors, which such files do not tell (default x86)"               \
    }
#define CLI_MODEL_OPTIONS(settings)                                                                \
    CLI_THREADS_OPTION(settings),                                                                  \
        {"cpu",                                                                                    \
         0,                                                                                        \
         CLI_TEXT,                                                                                 \
         "SET",                                                                                    \
         0,                                                                                        \
         0,                                                                                        \
         offsetof(settings, model.cpu),                                                            \
         "use no newer instruction set than this: ref, avx2, avx512vnni, ... (default auto)"},     \
        {"float",                                                                                  \
         0,                                                                                        \
         CLI_FLAG,                                                                                 \
         NULL,                                                                                     \
         0,                                                                                        \
         0,                                                                                        \
         offsetof(settings, model.exact),                                                          \
         "float32 weights and activations: slow, the reference for accuracy"},                     \
        CLI_I2S_OPTION(settings)

#define CLI_CACHE_OPTION(settings, member)                                                         \
    {                                                                                              \
        "kv", 0, CLI_CHOICE, "f16|f32|q8", 0, 0, offsetof(settings, member),                       \
            "numbers that the key-value cache holds (default f16)"                                 \
    }

/* What --kv names. */
sterna_cache_type cli_cache_type(const char *name);
/* The options for the library; progress goes to `progress` (NULL none). */
sterna_model_options cli_model_options(const cli_model_settings *settings, cli_progress *progress);
/* Opens a model with a progress bar. Returns the exit status, after a sentence. */
int cli_open_model(const char *path, const cli_model_settings *settings, bool quiet,
                   sterna_model **out);

#endif
