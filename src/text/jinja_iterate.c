/* Length and iteration, sorting, the steps of a run. Iterators are lazy where Python's are: what a
 * filter over a sequence costs or raises happens when its items are asked for. */
#include "text/jinja_internal.h"

#include <stdio.h>
#include <string.h>

bool sterna_jinja_has_length(jinja_value value)
{
    switch (value.type) {
    case JINJA_UNDEFINED:
    case JINJA_STRING:
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
    case JINJA_VIEW:
    case JINJA_RANGE:
    case JINJA_LOOP: return true;
    default: return false;
    }
}

/* The length of a loop; an iterable without one is read to its end first. */
static bool loop_length(jinja_run *run, jinja_loop *loop, int64_t *out)
{
    if (loop->length < 0 && sterna_jinja_has_length(loop->iterable) &&
        loop->iterable.type != JINJA_LOOP) {
        if (!sterna_jinja_length(run, loop->iterable, &loop->length)) return false;
    } else if (loop->length < 0) {
        jinja_value rest, source = {.type = JINJA_ITERATOR, .as.iterator = loop->iterator};
        if (!sterna_jinja_collect(run, source, &rest) ||
            !sterna_jinja_iterate(run, rest, false, &loop->iterator))
            return false;
        loop->length =
            (int64_t)rest.as.list->count + loop->index0 + 1 + (loop->after.type != JINJA_MISSING);
    }
    *out = loop->length;
    return true;
}

bool sterna_jinja_length(jinja_run *run, jinja_value value, int64_t *out)
{
    switch (value.type) {
    case JINJA_UNDEFINED: *out = 0; return true;
    case JINJA_STRING:
        if (value.as.string->length == JINJA_UNKNOWN &&
            !sterna_jinja_charge(run, value.as.string->size))
            return false;
        *out = (int64_t)sterna_jinja_string_length(value.as.string);
        return true;
    case JINJA_LIST:
    case JINJA_TUPLE: *out = (int64_t)value.as.list->count; return true;
    case JINJA_DICT:
    case JINJA_VIEW: *out = (int64_t)value.as.dict->count; return true;
    case JINJA_RANGE: *out = value.as.range->length; return true;
    case JINJA_LOOP: return loop_length(run, value.as.loop, out);
    default:
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "a '%s' has no length",
                                 sterna_jinja_type_name(value));
    }
}

bool sterna_jinja_iterable(jinja_value value)
{
    return sterna_jinja_has_length(value) || value.type == JINJA_ITERATOR;
}

bool sterna_jinja_iterate(jinja_run *run, jinja_value value, bool reversed, jinja_iterator **out)
{
    if (value.type == JINJA_ITERATOR && !reversed) {
        *out = value.as.iterator;
        return true;
    }
    if (!sterna_jinja_has_length(value) || value.type == JINJA_LOOP)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 reversed ? "a '%s' cannot be reversed"
                                          : "a '%s' cannot be iterated over",
                                 sterna_jinja_type_name(value));
    jinja_iterator *iterator = sterna_jinja_alloc(run, 1, sizeof *iterator);
    if (!iterator) return false;
    *iterator =
        (jinja_iterator){.kind = JINJA_ITERATE_SEQUENCE, .reversed = reversed, .source = value};
    if (reversed && value.type == JINJA_STRING) iterator->at = value.as.string->size;
    *out = iterator;
    return true;
}

static bool next_character(jinja_run *run, jinja_iterator *iterator, jinja_value *out)
{
    const jinja_string *string = iterator->source.as.string;
    size_t from = iterator->at, to = from;
    if (iterator->reversed) {
        if (!from) return true;
        do from--;
        while (from > 0 && (string->data[from] & 0xc0) == 0x80);
        iterator->at = from;
    } else {
        if (from >= string->size) return true;
        do to++;
        while (to < string->size && (string->data[to] & 0xc0) == 0x80);
        iterator->at = to;
    }
    if (!sterna_jinja_substring(run, iterator->source, from, to, out)) return false;
    out->extra = 0; /* characters of markup are plain strings */
    return true;
}

static bool next_of_sequence(jinja_run *run, jinja_iterator *iterator, jinja_value *out)
{
    jinja_value source = iterator->source;
    int64_t length;
    if (source.type == JINJA_STRING) return next_character(run, iterator, out);
    if (!sterna_jinja_length(run, source, &length)) return false;
    if (iterator->at >= (size_t)length) return true;
    size_t at = iterator->reversed ? (size_t)length - 1 - iterator->at : iterator->at;
    iterator->at++;
    if (source.type == JINJA_LIST || source.type == JINJA_TUPLE) {
        *out = source.as.list->items[at];
    } else if (source.type == JINJA_RANGE) {
        *out = sterna_jinja_int(sterna_jinja_range_item(source.as.range, (int64_t)at));
    } else {
        const jinja_entry *entry = &source.as.dict->entries[at];
        unsigned what = source.type == JINJA_DICT ? JINJA_KEYS : source.extra;
        *out = what == JINJA_KEYS ? entry->key : entry->value;
        if (what != JINJA_ITEMS) return true;
        if (!sterna_jinja_new_list(run, JINJA_TUPLE, 2, out)) return false;
        sterna_jinja_list_add(run, out->as.list, entry->key);
        sterna_jinja_list_add(run, out->as.list, entry->value);
    }
    return true;
}

/* Whether an item passes the test of a select or the `if` of a for statement. */
static bool passes(jinja_run *run, jinja_iterator *iterator, jinja_value item, bool *out)
{
    jinja_value result = item;
    if (iterator->kind == JINJA_ITERATE_LOOP) {
        jinja_scope *scope = sterna_jinja_new_scope(run, iterator->scope);
        if (!scope || !sterna_jinja_assign(run, iterator->node->a, item, scope) ||
            !sterna_jinja_eval(run, iterator->node->c, scope, &result))
            return false;
        return sterna_jinja_truth(run, result, out);
    }
    if (!sterna_jinja_follow(run, item, iterator->attribute, sterna_jinja_missing(), &result))
        return false;
    if (iterator->callable &&
        !sterna_jinja_call_builtin(run, iterator->callable, result, &iterator->arguments, &result))
        return false;
    if (!sterna_jinja_truth(run, result, out)) return false;
    *out = *out == iterator->wanted;
    return true;
}

/* map, select and their like look at their source when the first item is asked for. */
static bool open_source(jinja_run *run, jinja_iterator *iterator)
{
    bool any = true;
    if (iterator->checked) return true;
    iterator->checked = true;
    if (iterator->kind != JINJA_ITERATE_LOOP && !sterna_jinja_truth(run, iterator->source, &any))
        return false;
    return !any || sterna_jinja_iterate(run, iterator->source, false, &iterator->inner);
}

static bool next_inner(jinja_run *run, jinja_iterator *iterator, jinja_value *out)
{
    *out = sterna_jinja_missing();
    if (iterator->kind == JINJA_ITERATE_SEQUENCE) return next_of_sequence(run, iterator, out);
    if (!open_source(run, iterator)) return false;
    while (iterator->inner) {
        jinja_value item;
        bool pass = true;
        if (!sterna_jinja_next(run, iterator->inner, &item)) return false;
        if (item.type == JINJA_MISSING) break;
        if (iterator->unknown)
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                     "map or select names an unknown filter or test");
        if (iterator->kind == JINJA_ITERATE_MAP)
            return sterna_jinja_call_builtin(run, iterator->callable, item, &iterator->arguments,
                                             out);
        if (iterator->kind == JINJA_ITERATE_ATTRIBUTE)
            return sterna_jinja_follow(run, item, iterator->attribute, iterator->fallback, out);
        if (!passes(run, iterator, item, &pass)) return false;
        if (!pass) continue;
        *out = item;
        return true;
    }
    iterator->inner = NULL; /* exhausted for good */
    return true;
}

bool sterna_jinja_next(jinja_run *run, jinja_iterator *iterator, jinja_value *out)
{
    if (!sterna_jinja_step(run, 1) || !sterna_jinja_enter(run)) return false;
    bool fine = next_inner(run, iterator, out);
    sterna_jinja_leave(run);
    return fine;
}

bool sterna_jinja_collect(jinja_run *run, jinja_value iterable, jinja_value *out)
{
    jinja_iterator *iterator;
    jinja_value item;
    if (!sterna_jinja_iterate(run, iterable, false, &iterator) ||
        !sterna_jinja_new_list(run, JINJA_LIST, 0, out))
        return false;
    for (;;) {
        if (!sterna_jinja_next(run, iterator, &item)) return false;
        if (item.type == JINJA_MISSING) return true;
        if (!sterna_jinja_list_add(run, out->as.list, item)) return false;
    }
}

/* Merges the sorted halves of from[start..end) into to. */
static bool merge(jinja_run *run, const jinja_value *keys, const size_t *from, size_t *to,
                  size_t start, size_t middle, size_t end, bool reverse)
{
    size_t left = start, right = middle;
    for (size_t at = start; at < end; at++) {
        bool take_right = left >= middle;
        if (!take_right && right < end) { /* equal keys keep their order, reversed or not */
            jinja_value a = keys[from[right]], b = keys[from[left]];
            if (!sterna_jinja_order(run, JINJA_LESS, reverse ? b : a, reverse ? a : b, &take_right))
                return false;
        }
        to[at] = from[take_right ? right++ : left++];
    }
    return true;
}

bool sterna_jinja_sort(jinja_run *run, const jinja_value *keys, size_t *order, size_t count,
                       bool reverse)
{
    size_t *other = sterna_jinja_alloc(run, count, sizeof *other), *from = order, *to = other;
    if (!other) return false;
    for (size_t i = 0; i < count; i++) order[i] = i;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t start = 0; start < count; start += 2 * width) {
            size_t middle = start + width < count ? start + width : count;
            size_t end = start + 2 * width < count ? start + 2 * width : count;
            if (!merge(run, keys, from, to, start, middle, end, reverse)) return false;
        }
        size_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != order) memcpy(order, from, count * sizeof *order);
    return true;
}

/* ---- the run ---- */

bool sterna_jinja_fail(jinja_run *run, sterna_status status, const char *format, ...)
{
    if (run->status != STERNA_OK) return false; /* the first reason stays */
    char sentence[sizeof run->error.message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    run->status = sterna_fail(&run->error, status, "template line %d: %s", run->line, sentence);
    return false;
}

bool sterna_jinja_step(jinja_run *run, uint64_t steps)
{
    if (steps <= run->steps_left) {
        run->steps_left -= steps;
        return true;
    }
    run->steps_left = 0;
    return sterna_jinja_fail(run, STERNA_ERROR_LIMIT,
                             "the template takes more steps than its limit allows");
}

bool sterna_jinja_charge(jinja_run *run, size_t bytes)
{
    return bytes < 64 || sterna_jinja_step(run, bytes / 64);
}

bool sterna_jinja_enter(jinja_run *run)
{
    if (run->depth >= run->max_depth)
        return sterna_jinja_fail(run, STERNA_ERROR_LIMIT,
                                 "the template nests deeper than %u levels", run->max_depth);
    run->depth++;
    return true;
}

void sterna_jinja_leave(jinja_run *run)
{
    run->depth--;
}
