#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

sterna_status sterna_fail(sterna_error *err, sterna_status status, const char *format, ...)
{
    if (!err) return status;
    va_list args;
    va_start(args, format);
    err->status = status;
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    return status;
}

sterna_status sterna_fail_prefix(sterna_error *err, const char *format, ...)
{
    if (!err) return STERNA_ERROR_INTERNAL;
    char text[sizeof err->message], old[sizeof err->message];
    memcpy(old, err->message, sizeof old);
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t used = strlen(text);
    memcpy(err->message, text, used + 1);
    if (used < sizeof err->message)
        snprintf(err->message + used, sizeof err->message - used, ": %s", old);
    return err->status;
}

sterna_status sterna_fail_memory(sterna_error *err, const char *what)
{
    return sterna_fail(
        err, STERNA_ERROR_MEMORY,
        "out of memory for %s; close other programs, or use a smaller model or context", what);
}
