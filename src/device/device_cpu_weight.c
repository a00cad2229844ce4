/* Matrices of the CPU device: which layout a tensor gets, its memory and its description. Packing
 * is device_cpu_pack.c's, the way back device_cpu_embed.c's.
 *
 * Ternary types, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K and Q6_K are held exactly; Q5_0, Q5_1 too (as int8
 * codes). Other block types become int8 with one scale per 32 columns. Where float activations are
 * asked for, float types keep their bits and everything else becomes float32.
 */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "device/device_cpu_pack.h"
#include "ternary/affine.h"
#include "ternary/native.h"

enum { INT8_GROUP = 32, ACT_GROUP = 128 };

const sterna_cpu_line sterna_cpu_lines[] = {
    [STERNA_LAYOUT_TERN2] = {"tern2", 16, 64},   [STERNA_LAYOUT_TERN5] = {"tern5", 16, 64},
    [STERNA_LAYOUT_INT4] = {"int4", 8, 64},      [STERNA_LAYOUT_INT8] = {"int8", 4, 64},
    [STERNA_LAYOUT_Q4K] = {"q4k", 256, 36 * 64}, [STERNA_LAYOUT_Q5K] = {"q5k", 256, 44 * 64},
    [STERNA_LAYOUT_Q6K] = {"q6k", 256, 53 * 64}, [STERNA_LAYOUT_F32] = {"f32", 1, 64},
    [STERNA_LAYOUT_F16] = {"f16", 1, 32},        [STERNA_LAYOUT_BF16] = {"bf16", 1, 32},
};

/* A scale per token leaves no room for padded segments. */
static bool group_fits(const sterna_weight *weight, size_t group)
{
    return weight->activation == STERNA_ACT_INT8_GROUP || group % STERNA_COLUMN_UNIT == 0;
}

/* Trits as they are, with shifts as minimums and the second plane behind the first. */
static void choose_ternary(sterna_cpu_load *job)
{
    const sterna_native *native = job->tensor->native;
    sterna_weight *weight = job->weight;
    size_t group = (size_t)sterna_tensor_group(job->tensor);
    job->has_min = native && native->shifted;
    if (native && native->code2) weight->planes = 2;
    bool scales = job->has_min || weight->planes > 1; /* more than one number in a row */
    if (group >= weight->cols) group = scales ? weight->cols : 0;
    weight->layout = STERNA_LAYOUT_TERN2;
    weight->group = group;
    job->trits = true;
}

static sterna_status choose_layout(sterna_cpu_load *job, sterna_error *err)
{
    const sterna_tensor *tensor = job->tensor;
    const sterna_type_info *info = sterna_type_describe(tensor->type);
    sterna_weight *weight = job->weight;
    weight->activation = job->options->activation;
    if (info->kind == STERNA_KIND_INTEGER)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "tensor '%s' has type %s, which is no weight type", tensor->name,
                           info->name);
    if (weight->activation == STERNA_ACT_AUTO)
        weight->activation =
            info->kind == STERNA_KIND_FLOAT ? STERNA_ACT_FLOAT : STERNA_ACT_INT8_GROUP;
    if (weight->activation == STERNA_ACT_FLOAT) {
        weight->layout = tensor->type == STERNA_TYPE_F16    ? STERNA_LAYOUT_F16
                         : tensor->type == STERNA_TYPE_BF16 ? STERNA_LAYOUT_BF16
                                                            : STERNA_LAYOUT_F32;
        return STERNA_OK;
    }
    sterna_affine affine;
    weight->layout = STERNA_LAYOUT_INT8;
    weight->group = INT8_GROUP;
    if (job->outliers) return STERNA_OK;
    if (info->kind == STERNA_KIND_TERNARY) {
        uint64_t group = sterna_tensor_group(tensor);
        if (group >= weight->cols || group_fits(weight, (size_t)group)) choose_ternary(job);
    } else if (sterna_cpu_k_layout(tensor->type, weight)) {
        job->has_min = false; /* minimums are inside the blocks */
    } else if (sterna_affine_describe(tensor->type, &affine)) {
        job->affine = true;
        job->has_min = affine.has_min;
        if (affine.bits == 4) weight->layout = STERNA_LAYOUT_INT4;
        weight->zero = affine.zero;
        weight->group = affine.group;
    }
    if (weight->cols > STERNA_MAX_COLS)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "tensor '%s' has %zu columns; the limit for integer matrices is %d",
                           tensor->name, weight->cols, STERNA_MAX_COLS);
    return STERNA_OK;
}

/* Scales beside the codes. */
static bool has_scales(const sterna_weight *weight)
{
    return weight->group && !sterna_cpu_is_k(weight->layout);
}

/* Trits whose segments can stand side by side, where a kernel is made for that: a sixth less to
 * read. */
static bool takes_tern5(const sterna_cpu_load *job)
{
    const sterna_weight *weight = job->weight;
    bool fits = weight->segments == 1 || weight->segment % TERN5_COLS == 0;
    return weight->layout == STERNA_LAYOUT_TERN2 &&
           job->kernels->matmul_tern5 != sterna_matmul_tern5_ref && !job->threes && fits &&
           sterna_cpu_tern5(weight).trios;
}

/* Sizes and the walk, after the layout. */
static bool measure(const sterna_cpu_load *job)
{
    sterna_weight *weight = job->weight;
    const sterna_cpu_line *layout = &sterna_cpu_lines[weight->layout];
    weight->panels = (weight->rows + STERNA_PANEL - 1) / STERNA_PANEL;
    if (sterna_cpu_is_float(weight->layout))
        weight->padded = weight->cols;
    else
        sterna_cpu_place(weight);
    if (!sterna_mul_size(weight->padded / layout->line_cols, layout->line_bytes,
                         &weight->panel_bytes))
        return false;
    if (takes_tern5(job)) {
        weight->layout = STERNA_LAYOUT_TERN5;
        weight->panel_bytes = tern5_panel_bytes(sterna_cpu_tern5(weight), weight->padded);
    }
    size_t scale_count = has_scales(weight) ? job->has_min ? 2 : 1 : 0;
    weight->bytes =
        weight->panels * (weight->panel_bytes + STERNA_PANEL * sizeof(float) +
                          scale_count * weight->groups * STERNA_PANEL * sizeof(uint16_t));
    return true;
}

static void free_arrays(sterna_weight *weight)
{
    sterna_free(weight->codes);
    sterna_free(weight->scales);
    sterna_free(weight->mins);
    sterna_free(weight->factors);
    weight->codes = NULL;
    weight->scales = weight->mins = NULL;
    weight->factors = NULL;
}

static sterna_status allocate(sterna_cpu_load *job, sterna_error *err)
{
    sterna_weight *weight = job->weight;
    size_t panel_scales = weight->groups * STERNA_PANEL;
    weight->codes = sterna_alloc_streamed(weight->panels, weight->panel_bytes);
    weight->factors = sterna_calloc(weight->panels, STERNA_PANEL * sizeof(float));
    bool complete = weight->codes && weight->factors;
    if (complete && has_scales(weight)) {
        weight->scales = sterna_alloc_streamed(weight->panels, panel_scales * sizeof(uint16_t));
        complete = weight->scales != NULL;
        if (complete && job->has_min) {
            weight->mins = sterna_alloc_streamed(weight->panels, panel_scales * sizeof(uint16_t));
            complete = weight->mins != NULL;
        }
    }
    if (!complete) return sterna_fail_memory(err, job->tensor->name);
    return STERNA_OK;
}
static sterna_status copy_hadamard(const sterna_hadamard *from, size_t cols, const char *name,
                                   sterna_hadamard *to, sterna_error *err)
{
    if (!from->block) return STERNA_OK;
    uint32_t block = from->block;
    if (block < 2 || block > 4096 || block & (block - 1) || cols % block)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "tensor '%s': a Hadamard block must be a power of two up to 4096 that "
                           "divides the %zu columns, not %u",
                           name, cols, block);
    to->block = block;
    if (!from->signs) return STERNA_OK;
    float *signs = sterna_alloc(cols, sizeof(float));
    if (!signs) return sterna_fail_memory(err, name);
    memcpy(signs, from->signs, cols * sizeof(float));
    to->signs = signs;
    return STERNA_OK;
}

static sterna_status check_rows(const sterna_cpu_load *job, sterna_error *err)
{
    const sterna_weight_options *options = job->options;
    uint64_t rows = sterna_tensor_rows(job->tensor), first = options->first_row;
    uint64_t count = job->weight->rows;
    if (job->tensor->dims[0] == 0 || rows == 0 || first > rows || count > rows - first)
        return sterna_fail(
            err, STERNA_ERROR_FORMAT,
            "tensor '%s' has %llu rows of %llu columns; rows %llu to %llu are needed",
            job->tensor->name, (unsigned long long)rows, (unsigned long long)job->tensor->dims[0],
            (unsigned long long)first, (unsigned long long)(first + count));
    for (uint64_t i = 0; options->row_order && i < count; i++)
        if (options->row_order[i] >= rows - first)
            return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                               "tensor '%s': row order %llu names row %u of %llu",
                               job->tensor->name, (unsigned long long)i, options->row_order[i],
                               (unsigned long long)(rows - first));
    return STERNA_OK;
}

static void name_weight(const sterna_kernels *kernels, bool has_min, sterna_weight *weight)
{
    const char *suffixes[] = {kernels->matmul_tern2_suffix, kernels->matmul_tern5_suffix,
                              kernels->matmul_int4_suffix,  kernels->matmul_int8_suffix,
                              kernels->matmul_q4k_suffix,   kernels->matmul_q5k_suffix,
                              kernels->matmul_q6k_suffix,   kernels->matmul_f32_suffix,
                              kernels->matmul_f16_suffix,   kernels->matmul_bf16_suffix};
    const char *name = sterna_cpu_lines[weight->layout].name;
    if (sterna_cpu_is_float(weight->layout) || sterna_cpu_is_k(weight->layout))
        snprintf(weight->layout_name, sizeof weight->layout_name, "%s", name);
    else if (weight->group)
        snprintf(weight->layout_name, sizeof weight->layout_name, "%s g%zu%s%s", name,
                 weight->group, weight->planes > 1 ? " x2" : "", has_min ? "+min" : "");
    else
        snprintf(weight->layout_name, sizeof weight->layout_name, "%s row", name);
    snprintf(weight->kernel_name, sizeof weight->kernel_name, "%s_%s", name,
             suffixes[weight->layout]);
}

/* With room for code 3. */
static sterna_status pack_again(sterna_cpu *cpu, sterna_cpu_load *job, sterna_error *err)
{
    sterna_weight *weight = job->weight;
    free_arrays(weight);
    weight->layout = STERNA_LAYOUT_TERN2;
    measure(job);
    sterna_status status = allocate(job, err);
    return status ? status : sterna_cpu_pack(cpu, job, &job->threes, err);
}

/* Packs what `job` names into its weight. */
static sterna_status make_weight(sterna_cpu *cpu, sterna_cpu_load *job, sterna_error *err)
{
    const sterna_weight_options *options = job->options;
    sterna_weight *weight = job->weight;
    const char *name = job->tensor->name;
    weight->planes = 1;
    sterna_status status = check_rows(job, err);
    if (!status) status = choose_layout(job, err);
    if (!status && !measure(job))
        status = sterna_fail(err, STERNA_ERROR_LIMIT, "tensor '%s' has too many columns", name);
    if (!status && !job->outliers)
        status = copy_hadamard(&options->hadamard, weight->cols, name, &weight->hadamard, err);
    if (!status && !job->outliers)
        status =
            copy_hadamard(&options->inverse_hadamard, weight->cols, name, &weight->inverse, err);
    if (!status && !cpu->plan) status = allocate(job, err);
    if (!status && !cpu->plan) status = sterna_cpu_pack(cpu, job, &job->threes, err);
    if (!status && job->threes && weight->layout == STERNA_LAYOUT_TERN5)
        status = pack_again(cpu, job, err);
    name_weight(&cpu->kernels, job->has_min, weight);
    return status;
}

/* The columns that a ternary tensor keeps in int8, as a matrix of their own. */
static sterna_status load_outliers(sterna_cpu *cpu, const sterna_cpu_load *main, sterna_error *err)
{
    sterna_weight *weight = main->weight;
    uint32_t count = sterna_tensor_outliers(main->tensor);
    if (!count || !main->trits) return STERNA_OK; /* floats and int8 have them among the others */
    sterna_weight_options options = *main->options;
    options.activation = STERNA_ACT_INT8_GROUP;
    sterna_cpu_load job = *main;
    job.options = &options;
    job.weight = weight->outliers = sterna_calloc(1, sizeof *weight->outliers);
    weight->outlier_columns = sterna_alloc(count, sizeof *weight->outlier_columns);
    if (!weight->outliers || !weight->outlier_columns)
        return sterna_fail_memory(err, main->tensor->name);
    sterna_tensor_outlier_columns(main->tensor, weight->outlier_columns);
    job.outliers = true;
    job.has_min = job.trits = false;
    job.weight->rows = weight->rows;
    job.weight->cols = count;
    sterna_status status = make_weight(cpu, &job, err);
    weight->bytes += job.weight->bytes + count * sizeof *weight->outlier_columns;
    size_t used = strlen(weight->layout_name);
    snprintf(weight->layout_name + used, sizeof weight->layout_name - used, "+%u int8", count);
    return status;
}

sterna_status sterna_cpu_weight_load(sterna_device *device, const sterna_tensor *tensor,
                                     const sterna_weight_options *options, sterna_weight **out,
                                     sterna_error *err)
{
    sterna_cpu *cpu = sterna_cpu_of(device);
    sterna_weight *weight = sterna_calloc(1, sizeof *weight);
    if (!weight) return sterna_fail_memory(err, tensor->name);
    sterna_cpu_load job = {
        .tensor = tensor, .options = options, .kernels = &cpu->kernels, .weight = weight};
    job.row_scale = options->row_scale != 0 ? options->row_scale : 1;
    uint64_t rows = options->rows ? options->rows : sterna_tensor_rows(tensor) - options->first_row;
    weight->rows = (size_t)rows;
    weight->cols = (size_t)tensor->dims[0];
    sterna_status status = make_weight(cpu, &job, err);
    if (!status) status = load_outliers(cpu, &job, err);
    size_t cols = (weight->cols + STERNA_COLUMN_UNIT - 1) / STERNA_COLUMN_UNIT * STERNA_COLUMN_UNIT;
    if (weight->padded > cols) cols = weight->padded;
    if (!status)
        status =
            sterna_cpu_make_room(device, cols, weight->outliers ? weight->outliers->cols : 0, err);
    if (status) {
        sterna_cpu_weight_free(device, weight);
        return status;
    }
    *out = weight;
    return STERNA_OK;
}

void sterna_cpu_weight_free(sterna_device *device, sterna_weight *weight)
{
    if (!weight) return;
    sterna_cpu_weight_free(device, weight->outliers);
    sterna_free(weight->outlier_columns);
    free_arrays(weight);
    sterna_free((void *)(uintptr_t)weight->hadamard.signs);
    sterna_free((void *)(uintptr_t)weight->inverse.signs);
    sterna_free(weight);
}

void sterna_cpu_weight_info(const sterna_weight *weight, sterna_weight_info *info)
{
    info->rows = weight->rows;
    info->cols = weight->cols;
    info->bytes = weight->bytes;
    info->layout = weight->layout_name;
    info->kernel = weight->kernel_name;
}
