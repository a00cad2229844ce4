/* UTF-8, inline: what every stage of a tokenizer needs for each character. */
#ifndef STERNA_TEXT_UTF8_H
#define STERNA_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Looks at the character at text[0], size > 0. True when it is well-formed; *length is then its
 * size (1..4), otherwise the size of the maximal ill-formed part (Unicode 15, table 3-7 and
 * "substitution of maximal subparts"). */
static inline bool sterna_utf8_check(const char *text, size_t size, size_t *length)
{
    const uint8_t *at = (const uint8_t *)text;
    uint8_t lead = at[0], low = 0x80, high = 0xbf;
    size_t need;
    *length = 1;
    if (lead < 0x80) return true;
    if (lead < 0xc2 || lead > 0xf4) return false;
    if (lead < 0xe0) {
        need = 2;
    } else if (lead < 0xf0) {
        need = 3;
        if (lead == 0xe0) low = 0xa0;
        if (lead == 0xed) high = 0x9f;
    } else {
        need = 4;
        if (lead == 0xf0) low = 0x90;
        if (lead == 0xf4) high = 0x8f;
    }
    for (size_t i = 1; i < need; i++) {
        if (i >= size || at[i] < low || at[i] > high) {
            *length = i;
            return false;
        }
        low = 0x80;
        high = 0xbf;
    }
    *length = need;
    return true;
}

/* The size of the character that begins with this byte; the text is well-formed. */
static inline size_t sterna_utf8_size(char lead)
{
    uint8_t byte = (uint8_t)lead;
    return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/* The code point at text[0]; the text is well-formed. *size gets its length. */
static inline uint32_t sterna_utf8_decode(const char *text, size_t *size)
{
    const uint8_t *at = (const uint8_t *)text;
    *size = sterna_utf8_size(text[0]);
    switch (*size) {
    case 1: return at[0];
    case 2: return (at[0] & 0x1fu) << 6 | (at[1] & 0x3fu);
    case 3: return (at[0] & 0x0fu) << 12 | (at[1] & 0x3fu) << 6 | (at[2] & 0x3fu);
    default:
        return (at[0] & 0x07u) << 18 | (at[1] & 0x3fu) << 12 | (at[2] & 0x3fu) << 6 |
               (at[3] & 0x3fu);
    }
}

/* The start of the last character of a well-formed text that is not empty. */
static inline size_t sterna_utf8_last(const char *text, size_t size)
{
    while (--size > 0 && ((uint8_t)text[size] & 0xc0) == 0x80) continue;
    return size;
}

#endif
