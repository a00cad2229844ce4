/* Character properties, lower case and normal forms over utf8proc. utf8proc orders combining marks
 * with a sort that is quadratic in the length of a run, so the ordering is done here; its
 * decomposition and composition are linear and used as they are. */
#include "text/unicode.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "base/memory.h"
#include "text/utf8.h"

static utf8proc_category_t category(uint32_t code)
{
    return utf8proc_category((utf8proc_int32_t)code);
}

bool sterna_is_white_space(uint32_t code)
{
    if (code < 0x80) return code == ' ' || (code >= 9 && code <= 13);
    if (code == 0x85) return true;
    utf8proc_category_t c = category(code);
    return c == UTF8PROC_CATEGORY_ZS || c == UTF8PROC_CATEGORY_ZL || c == UTF8PROC_CATEGORY_ZP;
}

bool sterna_is_punctuation(uint32_t code)
{
    if (code < 0x80)
        return (code >= 33 && code <= 47) || (code >= 58 && code <= 64) ||
               (code >= 91 && code <= 96) || (code >= 123 && code <= 126);
    utf8proc_category_t c = category(code);
    return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}

bool sterna_is_numeric(uint32_t code)
{
    if (code < 0x80) return code >= '0' && code <= '9';
    utf8proc_category_t c = category(code);
    return c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO;
}

bool sterna_is_decimal_digit(uint32_t code)
{
    return category(code) == UTF8PROC_CATEGORY_ND;
}

bool sterna_is_mark(uint32_t code)
{
    utf8proc_category_t c = category(code);
    return c >= UTF8PROC_CATEGORY_MN && c <= UTF8PROC_CATEGORY_ME;
}

bool sterna_is_nonspacing(uint32_t code)
{
    return category(code) == UTF8PROC_CATEGORY_MN;
}

bool sterna_is_other(uint32_t code)
{
    utf8proc_category_t c = category(code);
    return c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CO;
}

bool sterna_is_word(uint32_t code)
{
    utf8proc_category_t c = category(code);
    return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NL) || c == UTF8PROC_CATEGORY_PC ||
           (code >= 0x24b6 && code <= 0x24e9);
}

bool sterna_is_cjk_ideograph(uint32_t code)
{
    return (code >= 0x4e00 && code <= 0x9fff) || (code >= 0x3400 && code <= 0x4dbf) ||
           (code >= 0x20000 && code <= 0x2a6df) || (code >= 0x2a700 && code <= 0x2b73f) ||
           (code >= 0x2b740 && code <= 0x2b81f) ||
           (code >= 0x2b920 && code <= 0x2ceaf) || /* sic: BERT's successors agree on 2B920 */
           (code >= 0xf900 && code <= 0xfaff) || (code >= 0x2f800 && code <= 0x2fa1f);
}

size_t sterna_to_lower(uint32_t code, uint32_t out[2])
{
    if (code == 0x130) { /* the only character whose lower case is two */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
    return 1;
}

/* The printable bytes stand for themselves; the others take U+0100.. in order. */
static bool stands_for_itself(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) ||
           (byte >= 0xae && byte <= 0xff);
}

uint32_t sterna_byte_to_char(uint8_t byte)
{
    if (stands_for_itself(byte)) return byte;
    if (byte <= 0x20) return 0x100u + byte;
    if (byte <= 0xa0) return 0x100u + 33 + (byte - 0x7fu);
    return 0x100u + 67; /* 0xAD */
}

int sterna_char_to_byte(uint32_t code)
{
    if (code < 0x100) return stands_for_itself(code) ? (int)code : -1;
    if (code <= 0x120) return (int)(code - 0x100);
    if (code <= 0x142) return (int)(code - 0x121 + 0x7f);
    return code == 0x143 ? 0xad : -1;
}

void sterna_add_byte_chars(sterna_buffer *buffer, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        uint32_t code = sterna_byte_to_char((uint8_t)bytes[i]);
        if (code < 0x80) {
            sterna_buffer_add_char(buffer, (char)code);
        } else {
            char two[2] = {(char)(0xc0 | code >> 6), (char)(0x80 | (code & 0x3f))};
            sterna_buffer_add(buffer, two, 2);
        }
    }
}

/* ---- normal forms ---- */

typedef struct codes {
    int32_t *data;
    size_t count, capacity;
} codes;

static bool reserve_codes(codes *list, size_t more)
{
    if (list->capacity - list->count >= more) return true;
    size_t capacity = list->capacity * 2 + more + 64;
    int32_t *data = sterna_realloc(list->data, capacity, sizeof *data);
    if (!data) return false;
    list->data = data;
    list->capacity = capacity;
    return true;
}

static bool decompose(const char *text, size_t size, int options, codes *out)
{
    enum { MOST = 18 }; /* code points that one character may become (U+FDFA) */
    for (size_t at = 0, length; at < size; at += length) {
        int32_t code = (int32_t)sterna_utf8_decode(text + at, &length);
        if (!reserve_codes(out, MOST)) return false;
        if (code < 0x80) {
            out->data[out->count++] = code;
            continue;
        }
        int boundary = 0;
        utf8proc_ssize_t n = utf8proc_decompose_char(code, out->data + out->count, MOST,
                                                     (utf8proc_option_t)options, &boundary);
        if (n < 0 || n > MOST) {
            out->data[out->count++] = code;
            continue;
        }
        out->count += (size_t)n;
    }
    return true;
}

static int combining_class(int32_t code)
{
    return code < 0x300 ? 0 : utf8proc_get_property(code)->combining_class;
}

/* Stable counting sort of one run of marks by combining class (1..255). */
static bool order_run(int32_t *run, size_t count, int32_t **scratch)
{
    size_t starts[257] = {0};
    int32_t *copy = sterna_realloc(*scratch, count, sizeof *copy);
    if (!copy) return false;
    *scratch = copy;
    for (size_t i = 0; i < count; i++) {
        copy[i] = run[i];
        starts[combining_class(run[i]) + 1]++;
    }
    for (size_t i = 1; i < 257; i++) starts[i] += starts[i - 1];
    for (size_t i = 0; i < count; i++) run[starts[combining_class(copy[i])]++] = copy[i];
    return true;
}

static bool order_marks(codes *list)
{
    int32_t *scratch = NULL;
    bool done = true;
    for (size_t at = 0; at < list->count && done;) {
        int previous = combining_class(list->data[at]);
        if (!previous) {
            at++;
            continue;
        }
        size_t end = at + 1;
        bool ordered = true;
        for (int class; end < list->count && (class = combining_class(list->data[end])); end++) {
            ordered &= class >= previous;
            previous = class;
        }
        if (!ordered) done = order_run(list->data + at, end - at, &scratch);
        at = end;
    }
    sterna_free(scratch);
    return done;
}

bool sterna_normal_form_of(const char *text, size_t size, sterna_normal_form form,
                           sterna_buffer *out)
{
    size_t plain = 0;
    while (plain < size && !(text[plain] & 0x80)) plain++;
    if (plain == size) { /* ASCII is its own normal form */
        sterna_buffer_add(out, text, size);
        return !out->failed;
    }
    bool compatible = form == STERNA_NFKC || form == STERNA_NFKD;
    int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0);
    codes list = {0};
    bool done = decompose(text, size, options, &list) && order_marks(&list);
    if (done && (form == STERNA_NFC || form == STERNA_NFKC)) {
        utf8proc_ssize_t n =
            utf8proc_normalize_utf32(list.data, (utf8proc_ssize_t)list.count,
                                     (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
        if (n >= 0) list.count = (size_t)n;
    }
    for (size_t i = 0; done && i < list.count; i++)
        sterna_buffer_add_utf8(out, (unsigned)list.data[i]);
    sterna_free(list.data);
    return done && !out->failed;
}
