/* SHA-256 (FIPS 180-4), to tell whether bytes are still the same ones. */
#ifndef STERNA_BASE_DIGEST_H
#define STERNA_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { STERNA_DIGEST_BYTES = 32, STERNA_DIGEST_TEXT = 65 };

typedef struct sterna_digest {
    uint32_t state[8];
    uint64_t size; /* bytes so far */
    uint8_t block[64];
} sterna_digest;

void sterna_digest_start(sterna_digest *digest);
void sterna_digest_add(sterna_digest *digest, const void *bytes, size_t size);
void sterna_digest_end(sterna_digest *digest, uint8_t out[STERNA_DIGEST_BYTES]);
/* Lower-case hexadecimal digits. */
void sterna_digest_text(const uint8_t digest[STERNA_DIGEST_BYTES], char text[STERNA_DIGEST_TEXT]);

/* Of a file's size (8 bytes, little-endian) and its first, middle and last MiB (of all bytes where
 * it has no more than three): quick for a file of any size, and different for every model that was
 * made again. */
sterna_status sterna_digest_file(const char *path, uint8_t out[STERNA_DIGEST_BYTES],
                                 sterna_error *err);

#endif
