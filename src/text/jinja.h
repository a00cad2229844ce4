/* Jinja: a bounded interpreter for chat templates.
 *
 * Renders a template byte for byte as Python's jinja2 3.1 does in the environment that the
 * transformers library sets up for chat templates: an immutable sandbox, trim_blocks and
 * lstrip_blocks on, no autoescape, the loopcontrols extension, the {% generation %} tag, `tojson`
 * without ASCII or HTML escapes, `strftime_now` and `raise_exception`. Where jinja2 raises, this
 * fails with one sentence.
 *
 * It differs on purpose in this: integers have 64 bits (an overflow is an error); `include`,
 * `import`, `extends`, `random`, `lipsum`, `urlize`, `encode` and `\N{...}` are refused by name;
 * objects that Python prints with an address print without one. A template is a program from a
 * stranger, so every step, level of nesting and byte is counted against a limit.
 */
#ifndef STERNA_TEXT_JINJA_H
#define STERNA_TEXT_JINJA_H

#include <jansson.h>
#include <time.h>

#include "base/buffer.h"
#include "base/error.h"

/* A template larger than this is refused. */
#define STERNA_JINJA_TEMPLATE_LIMIT (4u << 20)

typedef struct sterna_jinja_program sterna_jinja_program;

typedef struct sterna_jinja_options {
    /* Limits; 0 stands for the default in brackets. */
    uint64_t max_steps;   /* evaluated nodes, plus one for every 64 bytes moved [10 million] */
    unsigned max_depth;   /* nested evaluations: expressions, blocks, macro calls [2000] */
    size_t max_output;    /* bytes [16 MiB] */
    size_t max_memory;    /* bytes of values made while rendering [256 MiB] */
    const struct tm *now; /* local time that strftime_now shows; NULL asks the clock */
} sterna_jinja_options;

/* Parses a template (UTF-8, `size` bytes, copied). A program is immutable and may be shared by
 * threads. Fails with STERNA_ERROR_FORMAT and the line where the syntax is wrong. Free accepts
 * NULL. */
sterna_status sterna_jinja_compile(const char *text, size_t size, sterna_jinja_program **out,
                                   sterna_error *err);
void sterna_jinja_free(sterna_jinja_program *program);

/* Renders with the members of the object `variables` as global names and appends the text to `out`
 * (nothing on failure). `variables` is only read. `options` may be NULL. Fails with
 * STERNA_ERROR_ARGUMENT when the template itself raises (raise_exception), STERNA_ERROR_FORMAT for
 * what Python would raise (types, undefined names), STERNA_ERROR_UNSUPPORTED for what is refused by
 * name, STERNA_ERROR_LIMIT past a limit, STERNA_ERROR_MEMORY. */
sterna_status sterna_jinja_render(const sterna_jinja_program *program, json_t *variables,
                                  const sterna_jinja_options *options, sterna_buffer *out,
                                  sterna_error *err);

#endif
