/* The library's version and the names of its statuses: what every floor may ask for. */
#include "sterna.h"

#define TEXT_OF(x)            #x
#define VERSION_TEXT(a, b, c) TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)

const char *sterna_version(void)
{
    return VERSION_TEXT(STERNA_VERSION_MAJOR, STERNA_VERSION_MINOR, STERNA_VERSION_PATCH);
}

const char *sterna_status_name(sterna_status status)
{
    static const char *const names[] = {"ok",    "argument", "io",        "format",  "unsupported",
                                        "limit", "memory",   "cancelled", "internal"};
    return (unsigned)status < sizeof names / sizeof *names ? names[status] : "unknown";
}
