/* Character properties in the sense of the tokenizers' own sources, over utf8proc's tables, and the
 * 256 characters that byte-level vocabularies write bytes with. */
#ifndef STERNA_TEXT_UNICODE_H
#define STERNA_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

bool sterna_is_white_space(uint32_t code);   /* the property White_Space */
bool sterna_is_punctuation(uint32_t code);   /* a general category P*, or ASCII punctuation */
bool sterna_is_numeric(uint32_t code);       /* N* */
bool sterna_is_decimal_digit(uint32_t code); /* Nd */
bool sterna_is_mark(uint32_t code);          /* M* */
bool sterna_is_nonspacing(uint32_t code);    /* Mn */
bool sterna_is_other(uint32_t code);         /* Cc, Cf, Co: controls, formats, private use */
bool sterna_is_word(uint32_t code);          /* letters, marks, decimal digits, connectors */
bool sterna_is_cjk_ideograph(uint32_t code); /* the blocks that BERT sets apart */
/* Lower case with the full mapping of single characters; one or two code points into `out`. */
size_t sterna_to_lower(uint32_t code, uint32_t out[2]);

/* GPT-2's bijection between bytes and printable characters (0x20 is U+0120). */
uint32_t sterna_byte_to_char(uint8_t byte);
int sterna_char_to_byte(uint32_t code); /* or -1 */
/* Appends the characters for the bytes. */
void sterna_add_byte_chars(sterna_buffer *buffer, const char *bytes, size_t size);

typedef enum sterna_normal_form {
    STERNA_NFC,
    STERNA_NFD,
    STERNA_NFKC,
    STERNA_NFKD
} sterna_normal_form;

/* Appends the normal form of well-formed UTF-8 to `out`, in time proportional to n log n even for
 * endless runs of combining marks. False when out of memory. */
bool sterna_normal_form_of(const char *text, size_t size, sterna_normal_form form,
                           sterna_buffer *out);

#endif
