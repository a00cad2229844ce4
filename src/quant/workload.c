#include "quant/workload.h"

#include <math.h>

#include "base/cpu.h"
#include "model/model.h"

/* The model as it will be run, by a load that reads nothing. */
static double loaded_bytes(const sterna_model_file *file)
{
    sterna_cpu_options cpu = {.plan = true};
    const sterna_decoder_options options = {.arithmetic = STERNA_ARITHMETIC_AUTO};
    sterna_device *device = NULL;
    sterna_decoder *decoder = NULL;
    double bytes = (double)file->bytes;
    if (!sterna_cpu_level("auto", &cpu.features, NULL) &&
        !sterna_device_cpu_open(&cpu, &device, NULL) &&
        !sterna_decoder_load(file, device, &options, &decoder, NULL))
        bytes = (double)sterna_decoder_bytes(decoder);
    sterna_decoder_free(decoder);
    if (device) device->close(device);
    return bytes;
}

static void add_items(sterna_workload *w, const sterna_item *items, size_t n_items)
{
    for (size_t i = 0; i < n_items; i++) {
        double bytes = (double)sterna_item_bytes(&items[i]);
        double cols = (double)items[i].tensor->dims[0], group = items[i].form.group;
        w->written_bytes += bytes;
        if (items[i].verb != STERNA_VERB_FIT) continue;
        w->ternary_bytes += bytes;
        if (group > 0)
            w->scales += (double)sterna_tensor_rows(items[i].tensor) * ceil(cols / group);
    }
}

sterna_status sterna_workload_of(const sterna_model_file *file, const sterna_settings *settings,
                                 const sterna_item *items, size_t n_items, sterna_workload *out,
                                 sterna_error *err)
{
    *out = (sterna_workload){.tune_tokens = (double)settings->tuning.tokens,
                             .tune_wanted = settings->tuning.wanted,
                             .sensitivities = settings->bits > 0,
                             .source_bytes = (double)file->bytes,
                             .threads = settings->threads};
    sterna_status status = sterna_config_read(file, &out->config, err);
    if (!status) status = sterna_machine_rates(settings->threads, &out->rates, err);
    if (status) return status;
    out->length = fmin(STERNA_CALIBRATION_WINDOW, out->config.context);
    double wanted =
        (double)(settings->calibration.tokens ? settings->calibration.tokens
                                              : sterna_calibration_usual_tokens(&out->config));
    out->tokens = ceil(wanted / out->length) * out->length;
    out->own_tokens = sterna_calibration_own_tokens(settings->calibration.path, out->tokens);
    out->loaded_bytes = loaded_bytes(file);
    if (settings->propagation.journal)
        out->finished = sterna_journal_layers(settings->propagation.journal);
    add_items(out, items, n_items);
    return STERNA_OK;
}

void sterna_workload_free(sterna_workload *workload)
{
    sterna_config_free(&workload->config);
}
