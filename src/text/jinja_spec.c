/* Python's format specifications ("{:>8.2f}") for strings and numbers. */
#include "text/jinja_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Wider or more precise fields are refused. */
#define NUMBER_LIMIT 1000000

typedef struct format_spec {
    char fill[4];
    size_t fill_size;
    char align; /* < > ^ = or 0 */
    char sign;  /* + - space or 0 */
    bool alternate;
    int64_t width;
    char group;        /* , _ or 0 */
    int64_t precision; /* -1 = none */
    char type;
} format_spec;

static bool spec_fail(jinja_run *run, const char *text, size_t size)
{
    return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                             "the format specification '%.*s' does not fit its value",
                             size < 60 ? (int)size : 60, text);
}

static bool is_align(char c)
{
    return c && strchr("<>^=", c);
}

static int64_t read_number(const char **p, const char *end)
{
    int64_t value = 0;
    for (; *p < end && **p >= '0' && **p <= '9'; (*p)++)
        if (value <= NUMBER_LIMIT) value = value * 10 + (**p - '0');
    return value;
}

static bool parse_spec(const char *text, size_t size, format_spec *out)
{
    const char *p = text, *end = text + size;
    *out = (format_spec){.fill = " ", .fill_size = 1, .precision = -1};
    uint32_t c;
    bool filled = false; /* a fill character was given */
    size_t width = size ? sterna_jinja_decode(p, end, &c) : 0;
    if (width && p + width < end && is_align(p[width])) {
        memcpy(out->fill, p, width);
        out->fill_size = width;
        out->align = p[width];
        filled = true;
        p += width + 1;
    } else if (size && is_align(*p)) {
        out->align = *p++;
    }
    if (p < end && strchr("+- ", *p)) out->sign = *p++;
    if (p < end && *p == '#') out->alternate = true, p++;
    if (p < end && *p == '0') {
        if (!filled) out->fill[0] = '0';
        if (!out->align) out->align = '=';
        p++;
    }
    out->width = read_number(&p, end);
    if (p < end && (*p == ',' || *p == '_')) out->group = *p++;
    if (p < end && *p == '.') {
        p++;
        if (p >= end || *p < '0' || *p > '9') return false;
        out->precision = read_number(&p, end);
    }
    if (p < end) out->type = *p++;
    return p == end;
}

static bool pad(jinja_text *out, const format_spec *spec, const char *prefix, size_t prefix_size,
                const char *body, size_t body_size, size_t length, char align)
{
    int64_t space = spec->width - (int64_t)length, before = 0, inside = 0, after = 0;
    if (space < 0) space = 0;
    if (align == '<') after = space;
    if (align == '>') before = space;
    if (align == '=') inside = space;
    if (align == '^') before = space / 2, after = space - space / 2;
    return sterna_jinja_text_repeat(out, spec->fill, spec->fill_size, before) &&
           sterna_jinja_text_add(out, prefix, prefix_size) &&
           sterna_jinja_text_repeat(out, spec->fill, spec->fill_size, inside) &&
           sterna_jinja_text_add(out, body, body_size) &&
           sterna_jinja_text_repeat(out, spec->fill, spec->fill_size, after);
}

static bool format_string(jinja_run *run, jinja_value value, const format_spec *spec,
                          jinja_text *out)
{
    int64_t length;
    if (spec->precision >= 0 &&
        !sterna_jinja_slice(run, value, sterna_jinja_missing(), sterna_jinja_int(spec->precision),
                            sterna_jinja_missing(), &value))
        return false;
    if (!sterna_jinja_length(run, value, &length)) return false;
    return pad(out, spec, "", 0, value.as.string->data, value.as.string->size, (size_t)length,
               spec->align ? spec->align : '<');
}

/* Puts a separator between groups of digits of the whole part. With `=` padding by zeros the zeros
 * are grouped too. */
static bool group_digits(jinja_text *out, const char *digits, size_t whole, size_t size, char mark,
                         size_t group, size_t minimum)
{
    size_t grouped = whole, zeros = 0;
    while (grouped + (grouped - 1) / group + (size - whole) < minimum) grouped++, zeros++;
    for (size_t i = 0; i < grouped; i++) {
        if (i && (grouped - i) % group == 0 && !sterna_jinja_text_add_char(out, mark)) return false;
        if (!sterna_jinja_text_add_char(out, i < zeros ? '0' : digits[i - zeros])) return false;
    }
    return sterna_jinja_text_add(out, digits + whole, size - whole);
}

/* Sign, grouping and padding around unsigned digits. */
static bool finish_number(jinja_run *run, const format_spec *spec, bool negative, const char *base,
                          jinja_text *digits, size_t group, jinja_text *out)
{
    char prefix[8];
    size_t prefix_size = 0, whole = 0;
    if (negative)
        prefix[prefix_size++] = '-';
    else if (spec->sign == '+' || spec->sign == ' ')
        prefix[prefix_size++] = spec->sign;
    for (; *base; base++) prefix[prefix_size++] = *base;
    jinja_text grouped = *digits;
    if (spec->group) {
        while (whole < digits->size &&
               ((digits->data[whole] >= '0' && digits->data[whole] <= '9') ||
                (group == 4 && digits->data[whole] != '.')))
            whole++;
        bool zeros =
            spec->align == '=' && spec->fill[0] == '0' && spec->width > (int64_t)prefix_size;
        sterna_jinja_text_start(&grouped, run);
        if (whole ? !group_digits(&grouped, digits->data, whole, digits->size, spec->group, group,
                                  zeros ? (size_t)spec->width - prefix_size : 0)
                  : !sterna_jinja_text_add(&grouped, digits->data, digits->size))
            return false;
    }
    return pad(out, spec, prefix, prefix_size, grouped.data, grouped.size,
               prefix_size + grouped.size, spec->align ? spec->align : '>');
}

static bool format_integer(jinja_run *run, int64_t value, const format_spec *spec, jinja_text *out)
{
    char buffer[72];
    size_t at = sizeof buffer;
    unsigned base = spec->type == 'b' ? 2 : spec->type == 'o' ? 8 : 10;
    if (spec->type == 'x' || spec->type == 'X') base = 16;
    const char *digits = spec->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do buffer[--at] = digits[rest % base];
    while (rest /= base);
    const char *prefix = "";
    if (spec->alternate && base != 10)
        prefix = base == 2 ? "0b" : base == 8 ? "0o" : spec->type == 'X' ? "0X" : "0x";
    jinja_text number;
    sterna_jinja_text_start(&number, run);
    return sterna_jinja_text_add(&number, buffer + at, sizeof buffer - at) &&
           finish_number(run, spec, value < 0, prefix, &number, base == 10 ? 3 : 4, out);
}

static bool format_float(jinja_run *run, double value, const format_spec *spec, jinja_text *out)
{
    char type = spec->type, buffer[40];
    double magnitude = fabs(value);
    jinja_text number;
    sterna_jinja_text_start(&number, run);
    bool fine;
    if (!isfinite(value)) {
        bool upper = type == 'E' || type == 'F' || type == 'G';
        fine = sterna_jinja_text_add_string(&number, isnan(value) ? (upper ? "NAN" : "nan")
                                                                  : (upper ? "INF" : "inf"));
        if (type == '%') fine = fine && sterna_jinja_text_add_char(&number, '%');
    } else if (!type && spec->precision < 0) {
        sterna_jinja_float_repr(magnitude, buffer);
        fine = sterna_jinja_text_add_string(&number, buffer);
    } else if (!type ||
               type == 'n') { /* like g, with a digit behind the point when none is given */
        int precision = spec->precision < 0 ? 6 : spec->precision ? (int)spec->precision : 1;
        fine = sterna_jinja_float_digits(&number, magnitude, 'g', precision, spec->alternate);
        bool plain = fine && !type && !memchr(number.data, '.', number.size) &&
                     !memchr(number.data, 'e', number.size);
        if (plain && number.size < (size_t)precision)
            fine = sterna_jinja_text_add_string(&number, ".0");
        else if (plain) { /* as many digits as asked for: Python writes an exponent */
            sterna_jinja_text_start(&number, run);
            fine =
                sterna_jinja_float_digits(&number, magnitude, 'e', precision - 1, spec->alternate);
        }
    } else {
        int precision = spec->precision < 0 ? 6 : (int)spec->precision;
        if (type == '%') magnitude *= 100;
        fine = sterna_jinja_float_digits(&number, magnitude, type == '%' ? 'f' : type, precision,
                                         spec->alternate);
        if (type == '%') fine = fine && sterna_jinja_text_add_char(&number, '%');
    }
    return fine && finish_number(run, spec, signbit(value) && !isnan(value), "", &number, 3, out);
}

bool sterna_jinja_format_spec(jinja_run *run, jinja_value value, const char *text, size_t size,
                              jinja_text *out)
{
    format_spec spec;
    jinja_value string;
    if (!size) return sterna_jinja_text_value(out, value);
    if (!parse_spec(text, size, &spec)) return spec_fail(run, text, size);
    if (spec.group && spec.type && strchr("nc", spec.type)) return spec_fail(run, text, size);
    if (spec.width > NUMBER_LIMIT || spec.precision > NUMBER_LIMIT)
        return sterna_jinja_fail(run, STERNA_ERROR_LIMIT, "a format width or precision is above %d",
                                 NUMBER_LIMIT);
    if (value.type == JINJA_STRING) {
        bool fits = (!spec.type || spec.type == 's') && spec.align != '=' && !spec.sign &&
                    !spec.alternate && !spec.group;
        return fits ? format_string(run, value, &spec, out) : spec_fail(run, text, size);
    }
    if (sterna_jinja_is_integer(value)) {
        if (!spec.type && value.type == JINJA_BOOL && !spec.precision)
            return spec_fail(run, text, size);
        if (!spec.type || strchr("dbxXon", spec.type)) {
            bool fits = spec.precision < 0 && !(spec.group == ',' && spec.type && spec.type != 'd');
            return fits ? format_integer(run, sterna_jinja_as_integer(value), &spec, out)
                        : spec_fail(run, text, size);
        }
        if (spec.type == 'c') {
            bool fits = spec.precision < 0 && !spec.group && !spec.sign && !spec.alternate &&
                        sterna_jinja_as_integer(value) >= 0 &&
                        sterna_jinja_as_integer(value) <= 0x10ffff;
            char bytes[4];
            if (!fits) return spec_fail(run, text, size);
            size_t used = sterna_jinja_encode((uint32_t)sterna_jinja_as_integer(value), bytes);
            if (!sterna_jinja_string(run, bytes, used, &string)) return false;
            spec.align = spec.align ? spec.align : '<';
            return format_string(run, string, &spec, out);
        }
    }
    if (sterna_jinja_is_number(value)) {
        if (spec.type && !strchr("eEfFgGn%", spec.type)) return spec_fail(run, text, size);
        return format_float(run, sterna_jinja_as_float(value), &spec, out);
    }
    return spec_fail(run, text, size); /* other objects take no specification */
}
