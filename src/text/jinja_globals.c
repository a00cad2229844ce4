/* Global functions, and the attributes of everything that is not a string. */
#include "text/jinja_internal.h"

#include <string.h>
#include <time.h>

#define NATIVE(name)                                                                               \
    static bool name(jinja_run *run, jinja_value self, const jinja_value *bound,                   \
                     const jinja_arguments *all, jinja_value *out)
#define UNUSED (void)run, (void)self, (void)bound, (void)all, (void)out

/* ---- functions ---- */

NATIVE(range_function)
{
    UNUSED;
    int64_t numbers[3] = {0, 0, 1};
    if (!all->count || all->count > 3 || all->named_count)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "range takes one to three integers");
    for (size_t i = 0; i < all->count; i++)
        if (!sterna_jinja_want_int(run, all->values[i], "an argument of range", &numbers[i]))
            return false;
    if (all->count == 1) numbers[1] = numbers[0], numbers[0] = 0;
    int64_t start = numbers[0], stop = numbers[1], step = numbers[2];
    if (!step) return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "the step of range is zero");
    bool up = step > 0;
    uint64_t distance = up ? (uint64_t)stop - (uint64_t)start : (uint64_t)start - (uint64_t)stop;
    uint64_t stride = up ? (uint64_t)step : 0 - (uint64_t)step, length = 0;
    if (up ? start < stop : start > stop) length = (distance - 1) / stride + 1;
    if (length > JINJA_MAX_RANGE)
        return sterna_jinja_fail(run, STERNA_ERROR_LIMIT, "a range has more than %d numbers",
                                 JINJA_MAX_RANGE);
    jinja_range *range = sterna_jinja_alloc(run, 1, sizeof *range);
    if (!range) return false;
    *range = (jinja_range){start, stop, step, (int64_t)length};
    *out = (jinja_value){.type = JINJA_RANGE, .as.range = range};
    return true;
}

/* dict(mapping or pairs, name=value, ...) */
NATIVE(dict_function)
{
    UNUSED;
    jinja_iterator *iterator;
    jinja_value item, pair, source = all->count ? all->values[0] : sterna_jinja_missing();
    if (all->count > 1)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "dict takes at most one argument");
    if (!sterna_jinja_new_dict(run, out)) return false;
    jinja_dict *dict = out->as.dict;
    if (source.type == JINJA_DICT)
        source = (jinja_value){.type = JINJA_VIEW, .extra = JINJA_ITEMS, .as.dict = source.as.dict};
    if (source.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, source);
    if (source.type != JINJA_MISSING) {
        if (!sterna_jinja_iterate(run, source, false, &iterator)) return false;
        for (;;) {
            if (!sterna_jinja_next(run, iterator, &item)) return false;
            if (item.type == JINJA_MISSING) break;
            if (!sterna_jinja_collect(run, item, &pair)) return false;
            if (pair.as.list->count != 2)
                return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                         "dict needs pairs of key and value");
            if (!sterna_jinja_dict_put(run, dict, pair.as.list->items[0], pair.as.list->items[1]))
                return false;
        }
    }
    for (size_t i = 0; i < all->named_count; i++) {
        jinja_value key = {.type = JINJA_STRING, .as.string = (jinja_string *)all->names[i]};
        if (!sterna_jinja_dict_put(run, dict, key, all->named[i])) return false;
    }
    return true;
}

NATIVE(namespace_function)
{
    UNUSED;
    if (!dict_function(run, self, bound, all, out)) return false;
    for (size_t i = 0; i < out->as.dict->count; i++) {
        jinja_value key = out->as.dict->entries[i].key;
        if (key.type == JINJA_STRING && key.as.string->size && key.as.string->data[0] == '_')
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                     "attributes of a namespace cannot start with an underscore");
    }
    out->type = JINJA_NAMESPACE;
    return true;
}

static bool new_cycler(jinja_run *run, jinja_type type, const jinja_value *items, size_t count,
                       jinja_value *out)
{
    jinja_cycler *cycler = sterna_jinja_alloc(run, 1, sizeof *cycler);
    jinja_value *copy = sterna_jinja_alloc(run, count, sizeof *copy);
    if (!cycler || !copy) return false;
    memcpy(copy, items, count * sizeof *copy);
    *cycler = (jinja_cycler){copy, count, 0};
    *out = (jinja_value){.type = type, .as.cycler = cycler};
    return true;
}

NATIVE(cycler_function)
{
    UNUSED;
    if (!all->count || all->named_count)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "cycler needs at least one item");
    return new_cycler(run, JINJA_CYCLER, all->values, all->count, out);
}

NATIVE(joiner_function)
{
    UNUSED;
    jinja_value separator = bound[0];
    if (separator.type == JINJA_MISSING && !sterna_jinja_literal(run, ", ", &separator))
        return false;
    return new_cycler(run, JINJA_JOINER, &separator, 1, out);
}

NATIVE(raise_exception)
{
    UNUSED;
    jinja_value message;
    if (!sterna_jinja_to_string(run, bound[0], false, &message)) return false;
    size_t size = message.as.string->size < 600 ? message.as.string->size : 600;
    return sterna_jinja_fail(run, STERNA_ERROR_ARGUMENT, "the template refuses: %.*s", (int)size,
                             message.as.string->data);
}

NATIVE(strftime_now)
{
    UNUSED;
    jinja_string *format;
    struct tm local;
    char zeroed[1024], text[4096];
    if (!sterna_jinja_want_string(run, bound[0], "the format of strftime_now", &format))
        return false;
    if (format->size >= sizeof zeroed - 1 || memchr(format->data, 0, format->size))
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 "the format of strftime_now is too long");
    if (run->options->now) {
        local = *run->options->now;
    } else {
        time_t now = time(NULL);
        if (!localtime_r(&now, &local))
            return sterna_jinja_fail(run, STERNA_ERROR_INTERNAL,
                                     "the system does not tell the time");
    }
    memcpy(zeroed, format->data, format->size); /* a character in front tells "" from too long */
    zeroed[format->size] = '.';
    zeroed[format->size + 1] = 0;
    size_t size = strftime(text, sizeof text, zeroed, &local);
    if (!size) return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "strftime_now writes too much");
    return sterna_jinja_string(run, text, size - 1, out);
}

NATIVE(lipsum)
{
    UNUSED;
    return sterna_jinja_fail(run, STERNA_ERROR_UNSUPPORTED, "the function lipsum is not supported");
}

static const jinja_callable globals[] = {
    {"cycler", cycler_function, NULL, 0, 0},
    {"dict", dict_function, NULL, 0, 0},
    {"joiner", joiner_function, "sep", 0, 1},
    {"lipsum", lipsum, NULL, 0, 0},
    {"namespace", namespace_function, NULL, 0, 0},
    {"raise_exception", raise_exception, "message", 1, 1},
    {"range", range_function, NULL, 0, 0},
    {"strftime_now", strftime_now, "format", 1, 1},
};

const jinja_callable *sterna_jinja_global(const jinja_string *name)
{
    return sterna_jinja_lookup(globals, sizeof globals / sizeof *globals, name);
}

/* ---- methods of lists, dicts and helpers ---- */

NATIVE(list_count)
{
    UNUSED;
    int64_t count = 0;
    for (size_t i = 0; i < self.as.list->count; i++) {
        bool equal;
        if (!sterna_jinja_equal(run, self.as.list->items[i], bound[0], &equal)) return false;
        count += equal;
    }
    *out = sterna_jinja_int(count);
    return true;
}

NATIVE(list_index)
{
    UNUSED;
    int64_t count = (int64_t)self.as.list->count, start = 0, stop = count;
    if ((bound[1].type != JINJA_MISSING &&
         !sterna_jinja_want_int(run, bound[1], "start", &start)) ||
        (bound[2].type != JINJA_MISSING && !sterna_jinja_want_int(run, bound[2], "stop", &stop)))
        return false;
    if (start < 0) start = start + count < 0 ? 0 : start + count;
    if (stop < 0) stop += count;
    for (int64_t i = start; i < stop && i < count; i++) {
        bool equal;
        if (!sterna_jinja_equal(run, self.as.list->items[i], bound[0], &equal)) return false;
        *out = sterna_jinja_int(i);
        if (equal) return true;
    }
    return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "index: the value is not in the %s",
                             sterna_jinja_type_name(self));
}

NATIVE(list_copy)
{
    UNUSED;
    return sterna_jinja_collect(run, self, out);
}

NATIVE(range_count)
{
    UNUSED;
    bool found;
    if (!sterna_jinja_contains(run, bound[0], self, &found)) return false;
    *out = sterna_jinja_int(found);
    return true;
}

NATIVE(range_index)
{
    UNUSED;
    bool found;
    const jinja_range *range = self.as.range;
    if (!sterna_jinja_contains(run, bound[0], self, &found)) return false;
    if (!found)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "index: the value is not in the range");
    int64_t value = bound[0].type == JINJA_FLOAT ? (int64_t)bound[0].as.real
                                                 : sterna_jinja_as_integer(bound[0]);
    *out = sterna_jinja_int((value - range->start) / range->step);
    return true;
}

NATIVE(dict_get)
{
    UNUSED;
    jinja_value *found;
    if (!sterna_jinja_dict_find(run, self.as.dict, bound[0], &found)) return false;
    *out = found ? *found : bound[1].type == JINJA_MISSING ? sterna_jinja_none() : bound[1];
    return true;
}

static bool view(jinja_value self, unsigned what, jinja_value *out)
{
    *out = (jinja_value){.type = JINJA_VIEW, .extra = what, .as.dict = self.as.dict};
    return true;
}

NATIVE(dict_keys)
{
    UNUSED;
    return view(self, JINJA_KEYS, out);
}

NATIVE(dict_values)
{
    UNUSED;
    return view(self, JINJA_VALUES, out);
}

NATIVE(dict_items)
{
    UNUSED;
    return view(self, JINJA_ITEMS, out);
}

NATIVE(dict_copy)
{
    UNUSED;
    jinja_arguments one = {.values = &self, .count = 1};
    return dict_function(run, self, bound, &one, out);
}

NATIVE(cycler_next)
{
    UNUSED;
    *out = self.as.cycler->items[self.as.cycler->at];
    self.as.cycler->at = (self.as.cycler->at + 1) % self.as.cycler->count;
    return true;
}

NATIVE(cycler_reset)
{
    UNUSED;
    self.as.cycler->at = 0;
    *out = sterna_jinja_none();
    return true;
}

NATIVE(loop_cycle)
{
    UNUSED;
    if (!all->count || all->named_count)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "loop.cycle needs at least one item");
    *out = all->values[(size_t)self.as.loop->index0 % all->count];
    return true;
}

NATIVE(loop_changed)
{
    UNUSED;
    jinja_value values;
    bool same = false;
    if (all->named_count)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "loop.changed takes no names");
    if (!sterna_jinja_new_list(run, JINJA_TUPLE, all->count, &values)) return false;
    for (size_t i = 0; i < all->count; i++)
        sterna_jinja_list_add(run, values.as.list, all->values[i]);
    if (!sterna_jinja_equal(run, self.as.loop->changed, values, &same)) return false;
    self.as.loop->changed = values;
    *out = sterna_jinja_bool(!same);
    return true;
}

static const jinja_callable list_methods[] = {
    {"copy", list_copy, "", 0, 0},
    {"count", list_count, "value", 1, 0},
    {"index", list_index, "value start stop", 1, 0},
};
static const jinja_callable range_methods[] = {
    {"count", range_count, "value", 1, 0},
    {"index", range_index, "value", 1, 0},
};
static const jinja_callable dict_methods[] = {
    {"copy", dict_copy, "", 0, 0},     {"get", dict_get, "key default", 1, 0},
    {"items", dict_items, "", 0, 0},   {"keys", dict_keys, "", 0, 0},
    {"values", dict_values, "", 0, 0},
};
static const jinja_callable cycler_methods[] = {
    {"next", cycler_next, "", 0, 0},
    {"reset", cycler_reset, "", 0, 0},
};
static const jinja_callable loop_methods[] = {
    {"changed", loop_changed, NULL, 0, 0},
    {"cycle", loop_cycle, NULL, 0, 0},
};

/* What the immutable sandbox hides: these exist but cannot be called. */
static const char list_hidden[] = " append clear extend insert pop remove reverse sort ";
static const char dict_hidden[] = " clear pop popitem setdefault update ";

static bool is_hidden(const char *hidden, const jinja_string *name)
{
    for (const char *p = hidden; *p; p++)
        if (*p == ' ' && !strncmp(p + 1, name->data, name->size) && p[1] &&
            p[name->size + 1] == ' ')
            return true;
    return false;
}

static bool loop_member(jinja_run *run, jinja_loop *loop, const jinja_string *name,
                        jinja_value *out)
{
    static const char *const names[] = {"index",  "index0",   "revindex", "revindex0",
                                        "length", "first",    "last",     "depth",
                                        "depth0", "previtem", "nextitem"};
    jinja_value self = {.type = JINJA_LOOP, .as.loop = loop};
    size_t which = 0;
    int64_t length = 0;
    while (which < sizeof names / sizeof *names && !sterna_jinja_string_is(name, names[which]))
        which++;
    if (which >= 2 && which <= 4 && !sterna_jinja_length(run, self, &length)) return false;
    if ((which == 6 || which == 10) && loop->after.type == JINJA_MISSING &&
        !sterna_jinja_next(run, loop->iterator, &loop->after))
        return false;
    switch (which) {
    case 0: *out = sterna_jinja_int(loop->index0 + 1); return true;
    case 1: *out = sterna_jinja_int(loop->index0); return true;
    case 2: *out = sterna_jinja_int(length - loop->index0); return true;
    case 3: *out = sterna_jinja_int(length - loop->index0 - 1); return true;
    case 4: *out = sterna_jinja_int(length); return true;
    case 5: *out = sterna_jinja_bool(loop->index0 == 0); return true;
    case 6: *out = sterna_jinja_bool(loop->after.type == JINJA_MISSING); return true;
    case 7: *out = sterna_jinja_int(loop->depth0 + 1); return true;
    case 8: *out = sterna_jinja_int(loop->depth0); return true;
    case 9:
        if (!loop->index0)
            return sterna_jinja_undefined_hint(run, "there is no previous item", out);
        *out = loop->before;
        return true;
    case 10:
        if (loop->after.type == JINJA_MISSING)
            return sterna_jinja_undefined_hint(run, "there is no next item", out);
        *out = loop->after;
        return true;
    default: return true;
    }
}

static bool macro_member(jinja_run *run, const jinja_macro *macro, const jinja_string *name,
                         jinja_value *out)
{
    const jinja_signature *signature = macro->node->signature;
    if (sterna_jinja_string_is(name, "name"))
        *out = macro->node->value.type == JINJA_STRING ? macro->node->value : sterna_jinja_none();
    if (sterna_jinja_string_is(name, "catch_kwargs"))
        *out = sterna_jinja_bool(signature->uses_kwargs);
    if (sterna_jinja_string_is(name, "catch_varargs"))
        *out = sterna_jinja_bool(signature->uses_varargs);
    if (sterna_jinja_string_is(name, "caller")) *out = sterna_jinja_bool(signature->uses_caller);
    if (!sterna_jinja_string_is(name, "arguments")) return true;
    if (!sterna_jinja_new_list(run, JINJA_TUPLE, signature->parameters.count, out)) return false;
    for (size_t i = 0; i < signature->parameters.count; i++) {
        jinja_value argument = {.type = JINJA_STRING};
        argument.as.string = run->program->symbols[signature->parameters.items[i]->symbol];
        sterna_jinja_list_add(run, out->as.list, argument);
    }
    return true;
}

bool sterna_jinja_member(jinja_run *run, jinja_value value, const jinja_string *name,
                         jinja_value *out)
{
    const jinja_callable *found = NULL;
    const char *hidden = NULL;
    jinja_value *attribute;
    *out = sterna_jinja_missing();
    switch (value.type) {
    case JINJA_STRING: found = sterna_jinja_string_method(name); break;
    case JINJA_LIST: hidden = list_hidden; /* fall through */
    case JINJA_TUPLE:
        if (value.extra == JINJA_GROUP && value.type == JINJA_TUPLE) {
            if (sterna_jinja_string_is(name, "grouper")) *out = value.as.list->items[0];
            if (sterna_jinja_string_is(name, "list")) *out = value.as.list->items[1];
        }
        found = sterna_jinja_lookup(list_methods, sizeof list_methods / sizeof *list_methods, name);
        if (found && value.type == JINJA_TUPLE && sterna_jinja_string_is(name, "copy"))
            found = NULL;
        break;
    case JINJA_DICT:
        hidden = dict_hidden;
        found = sterna_jinja_lookup(dict_methods, sizeof dict_methods / sizeof *dict_methods, name);
        break;
    case JINJA_RANGE:
        if (sterna_jinja_string_is(name, "start")) *out = sterna_jinja_int(value.as.range->start);
        if (sterna_jinja_string_is(name, "stop")) *out = sterna_jinja_int(value.as.range->stop);
        if (sterna_jinja_string_is(name, "step")) *out = sterna_jinja_int(value.as.range->step);
        found =
            sterna_jinja_lookup(range_methods, sizeof range_methods / sizeof *range_methods, name);
        break;
    case JINJA_NAMESPACE:
        attribute = sterna_jinja_dict_find_text(value.as.dict, name->data, name->size);
        if (attribute) *out = *attribute;
        break;
    case JINJA_LOOP:
        if (!loop_member(run, value.as.loop, name, out)) return false;
        found = sterna_jinja_lookup(loop_methods, sizeof loop_methods / sizeof *loop_methods, name);
        break;
    case JINJA_CYCLER:
        if (sterna_jinja_string_is(name, "current"))
            *out = value.as.cycler->items[value.as.cycler->at];
        if (sterna_jinja_string_is(name, "pos"))
            *out = sterna_jinja_int((int64_t)value.as.cycler->at);
        found = sterna_jinja_lookup(cycler_methods, sizeof cycler_methods / sizeof *cycler_methods,
                                    name);
        break;
    case JINJA_JOINER:
        if (sterna_jinja_string_is(name, "sep")) *out = value.as.cycler->items[0];
        if (sterna_jinja_string_is(name, "used"))
            *out = sterna_jinja_bool(value.as.cycler->at != 0);
        break;
    case JINJA_MACRO: return macro_member(run, value.as.macro, name, out);
    default: break;
    }
    if (hidden && is_hidden(hidden, name))
        return sterna_jinja_undefined_hint(
            run, "the sandbox forbids methods that change a list or dict", out);
    if (!found) return true;
    jinja_method *method = sterna_jinja_alloc(run, 1, sizeof *method);
    if (!method) return false;
    *method = (jinja_method){value, found};
    *out = (jinja_value){.type = JINJA_METHOD, .as.method = method};
    return true;
}
