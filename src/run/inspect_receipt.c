/* The receipt beside a quantized file, as `sterna quantize` leaves it: its main figures. */
#include <string.h>

#include "base/memory.h"
#include "formats/fingerprint.h"
#include "run/inspect.h"

enum { MAX_RECEIPT_BYTES = 256 << 20 };

/* PATH.receipt.json, or NULL when there is none that can be read. */
static json_t *read_receipt(const char *path)
{
    char *name = sterna_path_beside(path, ".receipt.json"), *text = NULL;
    size_t size = 0;
    json_t *receipt = NULL;
    if (name && sterna_path_exists(name) &&
        sterna_file_read(name, MAX_RECEIPT_BYTES, &text, &size, NULL) == STERNA_OK)
        receipt = json_loadb(text, size, 0, NULL);
    sterna_free(text);
    sterna_free(name);
    return receipt;
}

static bool belongs(const json_t *receipt, const char *path)
{
    char text[STERNA_DIGEST_TEXT];
    const char *told = json_string_value(json_object_get(receipt, "fingerprint"));
    if (!told || sterna_fingerprint(path, text, NULL)) return false;
    return strcmp(told, text) == 0;
}

json_t *sterna_inspect_receipt(const char *path)
{
    static const char *const members[] = {"version",    "input",      "relative_error",
                                          "time_s",     "peak_bytes", "settings",
                                          "evaluation", "calibration"};
    json_t *receipt = read_receipt(path), *summary = NULL;
    if (!receipt) return NULL;
    if (belongs(receipt, path)) {
        summary = json_object();
        for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
            json_t *member = json_object_get(receipt, members[i]);
            if (member && summary) json_object_set(summary, members[i], member);
        }
    } else {
        summary = json_string("the receipt beside it belongs to another file");
    }
    json_decref(receipt);
    return summary;
}
