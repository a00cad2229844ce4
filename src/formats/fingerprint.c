#include "formats/fingerprint.h"

#include <string.h>

#include "base/file.h"
#include "base/memory.h"

sterna_status sterna_fingerprint(const char *path, char text[STERNA_DIGEST_TEXT], sterna_error *err)
{
    uint8_t digest[STERNA_DIGEST_BYTES];
    char *inside = sterna_path_is_folder(path) ? sterna_path_join(path, "model.safetensors")
                                               : sterna_strdup(path);
    if (!inside) return sterna_fail_memory(err, path);
    sterna_status status = sterna_digest_file(inside, digest, err);
    sterna_free(inside);
    if (!status) sterna_digest_text(digest, text);
    return status;
}

char *sterna_path_beside(const char *path, const char *suffix)
{
    size_t size = strlen(path), tail = strlen(suffix) + 1;
    while (size > 1 && path[size - 1] == '/') size--;
    char *beside = sterna_alloc(size + tail, 1);
    if (!beside) return NULL;
    memcpy(beside, path, size);
    memcpy(beside + size, suffix, tail);
    return beside;
}
