/* From the floats of stacked matrices to the items that hold them: which fitter, which levels, and
 * how what it finds is stored. What an item can be is told by its type and form alone: trits with
 * the parts that the form has (the native form, or beside a standard layout), Q4_0 and Q8_0 by the
 * same compensation of columns, or the fitted values as F16 where no layout holds them.
 */
#ifndef STERNA_QUANT_FITTER_H
#define STERNA_QUANT_FITTER_H

#include "model/model.h"
#include "quant/compensate.h"
#include "quant/stream.h"

typedef struct sterna_fitter {
    const char *name; /* of the method */
    sterna_status (*fit)(const float *w, float *h, const sterna_compensation *settings,
                         sterna_fitted *out, sterna_error *err);
    bool shifted;  /* its levels always have a shift */
    bool chases;   /* aims at the target W* of sterna_compensate_target, in the transformed basis */
    float damping; /* unless told otherwise */
} sterna_fitter;

/* "sterna", "pt2"; NULL for other names. */
const sterna_fitter *sterna_fitter_of(const char *name);

/* Rows of the stack that go to one item, from its row `item_row` on. */
typedef struct sterna_fit_rows {
    sterna_item *item;
    uint64_t item_row, rows;
} sterna_fit_rows;

/* The item to be fitted, or fitted already, that holds the rows of a matrix: the same bytes of the
 * file. False when there is none: it stays as it is. */
bool sterna_fit_find(sterna_item *items, size_t n_items, const sterna_matrix_place *place,
                     sterna_fit_rows *out);

/* Fits w[sum of rows][cols] with the second moments h [cols][cols] of its inputs. Parts in a row
 * that become the same form are fitted together. Group, levels and outliers come from the items;
 * the rest from `settings`. The items become READY with their results added. */
sterna_status sterna_fit_items(const sterna_fitter *fitter, const sterna_fit_rows *parts,
                               size_t count, const float *w, size_t cols, float *h,
                               const sterna_compensation *settings, sterna_error *err);

#endif
