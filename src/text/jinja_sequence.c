/* Filters on sequences and mappings. */
#include "text/jinja_internal.h"

#include <string.h>

#define FILTER(name)                                                                               \
    static bool name(jinja_run *run, jinja_value self, const jinja_value *bound,                   \
                     const jinja_arguments *all, jinja_value *out)
#define UNUSED (void)run, (void)self, (void)bound, (void)all, (void)out

static jinja_value iterator_value(jinja_iterator *iterator)
{
    return (jinja_value){.type = JINJA_ITERATOR, .as.iterator = iterator};
}

/* A list becomes the iterator that Python's generator would be. */
static bool as_iterator(jinja_run *run, jinja_value list, jinja_value *out)
{
    jinja_iterator *iterator;
    if (!sterna_jinja_iterate(run, list, false, &iterator)) return false;
    *out = iterator_value(iterator);
    return true;
}

FILTER(length)
{
    UNUSED;
    int64_t count;
    if (!sterna_jinja_length(run, self, &count)) return false;
    *out = sterna_jinja_int(count);
    return true;
}

FILTER(list)
{
    UNUSED;
    return sterna_jinja_collect(run, self, out);
}

FILTER(items)
{
    UNUSED;
    jinja_value view = {.type = JINJA_VIEW, .extra = JINJA_ITEMS, .as.dict = self.as.dict};
    if (self.type == JINJA_UNDEFINED) return as_iterator(run, self, out);
    if (self.type != JINJA_DICT)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "items needs a dict, not '%s'",
                                 sterna_jinja_type_name(self));
    return as_iterator(run, view, out);
}

FILTER(first)
{
    UNUSED;
    jinja_iterator *iterator;
    if (!sterna_jinja_iterate(run, self, false, &iterator) ||
        !sterna_jinja_next(run, iterator, out))
        return false;
    return out->type != JINJA_MISSING ||
           sterna_jinja_undefined_hint(run, "there is no first item, the sequence was empty", out);
}

FILTER(last)
{
    UNUSED;
    jinja_iterator *iterator;
    if (!sterna_jinja_iterate(run, self, true, &iterator) || !sterna_jinja_next(run, iterator, out))
        return false;
    return out->type != JINJA_MISSING ||
           sterna_jinja_undefined_hint(run, "there is no last item, the sequence was empty", out);
}

FILTER(reverse)
{
    UNUSED;
    jinja_iterator *iterator;
    if (self.type == JINJA_STRING)
        return sterna_jinja_slice(run, self, sterna_jinja_missing(), sterna_jinja_missing(),
                                  sterna_jinja_int(-1), out);
    if (self.type == JINJA_ITERATOR && !sterna_jinja_collect(run, self, &self)) return false;
    if (!sterna_jinja_iterate(run, self, true, &iterator)) return false;
    *out = iterator_value(iterator);
    return true;
}

FILTER(join)
{
    UNUSED;
    jinja_iterator *iterator;
    jinja_value item, separator = bound[0];
    jinja_text text;
    sterna_jinja_text_start(&text, run);
    if (separator.type == JINJA_MISSING && !sterna_jinja_literal(run, "", &separator)) return false;
    if (!sterna_jinja_to_string(run, separator, false, &separator) ||
        !sterna_jinja_iterate(run, self, false, &iterator))
        return false;
    for (bool begun = false;; begun = true) {
        if (!sterna_jinja_next(run, iterator, &item)) return false;
        if (item.type == JINJA_MISSING) return sterna_jinja_text_finish(&text, out);
        if (begun && !sterna_jinja_text_value(&text, separator)) return false;
        if (!sterna_jinja_follow(run, item, bound[1], sterna_jinja_missing(), &item) ||
            !sterna_jinja_text_value(&text, item))
            return false;
    }
}

/* ---- map, select and their like ---- */

static jinja_iterator *new_lazy(jinja_run *run, jinja_iterator_kind kind, jinja_value source)
{
    jinja_iterator *iterator = sterna_jinja_alloc(run, 1, sizeof *iterator);
    if (iterator) *iterator = (jinja_iterator){.kind = kind, .source = source};
    return iterator;
}

/* The filter or test that `all` names at `skip`, with the arguments behind the name. As in Python
 * an unknown one fails only when it is applied. */
static void set_callable(jinja_iterator *iterator, const jinja_arguments *all, size_t skip)
{
    jinja_value name = all->values[skip];
    iterator->arguments = *all;
    iterator->arguments.values = all->values + skip + 1;
    iterator->arguments.count = all->count - skip - 1;
    if (name.type == JINJA_STRING)
        iterator->callable = iterator->kind == JINJA_ITERATE_MAP
                                 ? sterna_jinja_filter(name.as.string)
                                 : sterna_jinja_test(name.as.string);
    iterator->unknown = !iterator->callable;
}

FILTER(map)
{
    UNUSED;
    jinja_iterator *iterator = new_lazy(run, JINJA_ITERATE_MAP, self);
    if (!iterator) return false;
    *out = iterator_value(iterator);
    jinja_value attribute = sterna_jinja_missing();
    for (size_t i = 0; i < all->named_count; i++) {
        bool is_attribute = sterna_jinja_string_is(all->names[i], "attribute");
        if (is_attribute) attribute = all->named[i];
        if (sterna_jinja_string_is(all->names[i], "default")) iterator->fallback = all->named[i];
    }
    if (!all->count && attribute.type != JINJA_MISSING) {
        size_t known = 1 + (iterator->fallback.type != JINJA_MISSING);
        if (all->named_count > known)
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                     "map takes only attribute and default by name");
        iterator->kind = JINJA_ITERATE_ATTRIBUTE;
        iterator->attribute = attribute;
        return true;
    }
    if (!all->count)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "map needs a filter or an attribute");
    set_callable(iterator, all, 0);
    return true;
}

static bool select_items(jinja_run *run, jinja_value self, const jinja_arguments *all, bool wanted,
                         bool by_attribute, jinja_value *out)
{
    jinja_iterator *iterator = new_lazy(run, JINJA_ITERATE_SELECT, self);
    if (!iterator) return false;
    *out = iterator_value(iterator);
    iterator->wanted = wanted;
    if (by_attribute && !all->count)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 "selectattr and rejectattr need an attribute");
    if (by_attribute) iterator->attribute = all->values[0];
    if (all->count > by_attribute) set_callable(iterator, all, by_attribute);
    return true;
}

FILTER(select_filter)
{
    UNUSED;
    return select_items(run, self, all, true, false, out);
}

FILTER(reject)
{
    UNUSED;
    return select_items(run, self, all, false, false, out);
}

FILTER(selectattr)
{
    UNUSED;
    return select_items(run, self, all, true, true, out);
}

FILTER(rejectattr)
{
    UNUSED;
    return select_items(run, self, all, false, true, out);
}

/* ---- keys and order ---- */

static bool fold_case(jinja_run *run, jinja_value *value)
{
    jinja_text text;
    if (value->type != JINJA_STRING) return true;
    sterna_jinja_text_start(&text, run);
    return sterna_jinja_change_case(&text, value->as.string->data, value->as.string->size,
                                    JINJA_CASE_LOWER) &&
           sterna_jinja_text_finish(&text, value);
}

/* The key of one item for sort, unique, min, max, groupby. */
static bool item_key(jinja_run *run, jinja_value item, jinja_value path, jinja_value fallback,
                     bool case_sensitive, jinja_value *out)
{
    return sterna_jinja_follow(run, item, path, fallback, out) &&
           (case_sensitive || fold_case(run, out));
}

/* The keys for a list of attributes such as "age,name". */
static bool item_keys(jinja_run *run, jinja_value item, jinja_value path, bool case_sensitive,
                      jinja_value *out)
{
    if (!sterna_jinja_new_list(run, JINJA_LIST, 1, out)) return false;
    bool several = path.type == JINJA_STRING;
    const char *part = several ? path.as.string->data : NULL;
    const char *end = several ? part + path.as.string->size : NULL;
    for (;;) {
        const char *comma = several ? memchr(part, ',', (size_t)(end - part)) : NULL;
        jinja_value one = path, key;
        if (several &&
            !sterna_jinja_borrow(run, part, (size_t)((comma ? comma : end) - part), &one))
            return false;
        if (!item_key(run, item, one, sterna_jinja_missing(), case_sensitive, &key) ||
            !sterna_jinja_list_add(run, out->as.list, key))
            return false;
        if (!comma) return true;
        part = comma + 1;
    }
}

/* A list ordered by keys. */
static bool take_order(jinja_run *run, const jinja_list *from, const jinja_value *keys,
                       bool reverse, jinja_value *out)
{
    size_t *order = sterna_jinja_alloc(run, from->count, sizeof *order);
    if (!order || !sterna_jinja_sort(run, keys, order, from->count, reverse)) return false;
    if (!sterna_jinja_new_list(run, JINJA_LIST, from->count, out)) return false;
    for (size_t i = 0; i < from->count; i++)
        sterna_jinja_list_add(run, out->as.list, from->items[order[i]]);
    return true;
}

FILTER(sort)
{
    UNUSED;
    bool reverse_order = false, case_sensitive = false;
    jinja_value source;
    if (!sterna_jinja_truth(run, bound[0], &reverse_order) ||
        !sterna_jinja_truth(run, bound[1], &case_sensitive) ||
        !sterna_jinja_collect(run, self, &source))
        return false;
    jinja_value *keys = sterna_jinja_alloc(run, source.as.list->count, sizeof *keys);
    if (!keys) return false;
    for (size_t i = 0; i < source.as.list->count; i++)
        if (!item_keys(run, source.as.list->items[i], bound[2], case_sensitive, &keys[i]))
            return false;
    return take_order(run, source.as.list, keys, reverse_order, out);
}

FILTER(dictsort)
{
    UNUSED;
    bool case_sensitive = false, reverse_order = false, by_value = false;
    jinja_string *by = NULL;
    jinja_value view = {.type = JINJA_VIEW, .extra = JINJA_ITEMS, .as.dict = self.as.dict}, source;
    if (self.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, self);
    if (self.type != JINJA_DICT)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "dictsort needs a dict, not '%s'",
                                 sterna_jinja_type_name(self));
    if (!sterna_jinja_truth(run, bound[0], &case_sensitive) ||
        !sterna_jinja_truth(run, bound[2], &reverse_order) ||
        (bound[1].type != JINJA_MISSING && !sterna_jinja_want_string(run, bound[1], "by", &by)))
        return false;
    by_value = by && sterna_jinja_string_is(by, "value");
    if (by && !by_value && !sterna_jinja_string_is(by, "key"))
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "dictsort sorts by 'key' or 'value'");
    if (!sterna_jinja_collect(run, view, &source)) return false;
    jinja_value *keys = sterna_jinja_alloc(run, source.as.list->count, sizeof *keys);
    if (!keys) return false;
    for (size_t i = 0; i < source.as.list->count; i++) {
        keys[i] = source.as.list->items[i].as.list->items[by_value];
        if (!case_sensitive && !fold_case(run, &keys[i])) return false;
    }
    return take_order(run, source.as.list, keys, reverse_order, out);
}

FILTER(unique)
{
    UNUSED;
    bool case_sensitive = false;
    jinja_iterator *iterator;
    jinja_value seen, item, key, result, *found;
    if (!sterna_jinja_truth(run, bound[0], &case_sensitive) ||
        !sterna_jinja_iterate(run, self, false, &iterator) || !sterna_jinja_new_dict(run, &seen) ||
        !sterna_jinja_new_list(run, JINJA_LIST, 0, &result))
        return false;
    for (;;) {
        if (!sterna_jinja_next(run, iterator, &item)) return false;
        if (item.type == JINJA_MISSING) return as_iterator(run, result, out);
        if (!item_key(run, item, bound[1], sterna_jinja_missing(), case_sensitive, &key) ||
            !sterna_jinja_dict_find(run, seen.as.dict, key, &found))
            return false;
        if (found) continue;
        if (!sterna_jinja_dict_put(run, seen.as.dict, key, sterna_jinja_none()) ||
            !sterna_jinja_list_add(run, result.as.list, item))
            return false;
    }
}

static bool extreme(jinja_run *run, jinja_value self, const jinja_value *bound, jinja_operator op,
                    jinja_value *out)
{
    bool case_sensitive = false, better;
    jinja_iterator *iterator;
    jinja_value item, key, best_key = sterna_jinja_missing(), best = sterna_jinja_missing();
    if (!sterna_jinja_truth(run, bound[0], &case_sensitive) ||
        !sterna_jinja_iterate(run, self, false, &iterator))
        return false;
    for (;;) {
        if (!sterna_jinja_next(run, iterator, &item)) return false;
        if (item.type == JINJA_MISSING) break;
        if (!item_key(run, item, bound[1], sterna_jinja_missing(), case_sensitive, &key))
            return false;
        better = best.type == JINJA_MISSING;
        if (!better && !sterna_jinja_order(run, op, key, best_key, &better)) return false;
        if (better) best = item, best_key = key;
    }
    *out = best;
    return best.type != JINJA_MISSING ||
           sterna_jinja_undefined_hint(run, "there is no aggregated item, the sequence was empty",
                                       out);
}

FILTER(min)
{
    UNUSED;
    return extreme(run, self, bound, JINJA_LESS, out);
}

FILTER(max)
{
    UNUSED;
    return extreme(run, self, bound, JINJA_GREATER, out);
}

FILTER(sum)
{
    UNUSED;
    jinja_iterator *iterator;
    jinja_value item, total = bound[1].type == JINJA_MISSING ? sterna_jinja_int(0) : bound[1];
    if (total.type == JINJA_STRING)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "sum cannot add strings; use join");
    if (!sterna_jinja_iterate(run, self, false, &iterator)) return false;
    for (;;) {
        if (!sterna_jinja_next(run, iterator, &item)) return false;
        if (item.type == JINJA_MISSING) break;
        if (!sterna_jinja_follow(run, item, bound[0], sterna_jinja_missing(), &item) ||
            !sterna_jinja_binary(run, JINJA_ADD, total, item, &total))
            return false;
    }
    *out = total;
    return true;
}

FILTER(groupby)
{
    UNUSED;
    bool case_sensitive = false, same;
    jinja_value source, sorted, key, last = sterna_jinja_missing(), group,
                                     members = sterna_jinja_missing();
    if (!sterna_jinja_truth(run, bound[2], &case_sensitive) ||
        !sterna_jinja_collect(run, self, &source))
        return false;
    jinja_list *list = source.as.list;
    jinja_value *keys = sterna_jinja_alloc(run, list->count, sizeof *keys);
    if (!keys) return false;
    for (size_t i = 0; i < list->count; i++)
        if (!item_key(run, list->items[i], bound[0], bound[1], case_sensitive, &keys[i]))
            return false;
    if (!take_order(run, list, keys, false, &sorted) ||
        !sterna_jinja_new_list(run, JINJA_LIST, 0, out))
        return false;
    for (size_t i = 0; i < list->count; i++) {
        jinja_value item = sorted.as.list->items[i], shown;
        if (!item_key(run, item, bound[0], bound[1], case_sensitive, &key)) return false;
        same = false;
        if (i && !sterna_jinja_equal(run, last, key, &same)) return false;
        if (!same) {
            if (!sterna_jinja_follow(run, item, bound[0], bound[1], &shown) ||
                !sterna_jinja_new_list(run, JINJA_TUPLE, 2, &group) ||
                !sterna_jinja_new_list(run, JINJA_LIST, 0, &members))
                return false;
            group.extra = JINJA_GROUP;
            sterna_jinja_list_add(run, group.as.list, shown);
            sterna_jinja_list_add(run, group.as.list, members);
            if (!sterna_jinja_list_add(run, out->as.list, group)) return false;
        }
        last = key;
        if (!sterna_jinja_list_add(run, members.as.list, item)) return false;
    }
    return true;
}

/* ---- cutting up ---- */

FILTER(batch)
{
    UNUSED;
    int64_t size;
    jinja_value source, result, row = sterna_jinja_missing();
    if (!sterna_jinja_want_int(run, bound[0], "the size of batch", &size) ||
        !sterna_jinja_collect(run, self, &source) ||
        !sterna_jinja_new_list(run, JINJA_LIST, 0, &result))
        return false;
    for (size_t i = 0; i < source.as.list->count; i++) {
        if (!i || (int64_t)row.as.list->count == size) {
            if (!sterna_jinja_new_list(run, JINJA_LIST, 0, &row) ||
                !sterna_jinja_list_add(run, result.as.list, row))
                return false;
        }
        if (!sterna_jinja_list_add(run, row.as.list, source.as.list->items[i])) return false;
    }
    while (row.type != JINJA_MISSING && bound[1].type > JINJA_NONE &&
           (int64_t)row.as.list->count < size)
        if (!sterna_jinja_step(run, 1) || !sterna_jinja_list_add(run, row.as.list, bound[1]))
            return false;
    return as_iterator(run, result, out);
}

FILTER(slice)
{
    UNUSED;
    int64_t slices;
    jinja_value source, result, row;
    if (!sterna_jinja_want_int(run, bound[0], "the number of slices", &slices) ||
        !sterna_jinja_collect(run, self, &source) ||
        !sterna_jinja_new_list(run, JINJA_LIST, 0, &result))
        return false;
    if (!slices) return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "slice cannot make 0 slices");
    size_t count = source.as.list->count, at = 0;
    for (int64_t i = 0; i < slices; i++) {
        size_t extra = i < (int64_t)(count % (size_t)slices), size = count / (size_t)slices + extra;
        if (!sterna_jinja_step(run, 1) || !sterna_jinja_new_list(run, JINJA_LIST, size + 1, &row))
            return false;
        for (size_t k = 0; k < size; k++)
            sterna_jinja_list_add(run, row.as.list, source.as.list->items[at++]);
        if (bound[1].type > JINJA_NONE && !extra) sterna_jinja_list_add(run, row.as.list, bound[1]);
        if (!sterna_jinja_list_add(run, result.as.list, row)) return false;
    }
    return as_iterator(run, result, out);
}

static const jinja_callable filters[] = {
    {"batch", batch, "linecount fill_with", 1, 1},
    {"count", length, "", 0, 0},
    {"dictsort", dictsort, "case_sensitive by reverse", 0, 1},
    {"first", first, "", 0, 1},
    {"groupby", groupby, "attribute default case_sensitive", 1, 1},
    {"items", items, "", 0, 1},
    {"join", join, "d attribute", 0, 1},
    {"last", last, "", 0, 1},
    {"length", length, "", 0, 0},
    {"list", list, "", 0, 1},
    {"map", map, NULL, 0, 1},
    {"max", max, "case_sensitive attribute", 0, 1},
    {"min", min, "case_sensitive attribute", 0, 1},
    {"reject", reject, NULL, 0, 1},
    {"rejectattr", rejectattr, NULL, 0, 1},
    {"reverse", reverse, "", 0, 1},
    {"select", select_filter, NULL, 0, 1},
    {"selectattr", selectattr, NULL, 0, 1},
    {"slice", slice, "slices fill_with", 1, 1},
    {"sort", sort, "reverse case_sensitive attribute", 0, 1},
    {"sum", sum, "attribute start", 0, 1},
    {"unique", unique, "case_sensitive attribute", 0, 1},
};

const jinja_callable *sterna_jinja_sequence_filter(const jinja_string *name)
{
    return sterna_jinja_lookup(filters, sizeof filters / sizeof *filters, name);
}
