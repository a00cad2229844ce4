/* Reports of what is loaded and of what could be: JSON texts. */
#include "base/cpu.h"
#include "base/memory.h"
#include "formats/shape.h"
#include "run/eval.h"

sterna_status sterna_run_json_text(const json_t *json, char **out, sterna_error *err)
{
    char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    if (!text) return sterna_fail_memory(err, "a report");
    *out = text;
    return STERNA_OK;
}

sterna_status sterna_run_report(const sterna_model *model, char **json, sterna_error *err)
{
    const sterna_decoder *decoder = model->decoder;
    char cpu[128];
    sterna_cpu_model(cpu, sizeof cpu);
    json_t *tensors = json_array();
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:f, s:I, s:o*}", "name", model->path, "family",
                  sterna_family_name(sterna_decoder_config(decoder)->family), "cpu", cpu, "level",
                  sterna_cpu_level_name(model->features), "threads", model->threads, "device",
                  model->device->name, "load_s", model->load_s, "resident_bytes",
                  (json_int_t)sterna_decoder_bytes(decoder), "tensors", tensors);
    const sterna_loaded_weight *weights;
    size_t n = sterna_decoder_weights(decoder, &weights);
    bool bad = !out || !tensors;
    for (size_t i = 0; !bad && i < n; i++)
        bad = json_array_append_new(
            tensors, json_pack("{s:s, s:s, s:s, s:s, s:I}", "name", weights[i].name, "type",
                               sterna_type_describe(weights[i].type)->name, "layout",
                               weights[i].info.layout, "kernel", weights[i].info.kernel, "bytes",
                               (json_int_t)weights[i].info.bytes));
    sterna_status status = sterna_run_json_text(bad ? NULL : out, json, err);
    json_decref(out);
    return status;
}

sterna_status sterna_run_shapes(char **json, sterna_error *err)
{
    json_t *list = json_array();
    json_t *out = json_pack("{s:o*}", "shapes", list);
    const sterna_shape *shape;
    bool bad = !out || !list;
    for (size_t i = 0; !bad && (shape = sterna_shape_at(i)) != NULL; i++)
        bad = json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:b, s:s}",
                      "name", shape->name, "family", shape->architecture, "parameters",
                      (json_int_t)sterna_shape_parameters(shape), "layers", shape->layers, "width",
                      shape->width, "ffn", shape->ffn, "heads", shape->heads, "kv_heads",
                      shape->kv_heads, "head_dim", shape->head_dim, "vocabulary", shape->vocabulary,
                      "context", shape->context, "rope_base", (double)shape->rope_base, "tied",
                      shape->tied, "type", sterna_type_describe(shape->type)->name));
    sterna_status status = sterna_run_json_text(bad ? NULL : out, json, err);
    json_decref(out);
    return status;
}
