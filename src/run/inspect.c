#include "run/inspect.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "run/text.h"

static const char *const containers[] = {"GGUF", "Hugging Face", "llama2.c"};

/* Sums over the tensors of one type. */
typedef struct type_sum {
    uint64_t tensors, weights, bytes;
} type_sum;

static uint64_t elements(const sterna_tensor *tensor)
{
    return tensor->dims[0] * sterna_tensor_rows(tensor);
}

static json_t *describe_tensor(const sterna_tensor *tensor)
{
    json_t *shape = json_array();
    for (int i = 0; i < tensor->n_dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)tensor->dims[i]));
    json_t *object = json_pack("{s:s, s:s, s:o, s:I}", "name", tensor->name, "type",
                               sterna_type_describe(tensor->type)->name, "shape", shape, "bytes",
                               (json_int_t)tensor->bytes);
    if (tensor->type == STERNA_TYPE_I2_S) {

        json_object_set_new(object, "byte_order",
                            json_string(sterna_i2s_order_name(tensor->order)));
    }
    return object;
}

static void add_types(const sterna_model_file *file, json_t *out)
{
    type_sum sums[STERNA_TYPES] = {0}, ternary = {0}, all = {0};
    for (size_t i = 0; i < file->n_tensors; i++) {
        const sterna_tensor *tensor = &file->tensors[i];
        type_sum *parts[] = {&sums[tensor->type], &all, &ternary};
        bool is_ternary = sterna_type_describe(tensor->type)->kind == STERNA_KIND_TERNARY;
        for (int p = 0; p < 2 + is_ternary; p++) {
            parts[p]->tensors++;
            parts[p]->weights += elements(tensor);
            parts[p]->bytes += tensor->bytes;
        }
    }
    json_t *types = json_array();
    for (int type = 0; type < STERNA_TYPES; type++) {
        const type_sum *sum = &sums[type];
        if (!sum->tensors) continue;
        const sterna_type_info *info = sterna_type_describe((sterna_type)type);
        json_array_append_new(types, json_pack("{s:s, s:I, s:I, s:I, s:f}", "type", info->name,
                                               "tensors", (json_int_t)sum->tensors, "weights",
                                               (json_int_t)sum->weights, "bytes",
                                               (json_int_t)sum->bytes, "bits_per_weight",
                                               8.0 * (double)sum->bytes / (double)sum->weights));
    }
    json_object_set_new(out, "parameters", json_integer((json_int_t)all.weights));
    json_object_set_new(out, "bits_per_weight",
                        all.weights ? json_real(8.0 * (double)file->bytes / (double)all.weights)
                                    : json_null());
    json_object_set_new(out, "ternary_parameters", json_integer((json_int_t)ternary.weights));
    json_object_set_new(out, "ternary_bits_per_weight",
                        ternary.weights
                            ? json_real(8.0 * (double)ternary.bytes / (double)ternary.weights)
                            : json_null());
    json_object_set_new(out, "types", types);
}

static void add_problem(json_t *problems, const sterna_error *err)
{
    json_array_append_new(problems, json_string(err->message));
}

/* False when the configuration cannot be read: then nothing can be planned. */
static bool add_config(const sterna_model_file *file, json_t *out, json_t *problems)
{
    sterna_config config = {0};
    sterna_error err = {0};
    if (sterna_config_read(file, &config, &err)) {
        json_object_set_new(out, "family", json_null());
        add_problem(problems, &err);
        return false;
    }
    json_object_set_new(out, "family", json_string(sterna_family_name(config.family)));
    json_object_set_new(out, "shape",
                        json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "layers",
                                  config.n_layers, "width", config.width, "ffn_width",
                                  config.layers[0].ffn_width, "heads", config.heads, "kv_heads",
                                  config.kv_heads, "head_dim", config.head_dim, "vocabulary",
                                  config.vocabulary, "context", config.context));
    sterna_config_free(&config);
    return true;
}

static void note_missing(void *context, const char *name)
{
    json_array_append_new(context, json_string(name));
}

/* Matrices that will run alike: one entry per type in the file, layout and kernel. */
static json_t *describe_plan(const sterna_decoder *decoder)
{
    const sterna_loaded_weight *weights;
    size_t n = sterna_decoder_weights(decoder, &weights);
    json_t *plan = json_array();
    for (size_t i = 0; i < n; i++) {
        const char *type = sterna_type_describe(weights[i].type)->name;
        json_t *entry, *found = NULL;
        size_t at;
        json_array_foreach(plan, at, entry)
        {
            if (strcmp(json_string_value(json_object_get(entry, "type")), type) == 0 &&
                strcmp(json_string_value(json_object_get(entry, "layout")),
                       weights[i].info.layout) == 0)
                found = entry;
        }
        if (!found) {
            found = json_pack("{s:s, s:s, s:s, s:i, s:i}", "type", type, "layout",
                              weights[i].info.layout, "kernel", weights[i].info.kernel, "matrices",
                              0, "resident_bytes", 0);
            json_array_append_new(plan, found);
        }
        json_integer_set(json_object_get(found, "matrices"),
                         json_integer_value(json_object_get(found, "matrices")) + 1);
        json_integer_set(json_object_get(found, "resident_bytes"),
                         json_integer_value(json_object_get(found, "resident_bytes")) +
                             (json_int_t)weights[i].info.bytes);
    }
    return plan;
}

/* What is missing, and how each kind of matrix would run: a load without its weights. */
static void add_plan(const sterna_model_file *file, const sterna_model_options *options,
                     uint32_t features, json_t *out, json_t *problems)
{
    json_t *missing = json_array();
    const sterna_cpu_options cpu = {.features = features, .plan = true};
    const sterna_decoder_options plan = {
        .arithmetic = options->arithmetic, .on_missing = note_missing, .missing_context = missing};
    sterna_device *device = NULL;
    sterna_decoder *decoder = NULL;
    sterna_error err = {0};
    if (sterna_device_cpu_open(&cpu, &device, &err) ||
        sterna_decoder_load(file, device, &plan, &decoder, &err))
        add_problem(problems, &err);
    json_object_set_new(out, "missing", missing);
    if (decoder) {
        json_object_set_new(out, "runs", describe_plan(decoder));
        json_object_set_new(out, "resident_bytes",
                            json_integer((json_int_t)sterna_decoder_bytes(decoder)));
    }
    sterna_decoder_free(decoder);
    if (device) device->close(device);
}

static void add_text(const sterna_model_file *file, json_t *out, json_t *problems)
{
    sterna_tokenizer *tokenizer = NULL;
    char *template_text = NULL;
    sterna_error err = {0};
    if (sterna_load_tokenizer(file, 0, &tokenizer, &err)) add_problem(problems, &err);
    if (sterna_load_chat_template(file, &template_text, &err)) add_problem(problems, &err);
    json_object_set_new(out, "tokenizer",
                        tokenizer ? json_string(sterna_tokenizer_describe(tokenizer))
                                  : json_null());
    json_object_set_new(out, "tokens",
                        tokenizer ? json_integer((json_int_t)sterna_tokenizer_size(tokenizer))
                                  : json_null());
    json_object_set_new(out, "chat_template", json_boolean(template_text != NULL));
    sterna_tokenizer_free(tokenizer);
    sterna_free(template_text);
}

static json_t *describe_model(const sterna_model_file *file, const sterna_model_options *options,
                              uint32_t features)
{
    json_t *out = json_object(), *problems = json_array(), *tensors = json_array();
    json_object_set_new(out, "file", json_string(file->path));
    json_object_set_new(out, "container", json_string(containers[file->container]));
    if (file->container == STERNA_GGUF)
        json_object_set_new(out, "gguf_version", json_integer(file->gguf_version));
    json_object_set_new(out, "file_bytes", json_integer((json_int_t)file->bytes));
    if (file->n_tensors) {
        if (add_config(file, out, problems)) add_plan(file, options, features, out, problems);
    } else {
        json_object_set_new(out, "family", json_null());
    }
    add_types(file, out);
    add_text(file, out, problems);
    json_object_set_new(out, "cpu", json_string(sterna_cpu_level_name(features)));
    json_t *receipt = sterna_inspect_receipt(file->path);
    if (receipt) json_object_set_new(out, "receipt", receipt);
    for (size_t i = 0; i < file->n_tensors; i++)
        json_array_append_new(tensors, describe_tensor(&file->tensors[i]));
    json_object_set_new(out, "tensors", tensors);
    json_object_set_new(out, "problems", problems);
    return out;
}

/* A file that holds a vocabulary and nothing else. */
static sterna_status describe_vocabulary(const char *path, json_t **out, sterna_error *err)
{
    sterna_tokenizer *tokenizer = NULL;
    sterna_status status = sterna_load_tokenizer_path(path, &tokenizer, err);
    if (status) return status;
    *out = json_pack("{s:s, s:s, s:n, s:I, s:n, s:n, s:s, s:I, s:[]}", "file", path, "container",
                     "vocabulary", "family", "parameters", (json_int_t)0, "bits_per_weight",
                     "ternary_bits_per_weight", "tokenizer", sterna_tokenizer_describe(tokenizer),
                     "tokens", (json_int_t)sterna_tokenizer_size(tokenizer), "problems");
    sterna_tokenizer_free(tokenizer);
    return STERNA_OK;
}

sterna_status sterna_run_inspect(const char *path, const sterna_model_options *options, char **json,
                                 sterna_error *err)
{
    sterna_file_options file_options = {0};
    uint32_t features = 0;
    sterna_status status =
        sterna_i2s_order_from_name(options->i2s_order, &file_options.i2s_order, err);
    if (!status) status = sterna_cpu_level(options->cpu, &features, err);
    if (status) return status;
    sterna_model_file *file = NULL;
    json_t *out = NULL;
    status = sterna_model_file_open(path, &file_options, &file, err);
    if (!status) {
        out = describe_model(file, options, features);
        sterna_model_file_close(file);
    } else if (describe_vocabulary(path, &out, NULL)) {
        return status; /* what stood in the way of reading a model says more */
    }
    char *text = out ? json_dumps(out, JSON_INDENT(2)) : NULL;
    json_decref(out);
    if (!text) return sterna_fail_memory(err, "a report");
    *json = text;
    return STERNA_OK;
}
