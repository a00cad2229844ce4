#include "quant/receipt.h"

#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "formats/fingerprint.h"

typedef struct totals {
    uint64_t weights, ternary_weights, ternary_bytes;
    double error, energy; /* of the ternary part */
    double fitted_error;  /* of all that was fitted */
} totals;

static bool is_ternary(const sterna_item *item)
{
    return sterna_type_describe(item->type)->kind == STERNA_KIND_TERNARY;
}

static json_t *share(double part, double whole)
{
    return json_real(whole > 0 ? part / whole : 0);
}

/* To trits, or by --bits to something finer: its error is in `result`. */
static bool is_fitted(const sterna_item *item)
{
    return item->measured && (item->verb == STERNA_VERB_FIT || item->verb == STERNA_VERB_READY);
}

/* Adds one tensor's entry to `tensors`; nonzero when memory ran out. */
static int add_tensor(json_t *tensors, const sterna_item *item, totals *sum)
{
    const sterna_tensor *tensor = item->tensor;
    const sterna_fit_result *result = &item->result;
    uint64_t weights = tensor->dims[0] * sterna_tensor_rows(tensor);
    uint64_t bytes = sterna_item_bytes(item);
    json_t *shape = json_array(), *object = json_object();
    int failed = 0;
    for (int i = 0; i < tensor->n_dims; i++)
        failed |= json_array_append_new(shape, json_integer((json_int_t)tensor->dims[i]));
    failed |= json_object_set_new(object, "name", json_string(item->name));
    failed |= json_object_set_new(object, "shape", shape);
    failed |=
        json_object_set_new(object, "from", json_string(sterna_type_describe(item->from)->name));
    failed |=
        json_object_set_new(object, "to", json_string(sterna_type_describe(item->type)->name));
    failed |= json_object_set_new(object, "bits", share(8.0 * (double)bytes, (double)weights));
    if (item->measured)
        failed |=
            json_object_set_new(object, "relative_error", share(result->error, result->energy));
    if (item->sensitivity > 0)
        failed |= json_object_set_new(object, "sensitivity", json_real(item->sensitivity));
    if (item->note) failed |= json_object_set_new(object, "note", json_string(item->note));
    sum->weights += weights;
    if (is_fitted(item)) sum->fitted_error += result->error;
    if (is_ternary(item)) {
        sum->ternary_weights += weights;
        sum->ternary_bytes += bytes;
        sum->error += result->error;
        sum->energy += result->energy;
    }
    return failed | json_array_append_new(tensors, object);
}

/* Each fitted tensor's part of the error of all; nonzero when memory ran out. */
static int add_error_shares(json_t *tensors, const sterna_item *items, size_t count, double all)
{
    int failed = 0;
    for (size_t i = 0; i < count && all > 0; i++)
        if (is_fitted(&items[i]))
            failed |= json_object_set_new(json_array_get(tensors, i), "error_share",
                                          share(items[i].result.error, all));
    return failed;
}

/* Of the file, or of the weights in a folder. */
static uint64_t file_size(const char *path)
{
    struct stat info;
    char *inside = sterna_path_is_folder(path) ? sterna_path_join(path, "model.safetensors")
                                               : sterna_strdup(path);
    uint64_t size = inside && stat(inside, &info) == 0 ? (uint64_t)info.st_size : 0;
    sterna_free(inside);
    return size;
}

json_t *sterna_receipt_make(const char *in, const char *out, const sterna_model_file *file,
                            const sterna_item *items, size_t count, json_t *settings)
{
    totals sum = {0};
    uint64_t bytes = file_size(out);
    json_t *tensors = json_array(), *object = json_object();
    int failed = 0;
    for (size_t i = 0; i < count; i++) failed |= add_tensor(tensors, &items[i], &sum);
    failed |= add_error_shares(tensors, items, count, sum.fitted_error);
    double weights = (double)sum.weights, ternary = (double)sum.ternary_weights;
    const struct {
        const char *key;
        json_t *value;
    } fields[] = {
        {"version", json_string(sterna_version())},
        {"input", json_string(in)},
        {"output", json_string(out)},
        {"settings", settings},
        {"input_bytes", json_integer((json_int_t)file->bytes)},
        {"output_bytes", json_integer((json_int_t)bytes)},
        {"parameters", json_integer((json_int_t)sum.weights)},
        {"bits_per_weight", share(8.0 * (double)bytes, weights)},
        {"ternary_parameters", json_integer((json_int_t)sum.ternary_weights)},
        {"ternary_bits_per_weight",
         ternary > 0 ? share(8.0 * (double)sum.ternary_bytes, ternary) : json_null()},
        {"relative_error", sum.energy > 0 ? share(sum.error, sum.energy) : json_null()},
        {"tensors", tensors},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        failed |= json_object_set_new(object, fields[i].key, fields[i].value);
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

sterna_status sterna_receipt_text(const json_t *receipt, char **json, sterna_error *err)
{
    char *text = json_dumps(receipt, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    if (!text) return sterna_fail_memory(err, "the receipt");
    *json = text;
    return STERNA_OK;
}

static sterna_status save(const char *out, const char *end, const char *text, size_t size,
                          sterna_error *err)
{
    sterna_writer *writer = NULL;
    char *path = sterna_path_beside(out, end);
    sterna_status status =
        path ? sterna_writer_open(path, &writer, err) : sterna_fail_memory(err, "the receipt");
    if (!status) status = sterna_writer_write(writer, text, size, err);
    if (!status) {
        status = sterna_writer_commit(writer, err);
        writer = NULL;
    }
    sterna_writer_abort(writer);
    sterna_free(path);
    return status;
}

sterna_status sterna_receipt_save(const json_t *receipt, const char *out, sterna_error *err)
{
    char *json = NULL;
    sterna_buffer html = {0};
    sterna_status status = sterna_receipt_text(receipt, &json, err);
    if (!status) status = save(out, ".receipt.json", json, strlen(json), err);
    sterna_free(json);
    if (status) return status;
    sterna_receipt_html(receipt, &html);
    status = html.failed ? sterna_fail_memory(err, "the receipt")
                         : save(out, ".receipt.html", html.data, html.size, err);
    sterna_buffer_free(&html);
    return status;
}
