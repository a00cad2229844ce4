#include "quant/fitter.h"

#include <string.h>

#include "base/memory.h"
#include "quant/pt2.h"

enum { BLOCK = 32 }; /* columns that share a scale in Q4_0 and Q8_0 */

static const sterna_fitter fitters[] = {
    {"sterna", sterna_compensate, false, true, 0.05f},
    {"pt2", sterna_pt2, true, false, 0.01f},
};

const sterna_fitter *sterna_fitter_of(const char *name)
{
    for (size_t i = 0; i < sizeof fitters / sizeof *fitters; i++)
        if (strcmp(fitters[i].name, name) == 0) return &fitters[i];
    return NULL;
}

bool sterna_fit_find(sterna_item *items, size_t n_items, const sterna_matrix_place *place,
                     sterna_fit_rows *out)
{
    const sterna_tensor *tensor = place->tensor;
    uint64_t rows = sterna_tensor_rows(tensor), row_bytes = rows ? tensor->bytes / rows : 0;
    const uint8_t *begin = tensor->native ? NULL : tensor->data + place->first_row * row_bytes;
    for (size_t i = 0; i < n_items; i++) {
        sterna_item *item = &items[i];
        const sterna_tensor *source = item->tensor;
        bool fits = item->verb == STERNA_VERB_FIT || item->verb == STERNA_VERB_READY;
        if (!fits || (tensor->native && source->native != tensor->native)) continue;
        if (!tensor->native && (begin < source->data || begin >= source->data + source->bytes))
            continue;
        uint64_t row =
            tensor->native ? place->first_row : (uint64_t)(begin - source->data) / row_bytes;
        *out = (sterna_fit_rows){item, row, place->rows};
        return true;
    }
    return false;
}

static bool is_ternary(const sterna_item *item)
{
    return sterna_type_describe(item->type)->kind == STERNA_KIND_TERNARY;
}

static sterna_levels levels_of(const sterna_fitter *fitter, const sterna_item *item)
{
    if (item->type == STERNA_TYPE_Q4_0) return (sterna_levels){-8, 7, false, false};
    if (item->type == STERNA_TYPE_Q8_0) return (sterna_levels){-127, 127, false, false};
    return (sterna_levels){-1, 1, item->form.code2 != STERNA_CODE_NONE,
                           item->form.shifted || fitter->shifted};
}

static bool same_form(const sterna_item *a, const sterna_item *b)
{
    return a == b || (a->type == b->type && a->form.group == b->form.group &&
                      a->form.code2 == b->form.code2 && a->form.shifted == b->form.shifted &&
                      a->form.outliers == b->form.outliers);
}

/* ---- storing ---- */

static sterna_status make_ready(sterna_item *item, const sterna_fitted *fitted, sterna_error *err)
{
    if (item->verb == STERNA_VERB_READY) return STERNA_OK; /* another part of it came first */
    if (is_ternary(item)) return sterna_item_prepare(item, fitted->outlier_cols, err);
    item->packed = sterna_calloc((size_t)sterna_item_bytes(item), 1);
    if (!item->packed) return sterna_fail_memory(err, item->name);
    item->verb = STERNA_VERB_READY;
    item->measured = true;
    return STERNA_OK;
}

static void store_ternary(const sterna_fit_rows *part, const sterna_fitted *f, size_t first)
{
    size_t kept = sterna_fitted_outlier_groups(f);
    for (size_t r = first; r < first + part->rows; r++) {
        sterna_ternary_row row = {.trits = f->codes + r * f->cols,
                                  .scales = f->scales + r * f->groups};
        if (f->second) {
            row.trits2 = f->second + r * f->cols;
            row.scales2 = f->second_scales + r * f->groups;
        }
        if (f->shifts) row.shifts = f->shifts + r * f->groups;
        if (f->outliers) {
            row.outlier_codes = f->outlier_codes + r * f->outliers;
            row.outlier_scales = f->outlier_scales + r * kept;
        }
        sterna_item_store(part->item, part->item_row + r - first, &row);
    }
}

/* Types of blocks that are no trits: codes and scales as they are, or the values as floats. */
static sterna_status store_blocks(const sterna_fit_rows *part, const sterna_fitted *f, size_t first,
                                  sterna_error *err)
{
    sterna_item *item = part->item;
    size_t row_bytes = (size_t)(sterna_item_bytes(item) / sterna_tensor_rows(item->tensor));
    float *values = sterna_alloc(f->cols, sizeof *values);
    if (!values) return sterna_fail_memory(err, item->name);
    for (size_t r = first; r < first + part->rows; r++) {
        uint8_t *out = item->packed + (part->item_row + r - first) * row_bytes;
        if (item->type == STERNA_TYPE_Q4_0 || item->type == STERNA_TYPE_Q8_0) {
            sterna_type_pack(item->type, f->codes + r * f->cols, f->scales + r * f->groups, f->cols,
                             out);
        } else {
            sterna_fitted_row(f, r, values);
            sterna_type_encode(item->type, values, f->cols, out);
        }
    }
    sterna_free(values);
    return STERNA_OK;
}

static sterna_status store(const sterna_fit_rows *part, const sterna_fitted *f, size_t first,
                           sterna_error *err)
{
    sterna_status status = make_ready(part->item, f, err);
    if (status) return status;
    if (is_ternary(part->item))
        store_ternary(part, f, first);
    else
        status = store_blocks(part, f, first, err);
    for (size_t r = first; r < first + part->rows; r++) {
        part->item->result.error += f->results[r].error;
        part->item->result.energy += f->results[r].energy;
        part->item->result.zeros += f->results[r].zeros;
    }
    return status;
}

/* ---- fitting ---- */

/* Parts of the same form, `rows` rows in all. */
static sterna_status fit_run(const sterna_fitter *fitter, const sterna_fit_rows *parts,
                             size_t count, size_t rows, const float *w, size_t cols, float *h,
                             const sterna_compensation *usual, sterna_error *err)
{
    const sterna_item *item = parts->item;
    sterna_compensation settings = *usual;
    sterna_fitted fitted = {0};
    bool ternary = is_ternary(item) || item->type == STERNA_TYPE_F16;
    settings.levels = levels_of(fitter, item);
    settings.group = ternary ? item->form.group : BLOCK;
    if (item->type == STERNA_TYPE_Q8_0) { /* there is next to nothing left to gain */
        settings.refit = false;
        settings.rounds = 0;
    }
    sterna_status status = STERNA_OK;
    if (!sterna_fitted_new(&fitted, rows, cols, settings.group, &settings.levels,
                           item->form.outliers))
        status = sterna_fail_memory(err, "the weights of a layer");
    if (!status) /* what is no trits has one way of being fitted */
        status = (ternary ? fitter->fit : sterna_compensate)(w, h, &settings, &fitted, err);
    size_t at = 0;
    for (size_t i = 0; i < count && !status; i++) {
        status = store(&parts[i], &fitted, at, err);
        at += (size_t)parts[i].rows;
    }
    sterna_fitted_free(&fitted);
    return status;
}

sterna_status sterna_fit_items(const sterna_fitter *fitter, const sterna_fit_rows *parts,
                               size_t count, const float *w, size_t cols, float *h,
                               const sterna_compensation *settings, sterna_error *err)
{
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < count && !status;) {
        size_t n = 0, rows = 0;
        while (i + n < count && same_form(parts[i].item, parts[i + n].item))
            rows += (size_t)parts[i + n++].rows;
        status = fit_run(fitter, parts + i, n, rows, w, cols, h, settings, err);
        w += rows * cols;
        i += n;
    }
    return status;
}
