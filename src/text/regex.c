/* Compiling and matching with PCRE2: just-in-time code where the machine has it, a bounded stack
 * and heap, and the meter (see regex.h), which is PCRE2's automatic callout before every item. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>
#include <string.h>

#include "base/memory.h"
#include "text/utf8.h"

enum {
    JIT_STACK_FIRST = 32 << 10,
    JIT_STACK_MAX = 64 << 20,
    HEAP_LIMIT_KIB = 256 << 10,
    MATCH_LIMIT = 100000000 /* of the interpreter, where there is no just-in-time code */
};

struct sterna_regex {
    pcre2_code *code;
    bool metered, jit;
};

struct sterna_regex_state {
    pcre2_general_context *general;
    pcre2_match_context *match;
    pcre2_jit_stack *stack;
    pcre2_match_data *data;
    size_t last_position;
    sterna_regex_scratch *scratch;
};

static void *pcre2_allocate(size_t size, void *context)
{
    (void)context;
    return sterna_realloc(NULL, size, 1);
}

static void pcre2_release(void *block, void *context)
{
    (void)context;
    sterna_free(block);
}

static sterna_status compile(sterna_regex *regex, const char *pattern, size_t size,
                             const sterna_buffer *translated, sterna_error *err)
{
    pcre2_general_context *general =
        pcre2_general_context_create(pcre2_allocate, pcre2_release, NULL);
    pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
    sterna_status status = STERNA_OK;
    int code = 0, shown = size < 200 ? (int)size : 200;
    size_t offset = 0;
    if (!context) {
        status = sterna_fail_memory(err, "a regular expression");
    } else {
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        pcre2_set_parens_nest_limit(context, 200);
        uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C |
                           (regex->metered ? PCRE2_AUTO_CALLOUT : 0);
        regex->code = pcre2_compile((PCRE2_SPTR)translated->data, translated->size, options, &code,
                                    &offset, context);
        if (!regex->code && code == PCRE2_ERROR_HEAP_FAILED) {
            status = sterna_fail_memory(err, "a regular expression");
        } else if (!regex->code) {
            char reason[120] = "";
            pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
            status = sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                                 "the regular expression '%.*s' cannot be used: %s", shown, pattern,
                                 reason);
        } else {
            regex->jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0;
        }
    }
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    return status;
}

sterna_status sterna_regex_new(const char *pattern, size_t size, bool trusted, sterna_regex **out,
                               sterna_error *err)
{
    if (size > STERNA_REGEX_MAX_BYTES)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "a regular expression of %zu bytes is longer than the limit of %d", size,
                           (int)STERNA_REGEX_MAX_BYTES);
    sterna_regex *regex = sterna_calloc(1, sizeof *regex);
    sterna_buffer translated = {0};
    sterna_status status;
    if (!regex) {
        status = sterna_fail_memory(err, "a regular expression");
    } else if (!sterna_regex_translate(pattern, size, &translated)) {
        status = translated.failed
                     ? sterna_fail_memory(err, "a regular expression")
                     : sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                                   "a regular expression is nested too deeply to be used");
    } else {
        regex->metered = !trusted;
        status = compile(regex, pattern, size, &translated, err);
    }
    sterna_buffer_free(&translated);
    if (status) {
        sterna_regex_free(regex);
        return status;
    }
    *out = regex;
    return STERNA_OK;
}

void sterna_regex_free(sterna_regex *regex)
{
    if (!regex) return;
    pcre2_code_free(regex->code);
    sterna_free(regex);
}

/* Called before every item of a metered expression. */
static int meter(pcre2_callout_block *block, void *context)
{
    struct sterna_regex_state *state = context;
    size_t now = block->current_position, last = state->last_position;
    state->scratch->work += 1 + (now > last ? now - last : last - now);
    state->last_position = now;
    return state->scratch->work > state->scratch->budget ? PCRE2_ERROR_MATCHLIMIT : 0;
}

void sterna_regex_scratch_free(sterna_regex_scratch *scratch)
{
    struct sterna_regex_state *state = scratch->state;
    if (!state) return;
    pcre2_match_data_free(state->data);
    pcre2_match_context_free(state->match);
    pcre2_jit_stack_free(state->stack);
    pcre2_general_context_free(state->general);
    sterna_free(state);
    scratch->state = NULL;
}

static bool prepare(sterna_regex_scratch *scratch)
{
    if (scratch->state) return true;
    struct sterna_regex_state *state = sterna_calloc(1, sizeof *state);
    if (!state) return false;
    scratch->state = state;
    state->scratch = scratch;
    state->general = pcre2_general_context_create(pcre2_allocate, pcre2_release, NULL);
    state->match = state->general ? pcre2_match_context_create(state->general) : NULL;
    state->data = state->match ? pcre2_match_data_create(1, state->general) : NULL;
    if (!state->data) {
        sterna_regex_scratch_free(scratch);
        return false;
    }
    /* NULL where there is no just-in-time code: the interpreter needs none */
    state->stack = pcre2_jit_stack_create(JIT_STACK_FIRST, JIT_STACK_MAX, state->general);
    if (state->stack) pcre2_jit_stack_assign(state->match, NULL, state->stack);
    pcre2_set_callout(state->match, meter, state);
    pcre2_set_heap_limit(state->match, HEAP_LIMIT_KIB);
    pcre2_set_match_limit(state->match, MATCH_LIMIT);
    return true;
}

void sterna_regex_begin(sterna_regex_walk *walk, const sterna_regex *regex,
                        sterna_regex_scratch *scratch, const char *text, size_t size)
{
    *walk = (sterna_regex_walk){regex, scratch, text, size, 0, 0, false};
}

static sterna_status search(sterna_regex_walk *walk, bool *found, sterna_error *err)
{
    struct sterna_regex_state *state = walk->scratch->state;
    const sterna_regex *regex = walk->regex;
    state->last_position = walk->from;
    int code = regex->jit ? pcre2_jit_match(regex->code, (PCRE2_SPTR)walk->text, walk->size,
                                            walk->from, 0, state->data, state->match)
                          : pcre2_match(regex->code, (PCRE2_SPTR)walk->text, walk->size, walk->from,
                                        PCRE2_NO_UTF_CHECK, state->data, state->match);
    *found = code >= 0;
    if (code >= 0 || code == PCRE2_ERROR_NOMATCH) return STERNA_OK;
    if (code == PCRE2_ERROR_NOMEMORY) return sterna_fail_memory(err, "a regular expression");
    return sterna_fail(err, STERNA_ERROR_LIMIT,
                       "a regular expression of the tokenizer takes more steps on this text than "
                       "the limit allows (its time grows faster than the text)");
}

sterna_status sterna_regex_next(sterna_regex_walk *walk, bool *found, size_t *begin, size_t *end,
                                sterna_error *err)
{
    if (!prepare(walk->scratch)) return sterna_fail_memory(err, "a regular expression");
    while (walk->from <= walk->size) {
        sterna_status status = search(walk, found, err);
        if (status || !*found) return status;
        const size_t *offsets = pcre2_get_ovector_pointer(walk->scratch->state->data);
        *begin = offsets[0];
        *end = offsets[1];
        if (*begin > *end || *begin < walk->from) break;
        if (*begin == *end && walk->any && walk->last_end == *end) {
            if (walk->from == walk->size) break;
            walk->from += sterna_utf8_size(walk->text[walk->from]);
            continue;
        }
        walk->from = walk->last_end = *end;
        walk->any = true;
        return STERNA_OK;
    }
    *found = false;
    return STERNA_OK;
}
