/* sterna.h: the public interface of libsterna.
 *
 * Conventions. Functions that can fail return a sterna_status (0 = success) and take a
 * `sterna_error *err` last (NULL if the caller does not want the sentence). Output parameters are
 * set only on success. Objects made by *_open or *_new are released by the matching
 * *_close or *_free, which accept NULL. Text is UTF-8. Strings handed out as `char **` are released
 * with sterna_string_free. A model is immutable and may be shared by threads; a session belongs to
 * one thread at a time.
 */
#ifndef STERNA_H
#define STERNA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STERNA_VERSION_MAJOR 0
#define STERNA_VERSION_MINOR 1
#define STERNA_VERSION_PATCH 0

#if defined(__GNUC__)
#define STERNA_API __attribute__((visibility("default")))
#else
#define STERNA_API
#endif

/* ---- status ---- */

typedef enum sterna_status {
    STERNA_OK = 0,
    STERNA_ERROR_ARGUMENT,    /* the caller asked for something that makes no sense */
    STERNA_ERROR_IO,          /* a file could not be read or written */
    STERNA_ERROR_FORMAT,      /* a file, template or JSON text is malformed */
    STERNA_ERROR_UNSUPPORTED, /* well-formed, but of a kind that this build does not know */
    STERNA_ERROR_LIMIT,       /* larger than a stated limit */
    STERNA_ERROR_MEMORY,      /* out of memory */
    STERNA_ERROR_CANCELLED,   /* a callback asked to stop */
    STERNA_ERROR_INTERNAL     /* a bug in Sterna */
} sterna_status;

typedef struct sterna_error {
    sterna_status status;
    char message[1024]; /* one sentence, NUL-terminated */
} sterna_error;

/* "0.1.0" and one word for a status. Static strings. */
STERNA_API const char *sterna_version(void);
STERNA_API const char *sterna_status_name(sterna_status status);
STERNA_API void sterna_string_free(char *text);

/* Called now and then during long work, from the calling thread. `stage` is a short phrase; done <=
 * total in the unit that suits the stage. Return false to cancel (the work ends with
 * STERNA_ERROR_CANCELLED). */
typedef bool (*sterna_progress)(void *context, const char *stage, double done, double total);

/* MORE SECTIONS */

#ifdef __cplusplus
}
#endif
#endif
