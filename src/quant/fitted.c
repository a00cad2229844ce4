#include "quant/fitted.h"

#include <string.h>

#include "base/memory.h"

bool sterna_fitted_new(sterna_fitted *out, size_t rows, size_t cols, size_t group,
                       const sterna_levels *levels, size_t outliers)
{
    size_t groups = (cols + group - 1) / group, weights, numbers, kept;
    *out = (sterna_fitted){.rows = rows,
                           .cols = cols,
                           .group = group,
                           .groups = groups,
                           .levels = *levels,
                           .outliers = outliers};
    if (!sterna_mul_size(rows, cols, &weights) || !sterna_mul_size(rows, groups, &numbers) ||
        !sterna_mul_size(rows, outliers, &kept))
        return false;
    out->codes = sterna_calloc(weights, 1);
    out->scales = sterna_calloc(numbers, sizeof *out->scales);
    out->results = sterna_calloc(rows, sizeof *out->results);
    bool complete = out->codes && out->scales && out->results;
    if (complete && levels->second) {
        out->second = sterna_calloc(weights, 1);
        out->second_scales = sterna_calloc(numbers, sizeof *out->second_scales);
        complete = out->second && out->second_scales;
    }
    if (complete && levels->shift) {
        out->shifts = sterna_calloc(numbers, sizeof *out->shifts);
        complete = out->shifts != NULL;
    }
    if (complete && outliers) {
        out->outlier_cols = sterna_calloc(outliers, sizeof *out->outlier_cols);
        out->outlier_codes = sterna_calloc(kept, 1);
        out->outlier_scales =
            sterna_calloc(rows * sterna_fitted_outlier_groups(out), sizeof *out->outlier_scales);
        complete = out->outlier_cols && out->outlier_codes && out->outlier_scales;
    }
    return complete;
}

void sterna_fitted_free(sterna_fitted *fitted)
{
    sterna_free(fitted->codes);
    sterna_free(fitted->second);
    sterna_free(fitted->scales);
    sterna_free(fitted->second_scales);
    sterna_free(fitted->shifts);
    sterna_free(fitted->outlier_cols);
    sterna_free(fitted->outlier_codes);
    sterna_free(fitted->outlier_scales);
    sterna_free(fitted->order);
    sterna_free(fitted->results);
    *fitted = (sterna_fitted){0};
}

size_t sterna_fitted_outlier_groups(const sterna_fitted *fitted)
{
    return (fitted->outliers + STERNA_OUTLIER_GROUP - 1) / STERNA_OUTLIER_GROUP;
}

void sterna_fitted_row(const sterna_fitted *f, size_t row, float *out)
{
    for (size_t i = 0; i < f->cols; i++) {
        size_t at = row * f->cols + i, number = row * f->groups + i / f->group;
        float value = f->scales[number] * (float)f->codes[at];
        if (f->second) value += f->second_scales[number] * (float)f->second[at];
        if (f->shifts) value += f->shifts[number];
        out[f->order ? f->order[i] : i] = value;
    }
    const float *scales = f->outlier_scales + row * sterna_fitted_outlier_groups(f);
    for (size_t k = 0; k < f->outliers; k++)
        out[f->outlier_cols[k]] +=
            scales[k / STERNA_OUTLIER_GROUP] * (float)f->outlier_codes[row * f->outliers + k];
}
