/* Operators, attribute and item lookup, slices. */
#include "text/jinja_internal.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

static bool fail_overflow(jinja_run *run)
{
    return sterna_jinja_fail(run, STERNA_ERROR_LIMIT, "an integer does not fit in 64 bits");
}

static bool fail_operands(jinja_run *run, const char *op, jinja_value a, jinja_value b)
{
    if (a.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, a);
    if (b.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, b);
    return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                             "operator %s does not work between '%s' and '%s'", op,
                             sterna_jinja_type_name(a), sterna_jinja_type_name(b));
}

/* ---- strings and lists ---- */

/* a + b; the bytes of b go behind a's where a ends its storage. */
static bool join_strings(jinja_run *run, jinja_value a, jinja_value b, jinja_value *out)
{
    jinja_text text;
    jinja_string *left = a.as.string, *right = b.as.string;
    bool safe = (a.extra | b.extra) & JINJA_SAFE;
    sterna_jinja_text_start(&text, run);
    jinja_storage *storage = left->storage;
    bool fine;
    if (storage && left->data == storage->data && left->size == storage->used &&
        a.extra == b.extra) {
        text.data = storage->data;
        text.size = storage->used;
        text.capacity = storage->capacity;
        storage->used = JINJA_UNKNOWN; /* a can be extended only once */
        fine = sterna_jinja_text_add(&text, right->data, right->size);
    } else {
        fine = (safe && !(a.extra & JINJA_SAFE)
                    ? sterna_jinja_escape(&text, left->data, left->size)
                    : sterna_jinja_text_add(&text, left->data, left->size)) &&
               (safe && !(b.extra & JINJA_SAFE)
                    ? sterna_jinja_escape(&text, right->data, right->size)
                    : sterna_jinja_text_add(&text, right->data, right->size));
    }
    if (!fine || !sterna_jinja_text_finish(&text, out)) return false;
    out->extra = safe ? JINJA_SAFE : 0;
    return true;
}

static bool join_lists(jinja_run *run, jinja_value a, jinja_value b, jinja_value *out)
{
    size_t count = a.as.list->count + b.as.list->count;
    if (!sterna_jinja_step(run, count) || !sterna_jinja_new_list(run, a.type, count, out))
        return false;
    for (size_t i = 0; i < a.as.list->count; i++)
        sterna_jinja_list_add(run, out->as.list, a.as.list->items[i]);
    for (size_t i = 0; i < b.as.list->count; i++)
        sterna_jinja_list_add(run, out->as.list, b.as.list->items[i]);
    return true;
}

static bool repeat(jinja_run *run, jinja_value a, int64_t times, jinja_value *out)
{
    if (times < 0) times = 0;
    if (a.type == JINJA_STRING) {
        jinja_text text;
        sterna_jinja_text_start(&text, run);
        if (!sterna_jinja_text_repeat(&text, a.as.string->data, a.as.string->size, times) ||
            !sterna_jinja_text_finish(&text, out))
            return false;
        out->extra = a.extra;
        return true;
    }
    size_t total;
    if (!sterna_mul_size(a.as.list->count, (size_t)times, &total) || total > SIZE_MAX / 64)
        return sterna_jinja_fail(run, STERNA_ERROR_LIMIT, "a list would be repeated %lld times",
                                 (long long)times);
    if (!a.as.list->count) times = 0;
    if (!sterna_jinja_step(run, total) || !sterna_jinja_new_list(run, a.type, total, out))
        return false;
    for (int64_t i = 0; i < times; i++)
        for (size_t k = 0; k < a.as.list->count; k++)
            sterna_jinja_list_add(run, out->as.list, a.as.list->items[k]);
    return true;
}

static bool is_repeatable(jinja_value value)
{
    return value.type == JINJA_STRING || value.type == JINJA_LIST || value.type == JINJA_TUPLE;
}

/* ---- numbers ---- */

static double floor_modulo(double a, double b)
{
    double rest = fmod(a, b);
    if (rest != 0 && (rest < 0) != (b < 0)) return rest + b;
    return rest == 0 ? copysign(0, b) : rest;
}

static bool int_power(jinja_run *run, int64_t base, int64_t power, jinja_value *out)
{
    int64_t result = 1;
    if (power < 0) {
        if (!base)
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                     "0 cannot be raised to a negative power");
        *out = sterna_jinja_float(pow((double)base, (double)power));
        return true;
    }
    if (base == 0 || base == 1 || base == -1) {
        *out = sterna_jinja_int(power == 0 ? 1 : base == -1 && power % 2 == 0 ? 1 : base);
        return true;
    }
    if (power > 64) return fail_overflow(run);
    for (int64_t i = 0; i < power; i++)
        if (__builtin_mul_overflow(result, base, &result)) return fail_overflow(run);
    *out = sterna_jinja_int(result);
    return true;
}

static bool int_operation(jinja_run *run, jinja_operator op, int64_t a, int64_t b, jinja_value *out)
{
    int64_t result = 0;
    bool overflow = false;
    if ((op == JINJA_DIVIDE || op == JINJA_FLOOR_DIVIDE || op == JINJA_MODULO) && !b)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "division by zero");
    switch (op) {
    case JINJA_ADD: overflow = __builtin_add_overflow(a, b, &result); break;
    case JINJA_SUBTRACT: overflow = __builtin_sub_overflow(a, b, &result); break;
    case JINJA_MULTIPLY: overflow = __builtin_mul_overflow(a, b, &result); break;
    case JINJA_DIVIDE:
        *out = sterna_jinja_float((double)((long double)a / (long double)b));
        return true;
    case JINJA_FLOOR_DIVIDE:
        overflow = a == INT64_MIN && b == -1;
        if (!overflow) result = a / b - (a % b != 0 && (a < 0) != (b < 0));
        break;
    case JINJA_MODULO:
        if (b == -1) break;
        result = a % b;
        if (result && (result < 0) != (b < 0)) result += b;
        break;
    default: return int_power(run, a, b, out);
    }
    if (overflow) return fail_overflow(run);
    *out = sterna_jinja_int(result);
    return true;
}

static bool float_operation(jinja_run *run, jinja_operator op, double a, double b, jinja_value *out)
{
    double result = 0;
    if ((op == JINJA_DIVIDE || op == JINJA_FLOOR_DIVIDE || op == JINJA_MODULO) && b == 0)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "division by zero");
    switch (op) {
    case JINJA_ADD: result = a + b; break;
    case JINJA_SUBTRACT: result = a - b; break;
    case JINJA_MULTIPLY: result = a * b; break;
    case JINJA_DIVIDE: result = a / b; break;
    case JINJA_FLOOR_DIVIDE: { /* the steps of CPython, which round differently from floor(a / b) */
        double rest = fmod(a, b), quotient = (a - rest) / b;
        if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
        result = quotient != 0 ? floor(quotient) + (quotient - floor(quotient) > 0.5)
                               : copysign(0, a / b);
        break;
    }
    case JINJA_MODULO: result = floor_modulo(a, b); break;
    default:
        if (a == 0 && b < 0)
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                     "0.0 cannot be raised to a negative power");
        if (a < 0 && isfinite(a) && isfinite(b) && b != floor(b))
            return sterna_jinja_fail(run, STERNA_ERROR_UNSUPPORTED,
                                     "complex numbers are not supported");
        result = pow(a, b);
        if (isinf(result) && isfinite(a) && isfinite(b))
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "the result of ** is too large");
    }
    *out = sterna_jinja_float(result);
    return true;
}

bool sterna_jinja_binary(jinja_run *run, jinja_operator op, jinja_value a, jinja_value b,
                         jinja_value *out)
{
    static const char *const names[] = {"+", "-", "*", "/", "//", "%", "**"};
    if (sterna_jinja_is_integer(a) && sterna_jinja_is_integer(b))
        return int_operation(run, op, sterna_jinja_as_integer(a), sterna_jinja_as_integer(b), out);
    if (sterna_jinja_is_number(a) && sterna_jinja_is_number(b))
        return float_operation(run, op, sterna_jinja_as_float(a), sterna_jinja_as_float(b), out);
    if (op == JINJA_ADD && a.type == b.type) {
        if (a.type == JINJA_STRING) return join_strings(run, a, b, out);
        if (a.type == JINJA_LIST || a.type == JINJA_TUPLE) return join_lists(run, a, b, out);
    }
    if (op == JINJA_MULTIPLY && is_repeatable(a) && sterna_jinja_is_integer(b))
        return repeat(run, a, sterna_jinja_as_integer(b), out);
    if (op == JINJA_MULTIPLY && is_repeatable(b) && sterna_jinja_is_integer(a))
        return repeat(run, b, sterna_jinja_as_integer(a), out);
    if (op == JINJA_MODULO && a.type == JINJA_STRING) return sterna_jinja_percent(run, a, b, out);
    return fail_operands(run, names[op], a, b);
}

bool sterna_jinja_negate(jinja_run *run, bool minus, jinja_value a, jinja_value *out)
{
    if (a.type == JINJA_FLOAT) {
        *out = sterna_jinja_float(minus ? -a.as.real : a.as.real);
        return true;
    }
    if (sterna_jinja_is_integer(a)) {
        int64_t value = sterna_jinja_as_integer(a);
        if (minus && value == INT64_MIN) return fail_overflow(run);
        *out = sterna_jinja_int(minus ? -value : value);
        return true;
    }
    if (a.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, a);
    return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "a '%s' has no sign",
                             sterna_jinja_type_name(a));
}

static bool range_contains(const jinja_range *range, jinja_value item)
{
    if (item.type == JINJA_FLOAT && item.as.real == floor(item.as.real) &&
        fabs(item.as.real) < 9e18)
        item = sterna_jinja_int((int64_t)item.as.real);
    if (!sterna_jinja_is_integer(item) || !range->length) return false;
    int64_t value = sterna_jinja_as_integer(item),
            last = sterna_jinja_range_item(range, range->length - 1);
    if (range->step > 0 ? value < range->start || value > last
                        : value > range->start || value < last)
        return false;
    return (value - range->start) % range->step == 0;
}

bool sterna_jinja_contains(jinja_run *run, jinja_value item, jinja_value container, bool *out)
{
    jinja_value *found;
    *out = false;
    switch (container.type) {
    case JINJA_STRING:
        if (item.type != JINJA_STRING)
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                     "'in <string>' needs a string on the left, not '%s'",
                                     sterna_jinja_type_name(item));
        *out =
            sterna_jinja_find(container.as.string->data, container.as.string->size,
                              item.as.string->data, item.as.string->size, false) != JINJA_UNKNOWN;
        return sterna_jinja_charge(run, container.as.string->size);
    case JINJA_DICT:
        if (!sterna_jinja_dict_find(run, container.as.dict, item, &found)) return false;
        *out = found != NULL;
        return true;
    case JINJA_RANGE: *out = range_contains(container.as.range, item); return true;
    default: break;
    }
    jinja_iterator *iterator;
    if (!sterna_jinja_iterate(run, container, false, &iterator)) return false;
    for (;;) {
        jinja_value value;
        if (!sterna_jinja_next(run, iterator, &value)) return false;
        if (value.type == JINJA_MISSING) return true;
        *out = sterna_jinja_is(value, item);
        if (!*out && !sterna_jinja_equal(run, value, item, out)) return false;
        if (*out) return true;
    }
}

/* ---- lookup ---- */

static bool undefined_member(jinja_run *run, jinja_value a, const jinja_string *name,
                             jinja_value *out)
{
    if (!sterna_jinja_undefined_name(run, name, out)) return false;
    out->extra = a.type;
    return true;
}

/* a[key] for the values that have items; *out is MISSING where Python raises a LookupError or a
 * TypeError, which jinja2 catches. */
static bool subscript(jinja_run *run, jinja_value a, jinja_value key, jinja_value *out)
{
    *out = sterna_jinja_missing();
    if (a.type == JINJA_DICT) {
        jinja_value *found = NULL;
        bool unhashable =
            key.type == JINJA_LIST || key.type == JINJA_DICT || key.type == JINJA_VIEW;
        if (!unhashable && !sterna_jinja_dict_find(run, a.as.dict, key, &found)) return false;
        if (found) *out = *found;
        return true;
    }
    if (a.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, a);
    if (!sterna_jinja_is_integer(key)) return true;
    int64_t index = sterna_jinja_as_integer(key), length;
    if (a.type != JINJA_STRING && a.type != JINJA_LIST && a.type != JINJA_TUPLE &&
        a.type != JINJA_RANGE)
        return true;
    if (!sterna_jinja_length(run, a, &length)) return false;
    if (index < 0) index += length;
    if (index < 0 || index >= length) return true;
    if (a.type == JINJA_LIST || a.type == JINJA_TUPLE) {
        *out = a.as.list->items[index];
        return true;
    }
    if (a.type == JINJA_RANGE) {
        *out = sterna_jinja_int(sterna_jinja_range_item(a.as.range, index));
        return true;
    }
    return sterna_jinja_slice(run, a, sterna_jinja_int(index), sterna_jinja_int(index + 1),
                              sterna_jinja_missing(), out);
}

/* Attributes that Python's undefined objects have; the sandbox hides them behind another undefined
 * value instead of an error. */
static bool undefined_has(const jinja_string *name)
{
    static const char *const names[] = {
        "__class__", "__doc__",  "__init__", "__len__",  "__iter__",   "__str__",   "__repr__",
        "__eq__",    "__hash__", "__bool__", "__call__", "__module__", "__dir__",   "__slots__",
        "__add__",   "__lt__",   "__gt__",   "__new__",  "__sizeof__", "__reduce__"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (sterna_jinja_string_is(name, names[i])) return true;
    return name->size > 11 && !memcmp(name->data, "_undefined_", 11);
}

bool sterna_jinja_attribute(jinja_run *run, jinja_value a, const jinja_string *name,
                            jinja_value *out)
{
    if (a.type == JINJA_UNDEFINED && !undefined_has(name))
        return sterna_jinja_fail_undefined(run, a);
    if (!sterna_jinja_member(run, a, name, out)) return false;
    if (out->type == JINJA_MISSING && a.type == JINJA_DICT) {
        jinja_value *found = sterna_jinja_dict_find_text(a.as.dict, name->data, name->size);
        if (found) *out = *found;
    }
    if (out->type == JINJA_MISSING) return undefined_member(run, a, name, out);
    return true;
}

bool sterna_jinja_item(jinja_run *run, jinja_value a, jinja_value key, jinja_value *out)
{
    if (!subscript(run, a, key, out)) return false;
    if (out->type != JINJA_MISSING) return true;
    if (key.type == JINJA_STRING) {
        if (!sterna_jinja_member(run, a, key.as.string, out)) return false;
        return out->type != JINJA_MISSING || undefined_member(run, a, key.as.string, out);
    }
    jinja_text text;
    jinja_value name;
    sterna_jinja_text_start(&text, run);
    if (!sterna_jinja_text_repr(&text, key) || !sterna_jinja_text_finish(&text, &name))
        return false;
    return undefined_member(run, a, name.as.string, out);
}

bool sterna_jinja_follow(jinja_run *run, jinja_value value, jinja_value path, jinja_value fallback,
                         jinja_value *out)
{
    *out = value;
    if (path.type == JINJA_MISSING || path.type == JINJA_NONE) return true;
    const char *part = path.type == JINJA_STRING ? path.as.string->data : "", *end = part;
    if (path.type == JINJA_STRING) end += path.as.string->size;
    for (bool more = true; more;) {
        jinja_value key = path;
        if (path.type == JINJA_STRING) {
            const char *dot = memchr(part, '.', (size_t)(end - part));
            const char *stop = dot ? dot : end;
            int64_t index;
            bool overflow = false, digits = stop > part;
            for (const char *p = part; p < stop; p++) digits = digits && *p >= '0' && *p <= '9';
            if (digits &&
                sterna_jinja_text_to_int(part, (size_t)(stop - part), 10, &index, &overflow) &&
                !overflow)
                key = sterna_jinja_int(index);
            else if (!sterna_jinja_borrow(run, part, (size_t)(stop - part), &key))
                return false;
            more = dot != NULL;
            part = dot ? dot + 1 : end;
        } else {
            more = false;
        }
        if (!sterna_jinja_step(run, 1) || !sterna_jinja_item(run, *out, key, out)) return false;
        if (out->type == JINJA_UNDEFINED && fallback.type != JINJA_MISSING &&
            fallback.type != JINJA_NONE)
            *out = fallback;
    }
    return true;
}

/* ---- slices ---- */

static bool slice_bound(jinja_run *run, jinja_value bound, int64_t length, int64_t low,
                        int64_t high, int64_t absent, int64_t *out)
{
    if (bound.type == JINJA_MISSING || bound.type == JINJA_NONE) {
        *out = absent;
        return true;
    }
    if (bound.type == JINJA_UNDEFINED)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "a slice bound is undefined");
    if (!sterna_jinja_is_integer(bound))
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 "a slice bound is a '%s', not an integer",
                                 sterna_jinja_type_name(bound));
    int64_t value = sterna_jinja_as_integer(bound);
    if (value < 0) value = value < -length ? low : value + length;
    *out = value < low ? low : value > high ? high : value;
    return true;
}

/* Byte offset of a code point in a string. */
static size_t offset_of(const jinja_string *string, int64_t index)
{
    if (string->length == string->size) return (size_t)index;
    size_t at = 0;
    for (; at < string->size; at++) {
        if ((string->data[at] & 0xc0) == 0x80) continue;
        if (!index--) break;
    }
    return at;
}

static bool slice_string(jinja_run *run, jinja_value a, int64_t start, int64_t step, int64_t count,
                         jinja_value *out)
{
    jinja_string *string = a.as.string;
    if (step == 1) {
        size_t from = offset_of(string, start), to = offset_of(string, start + count);
        return sterna_jinja_charge(run, string->length == string->size ? 0 : to) &&
               sterna_jinja_substring(run, a, from, to, out);
    }
    jinja_text text;
    sterna_jinja_text_start(&text, run);
    if (!sterna_jinja_charge(run, string->size) || !sterna_jinja_step(run, (uint64_t)count))
        return false;
    size_t at = count ? offset_of(string, start) : 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t c;
        size_t width = sterna_jinja_decode(string->data + at, string->data + string->size, &c);
        if (!sterna_jinja_text_add(&text, string->data + at, width)) return false;
        for (int64_t k = step; k > 0 && i + 1 < count; k--) /* forwards */
            do at++;
            while (at < string->size && (string->data[at] & 0xc0) == 0x80);
        for (int64_t k = step; k < 0 && i + 1 < count; k++) do
                at--;
            while (at > 0 && (string->data[at] & 0xc0) == 0x80);
    }
    if (!sterna_jinja_text_finish(&text, out)) return false;
    out->extra = a.extra;
    return true;
}

bool sterna_jinja_slice(jinja_run *run, jinja_value a, jinja_value start, jinja_value stop,
                        jinja_value step, jinja_value *out)
{
    int64_t length, from, to, stride = 1;
    if (a.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, a);
    if (a.type != JINJA_STRING && a.type != JINJA_LIST && a.type != JINJA_TUPLE &&
        a.type != JINJA_RANGE)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "a '%s' cannot be sliced",
                                 sterna_jinja_type_name(a));
    if (!sterna_jinja_length(run, a, &length)) return false;
    if (step.type != JINJA_MISSING && step.type != JINJA_NONE) {
        if (!sterna_jinja_want_int(run, step, "a slice step", &stride)) return false;
        if (!stride) return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "a slice step is zero");
        if (stride < -INT64_MAX) stride = -INT64_MAX;
    }
    int64_t low = stride < 0 ? -1 : 0, high = stride < 0 ? length - 1 : length;
    if (!slice_bound(run, start, length, low, high, stride < 0 ? high : low, &from) ||
        !slice_bound(run, stop, length, low, high, stride < 0 ? low : high, &to))
        return false;
    int64_t count = 0;
    if (stride > 0 && from < to) count = (to - from - 1) / stride + 1;
    if (stride < 0 && to < from) count = (from - to - 1) / -stride + 1;
    if (a.type == JINJA_STRING) return slice_string(run, a, from, stride, count, out);
    if (a.type == JINJA_RANGE) {
        jinja_range *range = sterna_jinja_alloc(run, 1, sizeof *range);
        if (!range) return false;
        int64_t first = sterna_jinja_range_item(a.as.range, from), jump;
        if (__builtin_mul_overflow(a.as.range->step, stride, &jump)) return fail_overflow(run);
        *range = (jinja_range){first, sterna_jinja_range_item(a.as.range, to), jump, count};
        *out = (jinja_value){.type = JINJA_RANGE, .as.range = range};
        return true;
    }
    if (!sterna_jinja_step(run, (uint64_t)count) ||
        !sterna_jinja_new_list(run, a.type, (size_t)count, out))
        return false;
    for (int64_t i = 0; i < count; i++)
        sterna_jinja_list_add(run, out->as.list, a.as.list->items[from + i * stride]);
    return true;
}
