/* Opening a model with everything that belongs to it. The vocabulary is made by a thread of its own
 * beside the packing of the weights: it is a tenth of a load, and nothing else needs it. */
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "formats/shape.h"
#include "run/generate.h"
#include "run/text.h"

static sterna_status open_device(sterna_model *model, const sterna_model_options *options,
                                 sterna_error *err)
{
    if (options->threads < 0)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT, "%d threads make no sense; 0 takes all",
                           options->threads);
    sterna_status status =
        sterna_cpu_level(options->cpu ? options->cpu : "auto", &model->features, err);
    if (status) return status;
    model->threads = options->threads ? options->threads : sterna_cpu_count();
    const sterna_cpu_options cpu = {.threads = model->threads, .features = model->features};
    return sterna_device_cpu_open(&cpu, &model->device, err);
}

/* "eos_token_id" of generation_config.json, else of config.json: a number or a list. */
static void read_ends(const sterna_model_file *file, size_t vocabulary, sterna_model *model)
{
    const json_t *ids = json_object_get(file->generation_config, "eos_token_id");
    if (!ids) ids = json_object_get(file->config, "eos_token_id");
    size_t n = json_is_array(ids) ? json_array_size(ids) : 1;
    for (size_t i = 0; i < n && model->n_ends < STERNA_MAX_ENDS; i++) {
        const json_t *id = json_is_array(ids) ? json_array_get(ids, i) : ids;
        if (!json_is_integer(id)) continue;
        json_int_t value = json_integer_value(id);
        if (value >= 0 && (size_t)value < vocabulary) model->ends[model->n_ends++] = (int32_t)value;
    }
}

/* The vocabulary in the making, and the caller's progress, which stops when it fails. */
typedef struct vocabulary_load {
    const sterna_model_file *file;
    size_t size;
    sterna_tokenizer *tokenizer;
    sterna_status status;
    sterna_error err;
    atomic_bool failed;
    const sterna_model_options *options;
} vocabulary_load;

static void *load_vocabulary(void *context)
{
    vocabulary_load *v = context;
    v->status = sterna_load_tokenizer(v->file, v->size, &v->tokenizer, &v->err);
    if (v->status) atomic_store(&v->failed, true);
    return NULL;
}

static bool go_on(void *context, const char *stage, double done, double total)
{
    const vocabulary_load *v = context;
    if (atomic_load(&v->failed)) return false;
    const sterna_model_options *options = v->options;
    return !options->progress || options->progress(options->progress_context, stage, done, total);
}

/* What needs no vocabulary. */
static sterna_status load_weights(vocabulary_load *v, sterna_model *model, sterna_error *err)
{
    sterna_status status = sterna_load_chat_template(v->file, &model->chat_template, err);
    if (!status) status = open_device(model, v->options, err);
    if (status) return status;
    model->sampling = sterna_sampling_usual();
    sterna_sampling_recommended(v->file, &model->sampling);
    read_ends(v->file, v->size, model);
    const sterna_decoder_options decoder = {
        .arithmetic = v->options->arithmetic, .progress = go_on, .progress_context = v};
    return sterna_decoder_load(v->file, model->device, &decoder, &model->decoder, err);
}

static sterna_status load(const sterna_model_file *file, sterna_model *model,
                          const sterna_model_options *options, sterna_error *err)
{
    /* the configuration first: an unknown architecture is the sentence that helps most */
    sterna_config config = {0};
    sterna_status status = sterna_config_read(file, &config, err);
    vocabulary_load v = {.file = file, .size = config.vocabulary, .options = options};
    sterna_config_free(&config);
    if (status) return status;
    pthread_t thread;
    bool beside = (options->threads ? options->threads : sterna_cpu_count()) > 1 &&
                  pthread_create(&thread, NULL, load_vocabulary, &v) == 0;
    if (!beside) load_vocabulary(&v);
    if (!atomic_load(&v.failed)) status = load_weights(&v, model, err);
    if (beside) pthread_join(thread, NULL);
    model->tokenizer = v.tokenizer;
    if (!v.status) return status;
    if (err) *err = v.err;
    return v.status;
}

/* Loads `file` (closed in any case; NULL after a failure to open it, which `status` tells). */
static sterna_status open_model(const char *path, sterna_model_file *file, sterna_status status,
                                double start, const sterna_model_options *options,
                                sterna_model **out, sterna_error *err)
{
    if (status) return status;
    sterna_model *model = sterna_calloc(1, sizeof *model);
    if (model) pthread_mutex_init(&model->pass, NULL);
    if (model) model->path = sterna_strdup(path);
    status =
        model && model->path ? load(file, model, options, err) : sterna_fail_memory(err, "a model");
    sterna_model_file_close(file);
    sterna_memory_trim(); /* the directory of a file is large, and sessions are still to come */
    if (status) {
        sterna_run_close(model);
        return status;
    }
    model->load_s = sterna_now() - start;
    *out = model;
    return STERNA_OK;
}

sterna_status sterna_run_open(const char *path, const sterna_model_options *options,
                              sterna_model **out, sterna_error *err)
{
    const sterna_model_options none = {0};
    if (!options) options = &none;
    double start = sterna_now();
    sterna_file_options file_options = {.i2s_order = STERNA_I2S_X86};
    sterna_model_file *file = NULL;
    sterna_status status = STERNA_OK;
    if (options->i2s_order)
        status = sterna_i2s_order_from_name(options->i2s_order, &file_options.i2s_order, err);
    if (!status) status = sterna_model_file_open(path, &file_options, &file, err);
    return open_model(path, file, status, start, options, out, err);
}

static sterna_status type_named(const char *name, sterna_type usual, sterna_type *type,
                                sterna_error *err)
{
    *type = usual;
    if (!name || sterna_type_from_name(name, type)) return STERNA_OK;
    return sterna_fail(err, STERNA_ERROR_ARGUMENT, "type '%.40s' is unknown", name);
}

sterna_status sterna_run_open_shape(const char *name, const char *type, const char *head,
                                    const sterna_model_options *options, sterna_model **out,
                                    sterna_error *err)
{
    const sterna_model_options none = {0};
    const sterna_shape *shape = NULL;
    sterna_type weights = STERNA_TYPE_TQ2_0, ends = STERNA_TYPE_Q8_0;
    sterna_model_file *file = NULL;
    sterna_status status = sterna_shape_find(name, &shape, err);
    if (!status) status = type_named(type, shape->type, &weights, err);
    if (!status) status = type_named(head, STERNA_TYPE_Q8_0, &ends, err);
    if (!status) status = sterna_shape_open(shape, weights, ends, &file, err);
    double start = sterna_now(); /* making the weights is no part of loading them */
    return open_model(status ? name : file->path, file, status, start, options ? options : &none,
                      out, err);
}

void sterna_run_close(sterna_model *model)
{
    if (!model) return;
    sterna_decoder_free(model->decoder);
    sterna_tokenizer_free(model->tokenizer);
    sterna_free(model->chat_template);
    if (model->device) model->device->close(model->device);
    pthread_mutex_destroy(&model->pass);
    sterna_free(model->path);
    sterna_free(model);
}
