/* Errors are values with a sentence.
 *
 * Every function that can fail returns a sterna_status and takes a `sterna_error *err` as its last
 * parameter. The sentence names the file, the tensor or field, what was expected, what was found
 * and what to do. Output parameters are set only on success.
 */
#ifndef STERNA_BASE_ERROR_H
#define STERNA_BASE_ERROR_H

#include "sterna.h"

/* Writes the sentence into *err (which may be NULL; text past its end is cut) and returns `status`,
 * so that a function can end with `return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: tensor '%s'
 * ...", ...)`. */
sterna_status sterna_fail(sterna_error *err, sterna_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " in front of the sentence already in *err and returns err's status. For callers
 * that know more (a file's name). */
sterna_status sterna_fail_prefix(sterna_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The standard sentence for a failed allocation; `what` says for what. */
sterna_status sterna_fail_memory(sterna_error *err, const char *what);

#endif
