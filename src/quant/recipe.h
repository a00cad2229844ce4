/* A recipe: all decisions of a run of the quantizer, to be taken again without what led to them. It
 * stands in every receipt and can be read from there.
 *
 *   {"recipe": 1, "options": {"method": "sterna", "type": "native", ...},
 *    "tensors": {"blk.0.ffn_down.weight": {"type": "Q4_0"},
 *                "blk.0.ffn_up.weight": {"type": "NATIVE", "group": 128, "second": true}, ...}}
 *
 * What is random follows from the rest: the signs of a transform from its width, the model's own
 * calibration text from the model and the text. The same recipe on the same model with the same
 * number of threads gives the same file.
 */
#ifndef STERNA_QUANT_RECIPE_H
#define STERNA_QUANT_RECIPE_H

#include <jansson.h>

#include "quant/settings.h"

/* The recipe in a file of its own or in a receipt. Release with json_decref. */
sterna_status sterna_recipe_read(const char *path, json_t **out, sterna_error *err);
/* Fills in what `options` leaves open; its texts are borrowed from the recipe. */
sterna_status sterna_recipe_options(const json_t *recipe, const char *path,
                                    sterna_quantize_options *options, sterna_error *err);
/* Gives the items of verb FIT the types and forms that the recipe names. */
sterna_status sterna_recipe_apply(const json_t *recipe, const char *path, sterna_item *items,
                                  size_t n_items, sterna_error *err);
/* NULL when memory ran out. */
json_t *sterna_recipe_make(const sterna_settings *settings, const sterna_item *items,
                           size_t n_items);

#endif
