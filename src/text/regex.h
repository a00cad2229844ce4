/* Regular expressions of tokenizer files, matched by PCRE2.
 *
 * The files write them in Oniguruma's syntax; they are translated first. They may be hostile, so an
 * expression that is not known to be harmless is metered: each item it visits and each character
 * it moves over is counted, and a search that goes beyond a budget proportional to the text ends
 * with STERNA_ERROR_LIMIT. The count does not depend on the machine.
 */
#ifndef STERNA_TEXT_REGEX_H
#define STERNA_TEXT_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

typedef struct sterna_regex sterna_regex;

/* What one thread needs to match; zero-initialised, made on first use. */
typedef struct sterna_regex_scratch {
    struct sterna_regex_state *state;
    uint64_t work, budget; /* metered steps done and allowed in this call to encode */
} sterna_regex_scratch;

enum {
    STERNA_REGEX_MAX_BYTES = 1 << 16,
    STERNA_REGEX_BUDGET_BASE = 1 << 24, /* steps allowed for any text */
    STERNA_REGEX_BUDGET_PER_BYTE = 512  /* and for each byte of it */
};

/* Compiles an expression; `trusted` ones are not metered. A syntax error or an unknown construct is
 * refused with the expression and what is wrong with it. */
sterna_status sterna_regex_new(const char *pattern, size_t size, bool trusted, sterna_regex **out,
                               sterna_error *err);
void sterna_regex_free(sterna_regex *regex);
void sterna_regex_scratch_free(sterna_regex_scratch *scratch);

/* An iteration over the matches of well-formed UTF-8, left to right, as Hugging Face's: empty
 * matches count unless they touch the previous match. */
typedef struct sterna_regex_walk {
    const sterna_regex *regex;
    sterna_regex_scratch *scratch;
    const char *text;
    size_t size, from, last_end;
    bool any;
} sterna_regex_walk;
void sterna_regex_begin(sterna_regex_walk *walk, const sterna_regex *regex,
                        sterna_regex_scratch *scratch, const char *text, size_t size);
/* *found tells whether [*begin, *end) is a match; false at the end. */
sterna_status sterna_regex_next(sterna_regex_walk *walk, bool *found, size_t *begin, size_t *end,
                                sterna_error *err);

/* The expression in PCRE2's syntax (regex_syntax.c); PCRE2 judges what is left. False when out of
 * memory or nested too deeply. */
bool sterna_regex_translate(const char *pattern, size_t size, sterna_buffer *out);

#endif
