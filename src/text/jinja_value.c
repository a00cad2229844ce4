/* Values: making them, Python's truth, equality, order and hash, and the way in from JSON. */
#include "text/jinja_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"

jinja_value sterna_jinja_none(void)
{
    return (jinja_value){.type = JINJA_NONE};
}

jinja_value sterna_jinja_bool(bool boolean)
{
    return (jinja_value){.type = JINJA_BOOL, .as.boolean = boolean};
}

jinja_value sterna_jinja_int(int64_t integer)
{
    return (jinja_value){.type = JINJA_INT, .as.integer = integer};
}

jinja_value sterna_jinja_float(double real)
{
    return (jinja_value){.type = JINJA_FLOAT, .as.real = real};
}

jinja_value sterna_jinja_missing(void)
{
    return (jinja_value){.type = JINJA_MISSING};
}

bool sterna_jinja_borrow(jinja_run *run, const char *data, size_t size, jinja_value *out)
{
    jinja_string *string = sterna_jinja_alloc(run, 1, sizeof *string);
    if (!string) return false;
    *string = (jinja_string){.data = data, .size = size, .length = JINJA_UNKNOWN};
    *out = (jinja_value){.type = JINJA_STRING, .as.string = string};
    return true;
}

bool sterna_jinja_literal(jinja_run *run, const char *text, jinja_value *out)
{
    return sterna_jinja_borrow(run, text, strlen(text), out);
}

bool sterna_jinja_string(jinja_run *run, const char *data, size_t size, jinja_value *out)
{
    if (!sterna_jinja_charge(run, size)) return false;
    char *copy = sterna_jinja_alloc(run, size, 1);
    if (!copy) return false;
    if (size) memcpy(copy, data, size);
    return sterna_jinja_borrow(run, copy, size, out);
}

bool sterna_jinja_substring(jinja_run *run, jinja_value string, size_t from, size_t to,
                            jinja_value *out)
{
    if (!sterna_jinja_borrow(run, string.as.string->data + from, to - from, out)) return false;
    out->extra = string.extra;
    return true;
}

size_t sterna_jinja_string_length(jinja_string *string)
{
    if (string->length == JINJA_UNKNOWN) {
        size_t length = 0;
        for (size_t i = 0; i < string->size; i++) length += (string->data[i] & 0xc0) != 0x80;
        string->length = length;
    }
    return string->length;
}

bool sterna_jinja_string_is(const jinja_string *string, const char *text)
{
    size_t size = strlen(text);
    return string->size == size && !memcmp(string->data, text, size);
}

bool sterna_jinja_undefined_name(jinja_run *run, const jinja_string *name, jinja_value *out)
{
    (void)run;
    *out = (jinja_value){.type = JINJA_UNDEFINED, .as.string = (jinja_string *)name};
    return true;
}

bool sterna_jinja_undefined_hint(jinja_run *run, const char *hint, jinja_value *out)
{
    if (!sterna_jinja_literal(run, hint, out)) return false;
    out->type = JINJA_UNDEFINED;
    out->extra = JINJA_HINT;
    return true;
}

bool sterna_jinja_fail_undefined(jinja_run *run, jinja_value value)
{
    const jinja_string *name = value.as.string;
    int size = name->size < 200 ? (int)name->size : 200;
    if (value.extra == JINJA_HINT)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "%.*s", size, name->data);
    if (!value.extra)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "'%.*s' is undefined", size, name->data);
    jinja_value owner = {.type = (jinja_type)value.extra};
    return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "'%s' has no attribute or item '%.*s'",
                             sterna_jinja_type_name(owner), size, name->data);
}

bool sterna_jinja_new_list(jinja_run *run, jinja_type type, size_t capacity, jinja_value *out)
{
    jinja_list *list = sterna_jinja_alloc(run, 1, sizeof *list);
    if (!list) return false;
    *list = (jinja_list){.capacity = capacity};
    if (capacity) {
        list->items = sterna_jinja_alloc(run, capacity, sizeof *list->items);
        if (!list->items) return false;
    }
    *out = (jinja_value){.type = type, .as.list = list};
    return true;
}

bool sterna_jinja_list_add(jinja_run *run, jinja_list *list, jinja_value value)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 4;
        jinja_value *items = sterna_jinja_alloc(run, capacity, sizeof *items);
        if (!items) return false;
        if (list->count) memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = value;
    return true;
}

const char *sterna_jinja_type_name(jinja_value value)
{
    static const char *const names[] = {
        "missing", "Undefined",   "None",   "bool",   "int",    "float",    "str",
        "list",    "tuple",       "dict",   "view",   "range",  "iterator", "Namespace",
        "Macro",   "LoopContext", "Cycler", "Joiner", "method", "function"};
    return names[value.type];
}

bool sterna_jinja_is_integer(jinja_value value)
{
    return value.type == JINJA_INT || value.type == JINJA_BOOL;
}

bool sterna_jinja_is_number(jinja_value value)
{
    return sterna_jinja_is_integer(value) || value.type == JINJA_FLOAT;
}

int64_t sterna_jinja_as_integer(jinja_value value)
{
    return value.type == JINJA_BOOL ? value.as.boolean : value.as.integer;
}

double sterna_jinja_as_float(jinja_value value)
{
    return value.type == JINJA_FLOAT ? value.as.real : (double)sterna_jinja_as_integer(value);
}

int64_t sterna_jinja_range_item(const jinja_range *range, int64_t index)
{
    return range->start + index * range->step;
}

bool sterna_jinja_truth(jinja_run *run, jinja_value value, bool *out)
{
    int64_t length;
    switch (value.type) {
    case JINJA_MISSING:
    case JINJA_UNDEFINED:
    case JINJA_NONE: *out = false; return true;
    case JINJA_BOOL: *out = value.as.boolean; return true;
    case JINJA_INT: *out = value.as.integer != 0; return true;
    case JINJA_FLOAT: *out = value.as.real != 0; return true;
    default:
        *out = true;
        if (!sterna_jinja_has_length(value)) return true;
        if (!sterna_jinja_length(run, value, &length)) return false;
        *out = length != 0;
        return true;
    }
}

/* ---- numbers ---- */

/* -1, 0, 1, or 2 where a NaN is involved; exact: a long double holds every int64 and double. */
static int compare_numbers(jinja_value a, jinja_value b)
{
    if (a.type != JINJA_FLOAT && b.type != JINJA_FLOAT) {
        int64_t x = sterna_jinja_as_integer(a), y = sterna_jinja_as_integer(b);
        return x < y ? -1 : x > y;
    }
    long double x = a.type == JINJA_FLOAT ? a.as.real : (long double)sterna_jinja_as_integer(a);
    long double y = b.type == JINJA_FLOAT ? b.as.real : (long double)sterna_jinja_as_integer(b);
    if (isnan(x) || isnan(y)) return 2;
    return x < y ? -1 : x > y;
}

static int compare_strings(const jinja_string *a, const jinja_string *b)
{
    size_t size = a->size < b->size ? a->size : b->size;
    int order = size ? memcmp(a->data, b->data, size) : 0; /* UTF-8 keeps the code point order */
    if (order) return order < 0 ? -1 : 1;
    return a->size < b->size ? -1 : a->size > b->size;
}

/* ---- equality ---- */

static bool lists_equal(jinja_run *run, const jinja_list *a, const jinja_list *b, bool *out)
{
    *out = a->count == b->count;
    for (size_t i = 0; *out && i < a->count; i++)
        if (!sterna_jinja_equal(run, a->items[i], b->items[i], out)) return false;
    return true;
}

static bool dicts_equal(jinja_run *run, const jinja_dict *a, const jinja_dict *b, bool *out)
{
    *out = a->count == b->count;
    for (size_t i = 0; *out && i < a->count; i++) {
        jinja_value *other;
        if (!sterna_jinja_dict_find(run, b, a->entries[i].key, &other)) return false;
        *out = other != NULL;
        if (other && !sterna_jinja_equal(run, a->entries[i].value, *other, out)) return false;
    }
    return true;
}

static bool ranges_equal(const jinja_range *a, const jinja_range *b)
{
    if (a->length != b->length) return false;
    return a->length == 0 || (a->start == b->start && (a->length == 1 || a->step == b->step));
}

static bool views_equal(jinja_run *run, jinja_value a, jinja_value b, bool *out)
{
    *out = false;
    if (a.extra != b.extra || a.extra == JINJA_VALUES) {
        *out = sterna_jinja_is(a, b);
        return true;
    }
    if (a.extra == JINJA_ITEMS) return dicts_equal(run, a.as.dict, b.as.dict, out);
    *out = a.as.dict->count == b.as.dict->count;
    for (size_t i = 0; *out && i < a.as.dict->count; i++) {
        jinja_value *other;
        if (!sterna_jinja_dict_find(run, b.as.dict, a.as.dict->entries[i].key, &other))
            return false;
        *out = other != NULL;
    }
    return true;
}

bool sterna_jinja_is(jinja_value a, jinja_value b)
{
    if (a.type != b.type) return false;
    switch (a.type) {
    case JINJA_UNDEFINED: return false;
    case JINJA_NONE: return true;
    case JINJA_BOOL: return a.as.boolean == b.as.boolean;
    case JINJA_INT: return a.as.integer == b.as.integer; /* as for Python's small ints */
    case JINJA_FLOAT: return false;
    case JINJA_VIEW: return a.as.dict == b.as.dict && a.extra == b.extra;
    default: return a.as.string == b.as.string;
    }
}

static bool equal_inner(jinja_run *run, jinja_value a, jinja_value b, bool *out)
{
    if (sterna_jinja_is_number(a) && sterna_jinja_is_number(b)) {
        *out = compare_numbers(a, b) == 0;
        return true;
    }
    *out = false;
    if (a.type != b.type) return true;
    switch (a.type) {
    case JINJA_UNDEFINED: *out = true; return true;
    case JINJA_STRING:
        *out = a.as.string->size == b.as.string->size && !compare_strings(a.as.string, b.as.string);
        return true;
    case JINJA_LIST:
    case JINJA_TUPLE: return lists_equal(run, a.as.list, b.as.list, out);
    case JINJA_DICT: return dicts_equal(run, a.as.dict, b.as.dict, out);
    case JINJA_RANGE: *out = ranges_equal(a.as.range, b.as.range); return true;
    case JINJA_VIEW: return views_equal(run, a, b, out);
    default: *out = sterna_jinja_is(a, b); return true;
    }
}

bool sterna_jinja_equal(jinja_run *run, jinja_value a, jinja_value b, bool *out)
{
    if (!sterna_jinja_step(run, 1)) return false;
    if (a.type < JINJA_LIST || b.type < JINJA_LIST) return equal_inner(run, a, b, out);
    if (!sterna_jinja_enter(run)) return false;
    bool fine = equal_inner(run, a, b, out);
    sterna_jinja_leave(run);
    return fine;
}

/* ---- order ---- */

static bool holds(jinja_operator op, int order)
{
    if (order == 2) return false;
    switch (op) {
    case JINJA_LESS: return order < 0;
    case JINJA_LESS_EQUAL: return order <= 0;
    case JINJA_GREATER: return order > 0;
    default: return order >= 0;
    }
}

static bool order_lists(jinja_run *run, jinja_operator op, const jinja_list *a, const jinja_list *b,
                        bool *out)
{
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        bool equal;
        if (!sterna_jinja_equal(run, a->items[i], b->items[i], &equal)) return false;
        if (equal) continue;
        if (!sterna_jinja_enter(run)) return false;
        bool fine = sterna_jinja_order(run, op, a->items[i], b->items[i], out);
        sterna_jinja_leave(run);
        return fine;
    }
    *out = holds(op, a->count < b->count ? -1 : a->count > b->count);
    return true;
}

bool sterna_jinja_order(jinja_run *run, jinja_operator op, jinja_value a, jinja_value b, bool *out)
{
    if (!sterna_jinja_step(run, 1)) return false;
    if (sterna_jinja_is_number(a) && sterna_jinja_is_number(b)) {
        *out = holds(op, compare_numbers(a, b));
        return true;
    }
    if (a.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, a);
    if (b.type == JINJA_UNDEFINED) return sterna_jinja_fail_undefined(run, b);
    if (a.type == b.type && a.type == JINJA_STRING) {
        *out = holds(op, compare_strings(a.as.string, b.as.string));
        return true;
    }
    if (a.type == b.type && (a.type == JINJA_LIST || a.type == JINJA_TUPLE))
        return order_lists(run, op, a.as.list, b.as.list, out);
    return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "'%s' and '%s' cannot be ordered",
                             sterna_jinja_type_name(a), sterna_jinja_type_name(b));
}

/* ---- dictionaries ---- */

static bool hash_value(jinja_run *run, jinja_value key, uint64_t *out)
{
    if (key.type == JINJA_FLOAT && key.as.real == floor(key.as.real) && fabs(key.as.real) < 9.2e18)
        key = sterna_jinja_int((int64_t)key.as.real); /* 1 and 1.0 are one key */
    if (key.type == JINJA_BOOL) key = sterna_jinja_int(key.as.boolean);
    switch (key.type) {
    case JINJA_STRING: *out = sterna_hash(key.as.string->data, key.as.string->size); return true;
    case JINJA_TUPLE: {
        uint64_t all = 7;
        for (size_t i = 0; i < key.as.list->count; i++) {
            uint64_t one;
            if (!sterna_jinja_enter(run)) return false;
            bool fine = hash_value(run, key.as.list->items[i], &one);
            sterna_jinja_leave(run);
            if (!fine) return false;
            all = (all ^ one) * 0x9e3779b97f4a7c15u;
        }
        *out = all;
        return true;
    }
    case JINJA_LIST:
    case JINJA_DICT:
    case JINJA_VIEW:
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 "a '%s' cannot be a key of a dict or a set",
                                 sterna_jinja_type_name(key));
    case JINJA_UNDEFINED:
    case JINJA_NONE: *out = sterna_hash(&key.type, sizeof key.type); return true;
    case JINJA_RANGE: *out = 5; return true;
    default: *out = sterna_hash(&key.as, sizeof key.as); return true;
    }
}

bool sterna_jinja_new_dict(jinja_run *run, jinja_value *out)
{
    jinja_dict *dict = sterna_jinja_alloc(run, 1, sizeof *dict);
    if (!dict) return false;
    *dict = (jinja_dict){0};
    *out = (jinja_value){.type = JINJA_DICT, .as.dict = dict};
    return true;
}

static bool entry_is(jinja_run *run, const jinja_entry *entry, uint64_t hash, jinja_value key,
                     bool *out)
{
    *out = false;
    if (entry->hash != hash) return true;
    *out = sterna_jinja_is(entry->key, key);
    return *out || sterna_jinja_equal(run, entry->key, key, out);
}

static bool find_entry(jinja_run *run, const jinja_dict *dict, jinja_value key, uint64_t hash,
                       size_t *out)
{
    bool same;
    *out = JINJA_UNKNOWN;
    if (!dict->slots) {
        for (size_t i = 0; i < dict->count; i++) {
            if (!entry_is(run, &dict->entries[i], hash, key, &same)) return false;
            if (same) *out = i;
            if (same) break;
        }
        return true;
    }
    for (size_t at = hash & (dict->slot_count - 1); dict->slots[at];
         at = (at + 1) & (dict->slot_count - 1)) {
        size_t entry = dict->slots[at] - 1;
        if (!entry_is(run, &dict->entries[entry], hash, key, &same)) return false;
        if (same) *out = entry;
        if (same) break;
    }
    return true;
}

bool sterna_jinja_dict_find(jinja_run *run, const jinja_dict *dict, jinja_value key,
                            jinja_value **out)
{
    uint64_t hash = 0;
    size_t entry;
    *out = NULL;
    if (!hash_value(run, key, &hash) || !find_entry(run, dict, key, hash, &entry)) return false;
    if (entry != JINJA_UNKNOWN) *out = &dict->entries[entry].value;
    return true;
}

jinja_value *sterna_jinja_dict_find_text(const jinja_dict *dict, const char *text, size_t size)
{
    uint64_t hash = dict->slots ? sterna_hash(text, size) : 0;
    size_t at = dict->slots ? hash & (dict->slot_count - 1) : 0;
    for (size_t i = 0; dict->slots ? dict->slots[at] != 0 : i < dict->count; i++) {
        jinja_entry *entry = &dict->entries[dict->slots ? dict->slots[at] - 1 : i];
        if (entry->key.type == JINJA_STRING && entry->key.as.string->size == size &&
            !memcmp(entry->key.as.string->data, text, size))
            return &entry->value;
        if (dict->slots) at = (at + 1) & (dict->slot_count - 1);
    }
    return NULL;
}

static void add_slot(jinja_dict *dict, size_t entry)
{
    size_t at = dict->entries[entry].hash & (dict->slot_count - 1);
    while (dict->slots[at]) at = (at + 1) & (dict->slot_count - 1);
    dict->slots[at] = (uint32_t)(entry + 1);
}

static bool grow_dict(jinja_run *run, jinja_dict *dict)
{
    size_t capacity = dict->capacity ? dict->capacity * 2 : 8;
    if (capacity > UINT32_MAX / 4)
        return sterna_jinja_fail(run, STERNA_ERROR_LIMIT, "a dict has more than %zu keys",
                                 dict->count);
    jinja_entry *entries = sterna_jinja_alloc(run, capacity, sizeof *entries);
    if (!entries) return false;
    if (dict->count) memcpy(entries, dict->entries, dict->count * sizeof *entries);
    dict->entries = entries;
    dict->capacity = capacity;
    if (capacity <= 8) return true;
    uint32_t *slots = sterna_jinja_alloc(run, capacity * 2, sizeof *slots);
    if (!slots) return false;
    memset(slots, 0, capacity * 2 * sizeof *slots);
    dict->slots = slots;
    dict->slot_count = capacity * 2;
    for (size_t i = 0; i < dict->count; i++) add_slot(dict, i);
    return true;
}

bool sterna_jinja_dict_put(jinja_run *run, jinja_dict *dict, jinja_value key, jinja_value value)
{
    uint64_t hash = 0;
    size_t entry;
    if (!sterna_jinja_step(run, 1) || !hash_value(run, key, &hash) ||
        !find_entry(run, dict, key, hash, &entry))
        return false;
    if (entry != JINJA_UNKNOWN) {
        dict->entries[entry].value = value;
        return true;
    }
    if (dict->count == dict->capacity && !grow_dict(run, dict)) return false;
    dict->entries[dict->count] = (jinja_entry){key, value, hash};
    if (dict->slots) add_slot(dict, dict->count);
    dict->count++;
    return true;
}

/* ---- from JSON ---- */

static bool from_json_inner(jinja_run *run, json_t *json, jinja_value *out)
{
    jinja_value value;
    size_t index;
    const char *key;
    json_t *item;
    switch (json_typeof(json)) {
    case JSON_NULL: *out = sterna_jinja_none(); return true;
    case JSON_TRUE:
    case JSON_FALSE: *out = sterna_jinja_bool(json_is_true(json)); return true;
    case JSON_INTEGER: *out = sterna_jinja_int(json_integer_value(json)); return true;
    case JSON_REAL: *out = sterna_jinja_float(json_real_value(json)); return true;
    case JSON_STRING:
        return sterna_jinja_borrow(run, json_string_value(json), json_string_length(json), out);
    case JSON_ARRAY:
        if (!sterna_jinja_new_list(run, JINJA_LIST, json_array_size(json), out)) return false;
        json_array_foreach(json, index, item)
        {
            if (!sterna_jinja_from_json(run, item, &value) ||
                !sterna_jinja_list_add(run, out->as.list, value))
                return false;
        }
        return true;
    default:
        if (!sterna_jinja_new_dict(run, out)) return false;
        json_object_foreach(json, key, item)
        {
            jinja_value name;
            if (!sterna_jinja_literal(run, key, &name) ||
                !sterna_jinja_from_json(run, item, &value) ||
                !sterna_jinja_dict_put(run, out->as.dict, name, value))
                return false;
        }
        return true;
    }
}

bool sterna_jinja_from_json(jinja_run *run, json_t *json, jinja_value *out)
{
    if (!sterna_jinja_enter(run)) return false;
    bool fine = from_json_inner(run, json, out);
    sterna_jinja_leave(run);
    return fine;
}
