/* Cutting a string into parts: at spaces, at a separator from either side, into lines. */
#include "text/jinja_internal.h"

static const char *begin_of(jinja_value self)
{
    return self.as.string->data;
}

static const char *end_of(jinja_value self)
{
    return self.as.string->data + self.as.string->size;
}

static bool add_part(jinja_run *run, jinja_list *list, jinja_value self, const char *from,
                     const char *to)
{
    jinja_value part;
    const char *data = begin_of(self);
    return sterna_jinja_step(run, 1) &&
           sterna_jinja_substring(run, self, (size_t)(from - data), (size_t)(to - data), &part) &&
           sterna_jinja_list_add(run, list, part);
}

static bool split_at_spaces(jinja_run *run, jinja_value self, int64_t limit, jinja_list *list)
{
    const char *p = begin_of(self), *end = end_of(self);
    uint32_t c;
    for (;;) {
        while (p < end) {
            size_t width = sterna_jinja_decode(p, end, &c);
            if (!sterna_jinja_is_space(c)) break;
            p += width;
        }
        if (p >= end) return true;
        const char *stop = p;
        if (limit-- == 0) return add_part(run, list, self, p, end); /* the rest */
        while (stop < end) {
            size_t width = sterna_jinja_decode(stop, end, &c);
            if (sterna_jinja_is_space(c)) break;
            stop += width;
        }
        if (!add_part(run, list, self, p, stop)) return false;
        p = stop;
    }
}

static const char *before_spaces(const char *begin, const char *end, bool spaces)
{
    while (end > begin) {
        const char *p = end - 1;
        uint32_t c;
        while (p > begin && (*p & 0xc0) == 0x80) p--;
        sterna_jinja_decode(p, end, &c);
        if (sterna_jinja_is_space(c) != spaces) break;
        end = p;
    }
    return end;
}

static void reverse_list(jinja_list *list)
{
    for (size_t i = 0; i < list->count / 2; i++) {
        jinja_value swap = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = swap;
    }
}

static bool rsplit_at_spaces(jinja_run *run, jinja_value self, int64_t limit, jinja_list *list)
{
    const char *begin = begin_of(self), *end = end_of(self);
    for (;;) {
        end = before_spaces(begin, end, true);
        if (end == begin) return true;
        const char *start = before_spaces(begin, end, false);
        if (limit-- == 0) return add_part(run, list, self, begin, end);
        if (!add_part(run, list, self, start, end)) return false;
        end = start;
    }
}

bool sterna_jinja_split(jinja_run *run, jinja_value self, jinja_value separator, jinja_value most,
                        bool right, jinja_value *out)
{
    int64_t limit = -1;
    jinja_string *mark = NULL;
    if (separator.type != JINJA_MISSING && separator.type != JINJA_NONE &&
        !sterna_jinja_want_string(run, separator, "the separator", &mark))
        return false;
    if (most.type != JINJA_MISSING && !sterna_jinja_want_int(run, most, "maxsplit", &limit))
        return false;
    if (mark && !mark->size)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "split needs a separator");
    if (!sterna_jinja_charge(run, self.as.string->size) ||
        !sterna_jinja_new_list(run, JINJA_LIST, 0, out))
        return false;
    jinja_list *list = out->as.list;
    bool fine = true;
    if (!mark) {
        fine = right ? rsplit_at_spaces(run, self, limit, list)
                     : split_at_spaces(run, self, limit, list);
        if (right) reverse_list(list);
        return fine;
    }
    const char *from = begin_of(self), *to = end_of(self);
    while (fine && limit-- != 0) {
        size_t at = sterna_jinja_find(from, (size_t)(to - from), mark->data, mark->size, right);
        if (at == JINJA_UNKNOWN) break;
        fine = right ? add_part(run, list, self, from + at + mark->size, to)
                     : add_part(run, list, self, from, from + at);
        if (right)
            to = from + at;
        else
            from += at + mark->size;
    }
    fine = fine && add_part(run, list, self, from, to);
    if (right) reverse_list(list);
    return fine;
}

bool sterna_jinja_split_lines(jinja_run *run, jinja_value self, bool keep, jinja_value *out)
{
    if (!sterna_jinja_charge(run, self.as.string->size) ||
        !sterna_jinja_new_list(run, JINJA_LIST, 0, out))
        return false;
    for (const char *p = begin_of(self); p < end_of(self);) {
        size_t without, with;
        sterna_jinja_line(p, (size_t)(end_of(self) - p), &without, &with);
        if (!add_part(run, out->as.list, self, p, p + (keep ? with : without))) return false;
        p += with;
    }
    return true;
}

bool sterna_jinja_partition(jinja_run *run, jinja_value self, jinja_value separator, bool last,
                            jinja_value *out)
{
    jinja_string *mark;
    if (!sterna_jinja_want_string(run, separator, "the separator", &mark)) return false;
    if (!mark->size)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "partition needs a separator");
    const char *data = begin_of(self), *end = end_of(self);
    size_t at = sterna_jinja_find(data, self.as.string->size, mark->data, mark->size, last);
    if (!sterna_jinja_charge(run, self.as.string->size) ||
        !sterna_jinja_new_list(run, JINJA_TUPLE, 3, out))
        return false;
    jinja_list *list = out->as.list;
    if (at != JINJA_UNKNOWN)
        return add_part(run, list, self, data, data + at) &&
               add_part(run, list, self, data + at, data + at + mark->size) &&
               add_part(run, list, self, data + at + mark->size, end);
    const char *first = last ? data : end; /* the whole stands first, or last for rpartition */
    return add_part(run, list, self, data, last ? data : end) &&
           add_part(run, list, self, first, first) && add_part(run, list, self, first, end);
}
