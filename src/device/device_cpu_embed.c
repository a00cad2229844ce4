/* Rows of a packed matrix back to floats, for the look-up of tokens. */
#include <string.h>

#include "base/half.h"
#include "device/device_cpu_pack.h"

/* `line` holds column k; tern5: is the panel. */
static float int_code(const sterna_weight *weight, const uint8_t *line, size_t lane, size_t k)
{
    switch (weight->layout) {
    case STERNA_LAYOUT_TERN5:
        return (float)(tern5_code(line, sterna_cpu_tern5(weight), lane, k) - 1);
    case STERNA_LAYOUT_TERN2: return (float)((line[4 * lane + k % 4] >> 2 * (k % 16 / 4) & 3) - 1);
    case STERNA_LAYOUT_INT4:
        return (float)((line[4 * lane + k % 4] >> 4 * (k % 8 / 4) & 15) - weight->zero);
    default: return (float)((int8_t)line[4 * lane + k % 4] - weight->zero);
    }
}

/* Packed column k of a row: its value but for the factor. */
static float packed_value(const sterna_weight *weight, size_t panel, size_t lane, size_t k)
{
    const sterna_cpu_line *layout = &sterna_cpu_lines[weight->layout];
    const uint8_t *line = weight->codes + panel * weight->panel_bytes;
    if (weight->layout != STERNA_LAYOUT_TERN5) line += k / layout->line_cols * layout->line_bytes;
    if (sterna_cpu_is_float(weight->layout)) {
        float value;
        uint16_t half;
        memcpy(&value, line + 4 * (weight->layout == STERNA_LAYOUT_F32 ? lane : 0), 4);
        memcpy(&half, line + 2 * lane, 2);
        if (weight->layout == STERNA_LAYOUT_F16) return sterna_f16_to_f32(half);
        return weight->layout == STERNA_LAYOUT_BF16 ? sterna_bf16_to_f32(half) : value;
    }
    float value = int_code(weight, line, lane, k);
    if (!weight->group) return value;
    size_t scale = k / weight->segment / weight->segments_per_scale;
    size_t at = (panel * weight->groups + scale) * STERNA_PANEL + lane;
    value *= sterna_f16_to_f32(weight->scales[at]);
    return weight->mins ? value + sterna_f16_to_f32(weight->mins[at]) : value;
}

/* Row r of a packed matrix as floats, times scale. */
static void unpack_row(const sterna_weight *weight, size_t r, float scale, float *out)
{
    size_t panel = r / STERNA_PANEL, lane = r % STERNA_PANEL;
    float factor = weight->factors[r] * scale;
    if (sterna_cpu_is_k(weight->layout)) {
        sterna_cpu_k_unpack_row(weight, r, out);
        for (size_t k = 0; k < weight->cols; k++) out[k] *= factor;
        return;
    }
    for (size_t k = 0; k < weight->cols; k++) {
        size_t at = sterna_cpu_column(weight, k);
        float value = packed_value(weight, panel, lane, at);
        if (weight->planes > 1) value += packed_value(weight, panel, lane, at + weight->plane);
        out[k] = value * factor;
    }
    const sterna_weight *thin = weight->outliers;
    for (size_t i = 0; thin && i < thin->cols; i++)
        out[weight->outlier_columns[i]] +=
            packed_value(thin, panel, lane, i) * thin->factors[r] * scale;
}

typedef struct embed_job {
    const sterna_cpu *cpu;
    const sterna_weight *table;
    const int32_t *ids;
    float scale, *x;
} embed_job;

static void embed_tokens(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const embed_job *job = context;
    const sterna_weight *table = job->table;
    const sterna_hadamard *inverse = &table->inverse;
    for (size_t t = begin; t < end; t++) {
        float *row = job->x + t * table->cols;
        unpack_row(table, (size_t)job->ids[t], job->scale, row);
        if (!inverse->block) continue;
        for (size_t i = 0; i < table->cols; i += inverse->block)
            job->cpu->kernels.hadamard(row + i, NULL, row + i, inverse->block);
        for (size_t i = 0; inverse->signs && i < table->cols; i++) row[i] *= inverse->signs[i];
    }
}

void sterna_cpu_embed(sterna_device *device, const sterna_weight *table, const int32_t *ids,
                      size_t n, float scale, float *x)
{
    const sterna_cpu *cpu = sterna_cpu_of(device);
    embed_job job = {cpu, table, ids, scale, x};
    sterna_pool_run(cpu->pool, n, 4, embed_tokens, &job);
}
