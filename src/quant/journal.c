#include "quant/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "formats/fingerprint.h"

static const char magic[8] = "STRNJRN1";
static const char *const files[] = {"layers", "states.0", "states.1"};

enum { RECORD_CALIBRATION = 1, RECORD_ITEM, RECORD_LAYER, RECORD_SENSITIVITIES };
enum { MAX_WINDOWS = 1 << 24, MAX_CODE = STERNA_CODE_TWO_BIT };

typedef struct header {
    char magic[8];
    uint8_t identity[STERNA_DIGEST_BYTES];
} header;

typedef struct record {
    uint32_t kind, number; /* number: of the item, of the layer */
    uint64_t size, sum;    /* of what follows: a head of fixed size for the kind, then bytes */
} record;

typedef struct calibration_head {
    uint64_t windows, length, generated;
    char digest[STERNA_DIGEST_TEXT + 7];
} calibration_head;

typedef struct item_head {
    uint32_t type, code, code2, group, wide, shifted, outliers, padding;
    double error, energy;
    uint64_t zeros;
} item_head;

typedef struct layer_head {
    uint64_t count, sum; /* floats of each stream; sum of both */
} layer_head;

typedef struct sensitivities_head {
    uint64_t count; /* of doubles that follow, one for every item */
} sensitivities_head;

struct sterna_journal {
    char *folder;
    FILE *stream;      /* of `layers`, at its end */
    sterna_file *file; /* `layers` as it was when the run was resumed; NULL for a new one */
    size_t calibration_at, sensitivities_at;
    size_t end; /* behind the last finished layer */
    uint32_t layers;
    bool *kept; /* [n_items] items that are in it, or were not FIT */
};

/* Not for hostile hands, but no accident gets past it. */
static uint64_t add_sum(uint64_t sum, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint64_t lanes[4] = {sum, ~sum, sum + 1, sum + 2}, word;
    size_t i = 0;
    for (; i + 32 <= size; i += 32)
        for (int lane = 0; lane < 4; lane++) {
            memcpy(&word, at + i + 8 * lane, 8);
            lanes[lane] = (lanes[lane] ^ word) * 0x9e3779b97f4a7c15u;
            lanes[lane] ^= lanes[lane] >> 29;
        }
    for (; i < size; i++) lanes[0] = (lanes[0] ^ at[i]) * 0x100000001b3u;
    for (int lane = 1; lane < 4; lane++) lanes[0] = (lanes[0] ^ lanes[lane]) * 0x9e3779b97f4a7c15u;
    return lanes[0] ^ lanes[0] >> 32 ^ size;
}

static FILE *open_in(const char *folder, const char *name, const char *mode)
{
    char *path = sterna_path_join(folder, name);
    FILE *stream = path ? fopen(path, mode) : NULL;
    sterna_free(path);
    return stream;
}

static void remove_folder(const char *folder)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = sterna_path_join(folder, files[i]);
        if (path) unlink(path);
        sterna_free(path);
    }
    rmdir(folder);
}

static sterna_status fail_write(const sterna_journal *journal, sterna_error *err)
{
    return sterna_fail(err, STERNA_ERROR_IO,
                       "%s: cannot write the journal: %s; finished layers are kept, and --resume "
                       "goes on behind them",
                       journal->folder, strerror(errno));
}

static sterna_status fail_damaged(const sterna_journal *journal, size_t at, sterna_error *err)
{
    return sterna_fail(err, STERNA_ERROR_FORMAT,
                       "%s: the journal is damaged (byte %zu of '%s'); start anew without --resume",
                       journal->folder, at, files[0]);
}

/* ---- opening ---- */

bool sterna_journal_exists(const char *out)
{
    char *folder = sterna_path_beside(out, ".resume"),
         *path = folder ? sterna_path_join(folder, files[0]) : NULL;
    bool exists = path && sterna_path_exists(path);
    sterna_free(path);
    sterna_free(folder);
    return exists;
}

static sterna_status new_journal(const char *out, sterna_journal **journal, sterna_error *err)
{
    *journal = sterna_calloc(1, sizeof **journal);
    if (*journal) (*journal)->folder = sterna_path_beside(out, ".resume");
    return *journal && (*journal)->folder ? STERNA_OK : sterna_fail_memory(err, "a journal");
}

/* Two runs that write the same output would ruin each other's journal. */
static sterna_status lock(const sterna_journal *journal, sterna_error *err)
{
    if (flock(fileno(journal->stream), LOCK_EX | LOCK_NB) == 0) return STERNA_OK;
    return sterna_fail(err, STERNA_ERROR_IO, "%s: another run is writing this journal",
                       journal->folder);
}

sterna_status sterna_journal_start(const char *out, const uint8_t identity[STERNA_DIGEST_BYTES],
                                   sterna_journal **result, sterna_error *err)
{
    sterna_journal *journal = NULL;
    header head;
    sterna_status status = new_journal(out, &journal, err);
    if (status) goto end;
    memcpy(head.magic, magic, sizeof magic);
    memcpy(head.identity, identity, sizeof head.identity);
    if ((journal->stream = open_in(journal->folder, files[0], "r+be"))) {
        status = lock(journal, err);
        if (status) goto end;
        fclose(journal->stream);
        journal->stream = NULL;
        remove_folder(journal->folder);
    }
    if (mkdir(journal->folder, 0777) != 0)
        status = sterna_fail(err, STERNA_ERROR_IO, "%s: cannot create the folder: %s",
                             journal->folder, strerror(errno));
    else if (!(journal->stream = open_in(journal->folder, files[0], "w+be")) ||
             fwrite(&head, sizeof head, 1, journal->stream) != 1 || fflush(journal->stream) != 0)
        status = fail_write(journal, err);
    if (!status) status = lock(journal, err);
    journal->end = sizeof head;
end:
    if (status)
        sterna_journal_close(journal, false);
    else
        *result = journal;
    return status;
}

/* The fixed part of a kind; 0 for a kind that there is not. */
static size_t head_size(uint32_t kind)
{
    switch (kind) {
    case RECORD_CALIBRATION: return sizeof(calibration_head);
    case RECORD_ITEM: return sizeof(item_head);
    case RECORD_LAYER: return sizeof(layer_head);
    case RECORD_SENSITIVITIES: return sizeof(sensitivities_head);
    default: return 0;
    }
}

/* The record at `at`, whole and of the right sum. */
static bool read_record(const sterna_file *file, size_t at, record *out)
{
    if (file->size - at < sizeof *out) return false;
    memcpy(out, file->data + at, sizeof *out);
    size_t head = head_size(out->kind), room = file->size - at - sizeof *out;
    if (!head || out->size < head || out->size > room) return false;
    const uint8_t *data = file->data + at + sizeof *out;
    return add_sum(add_sum(0, data, head), data + head, (size_t)out->size - head) == out->sum;
}

/* Finds the finished layers. What follows the first bad record is given up when it cannot have been
 * followed by another: a record that a kill cut off. */
static sterna_status scan(sterna_journal *journal, sterna_error *err)
{
    const sterna_file *file = journal->file;
    size_t at = sizeof(header);
    journal->end = at;
    while (at < file->size) {
        record r;
        if (!read_record(file, at, &r)) {
            bool cut = file->size - at < sizeof r || file->size - at - sizeof r <= r.size;
            return cut ? STERNA_OK : fail_damaged(journal, at, err);
        }
        if (r.kind == RECORD_CALIBRATION) journal->calibration_at = at;
        if (r.kind == RECORD_SENSITIVITIES) journal->sensitivities_at = at;
        if (r.kind == RECORD_LAYER && r.number != journal->layers)
            return fail_damaged(journal, at, err);
        at += sizeof r + (size_t)r.size;
        if (r.kind == RECORD_ITEM) continue;
        journal->layers += r.kind == RECORD_LAYER;
        journal->end = at;
    }
    return STERNA_OK;
}

static sterna_status open_file(sterna_journal *journal, const uint8_t *identity, sterna_error *err)
{
    char *path = sterna_path_join(journal->folder, files[0]);
    if (!path) return sterna_fail_memory(err, "a journal");
    bool there = sterna_path_exists(path);
    sterna_status status = there ? sterna_file_open(path, &journal->file, err)
                                 : sterna_fail(err, STERNA_ERROR_ARGUMENT,
                                               "%s: there is no interrupted run to go on with; "
                                               "leave out --resume",
                                               journal->folder);
    sterna_free(path);
    if (status) return status;
    const header *head = (const header *)(const void *)journal->file->data;
    if (journal->file->size < sizeof *head || memcmp(head->magic, magic, sizeof magic) != 0)
        return fail_damaged(journal, 0, err);
    if (memcmp(head->identity, identity, sizeof head->identity) != 0)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "%s: the interrupted run was for another model, text, version or other "
                           "settings; give the same ones, or start anew without --resume",
                           journal->folder);
    return STERNA_OK;
}

sterna_status sterna_journal_resume(const char *out, const uint8_t identity[STERNA_DIGEST_BYTES],
                                    sterna_journal **result, sterna_error *err)
{
    sterna_journal *journal = NULL;
    sterna_status status = new_journal(out, &journal, err);
    if (!status) status = open_file(journal, identity, err);
    if (!status) status = scan(journal, err);
    if (!status && !(journal->stream = open_in(journal->folder, files[0], "r+be")))
        status = fail_write(journal, err);
    if (!status) status = lock(journal, err);
    if (status && journal) journal->layers = 1; /* what cannot be read is not removed either */
    if (status)
        sterna_journal_close(journal, false);
    else
        *result = journal;
    return status;
}

void sterna_journal_close(sterna_journal *journal, bool done)
{
    if (!journal) return;
    bool mine = journal->stream != NULL;
    if (journal->stream) fclose(journal->stream);
    sterna_file_close(journal->file);
    bool worth = journal->layers > 0 || journal->sensitivities_at > 0;
    if (mine && (done || !worth)) remove_folder(journal->folder);
    sterna_free(journal->kept);
    sterna_free(journal->folder);
    sterna_free(journal);
}

uint32_t sterna_journal_layers(const sterna_journal *journal)
{
    return journal->layers;
}

/* ---- writing ---- */

static bool write_record(sterna_journal *journal, uint32_t kind, uint32_t number, const void *head,
                         const void *bytes, size_t size)
{
    size_t first = head_size(kind);
    const record r = {kind, number, first + size, add_sum(add_sum(0, head, first), bytes, size)};
    FILE *stream = journal->stream;
    return fwrite(&r, sizeof r, 1, stream) == 1 && fwrite(head, first, 1, stream) == 1 &&
           (size == 0 || fwrite(bytes, size, 1, stream) == 1);
}

/* Behind what is complete; what a kill left there goes. */
static bool seek_end(sterna_journal *journal)
{
    return fflush(journal->stream) == 0 &&
           ftruncate(fileno(journal->stream), (off_t)journal->end) == 0 &&
           fseeko(journal->stream, (off_t)journal->end, SEEK_SET) == 0;
}

static bool finish(sterna_journal *journal)
{
    off_t end = fflush(journal->stream) == 0 ? ftello(journal->stream) : -1;
    if (end < 0) return false;
    journal->end = (size_t)end;
    return true;
}

sterna_status sterna_journal_put_calibration(sterna_journal *journal,
                                             const sterna_calibration *calibration,
                                             sterna_error *err)
{
    calibration_head head = {calibration->windows, calibration->length, calibration->generated, ""};
    memcpy(head.digest, calibration->text_digest, sizeof calibration->text_digest);
    size_t bytes = calibration->windows * calibration->length * sizeof *calibration->ids;
    if (!seek_end(journal) ||
        !write_record(journal, RECORD_CALIBRATION, 0, &head, calibration->ids, bytes) ||
        !finish(journal))
        return fail_write(journal, err);
    return STERNA_OK;
}

sterna_status sterna_journal_put_sensitivities(sterna_journal *journal, const sterna_item *items,
                                               size_t n_items, uint32_t layers, sterna_error *err)
{
    const sensitivities_head head = {n_items};
    double *all = sterna_alloc(n_items, sizeof *all);
    if (!all) return sterna_fail_memory(err, "a journal");
    for (size_t i = 0; i < n_items; i++) all[i] = items[i].sensitivity;
    size_t at = journal->end;
    bool good =
        seek_end(journal) &&
        write_record(journal, RECORD_SENSITIVITIES, layers, &head, all, n_items * sizeof *all) &&
        finish(journal);
    sterna_free(all);
    if (!good) return fail_write(journal, err);
    journal->sensitivities_at = at;
    return STERNA_OK;
}

static bool write_states(const sterna_journal *journal, const float *const states[2], size_t count)
{
    FILE *stream = open_in(journal->folder, files[1 + (journal->layers + 1) % 2], "wbe");
    if (!stream) return false;
    bool good = fwrite(states[0], sizeof(float), count, stream) == count &&
                fwrite(states[1], sizeof(float), count, stream) == count;
    return (fclose(stream) == 0) & good;
}

static bool write_item(sterna_journal *journal, const sterna_item *item, uint32_t index)
{
    const sterna_native *form = &item->form;
    const item_head head = {item->type,         form->code,          form->code2,       form->group,
                            form->wide,         form->shifted,       form->outliers,    0,
                            item->result.error, item->result.energy, item->result.zeros};
    return write_record(journal, RECORD_ITEM, index, &head, item->packed,
                        (size_t)sterna_item_bytes(item));
}

/* Marks what is no work of the layers. */
static sterna_status begin(sterna_journal *journal, const sterna_item *items, size_t n_items,
                           sterna_error *err)
{
    if (journal->kept) return STERNA_OK;
    journal->kept = sterna_calloc(n_items, sizeof *journal->kept);
    if (!journal->kept) return sterna_fail_memory(err, "a journal");
    for (size_t i = 0; i < n_items; i++) journal->kept[i] = items[i].verb != STERNA_VERB_FIT;
    return STERNA_OK;
}

sterna_status sterna_journal_put_layer(sterna_journal *journal, const sterna_item *items,
                                       size_t n_items, const float *const states[2], size_t count,
                                       sterna_error *err)
{
    const layer_head head = {count, add_sum(add_sum(0, states[0], count * sizeof(float)), states[1],
                                            count * sizeof(float))};
    bool good = write_states(journal, states, count) && seek_end(journal);
    for (size_t i = 0; i < n_items && good; i++) {
        if (journal->kept[i] || items[i].verb != STERNA_VERB_READY) continue;
        good = write_item(journal, &items[i], (uint32_t)i);
        journal->kept[i] = true;
    }
    if (!good || !write_record(journal, RECORD_LAYER, journal->layers, &head, NULL, 0) ||
        !finish(journal))
        return fail_write(journal, err);
    journal->layers++;
    return STERNA_OK;
}

/* ---- reading ---- */

bool sterna_journal_has_calibration(const sterna_journal *journal)
{
    return journal->calibration_at != 0;
}

sterna_status sterna_journal_get_calibration(const sterna_journal *journal, sterna_calibration *out,
                                             sterna_error *err)
{
    calibration_head head;
    record r;
    size_t at = journal->calibration_at, count;
    memcpy(&r, journal->file->data + at, sizeof r);
    memcpy(&head, journal->file->data + at + sizeof r, sizeof head);
    if (head.windows > MAX_WINDOWS || head.length > MAX_WINDOWS || head.windows < head.generated ||
        !sterna_mul_size((size_t)head.windows, (size_t)head.length, &count) ||
        r.size != sizeof head + count * sizeof(int32_t))
        return fail_damaged(journal, at, err);
    *out = (sterna_calibration){.windows = (size_t)head.windows,
                                .length = (size_t)head.length,
                                .generated = (size_t)head.generated};
    memcpy(out->text_digest, head.digest, sizeof out->text_digest - 1);
    out->ids = sterna_alloc(count, sizeof *out->ids);
    if (!out->ids) return sterna_fail_memory(err, "the calibration windows");
    memcpy(out->ids, journal->file->data + at + sizeof r + sizeof head, count * sizeof *out->ids);
    return STERNA_OK;
}

uint32_t sterna_journal_get_sensitivities(const sterna_journal *journal, sterna_item *items,
                                          size_t n_items)
{
    record r;
    size_t at = journal->sensitivities_at;
    if (!at || !journal->file) return 0;
    memcpy(&r, journal->file->data + at, sizeof r);
    if (r.size != sizeof(sensitivities_head) + n_items * sizeof(double)) return 0;
    const uint8_t *data = journal->file->data + at + sizeof r + sizeof(sensitivities_head);
    for (size_t i = 0; i < n_items; i++)
        memcpy(&items[i].sensitivity, data + i * sizeof(double), sizeof(double));
    return r.number;
}

static sterna_status read_item(sterna_journal *journal, size_t at, const record *r,
                               sterna_item *items, size_t n_items, sterna_error *err)
{
    item_head head;
    const uint8_t *data = journal->file->data + at + sizeof *r;
    memcpy(&head, data, sizeof head);
    if (r->number >= n_items || head.type >= STERNA_TYPES || head.code > MAX_CODE ||
        head.code2 > MAX_CODE || journal->kept[r->number])
        return fail_damaged(journal, at, err);
    sterna_item *item = &items[r->number];
    item->type = (sterna_type)head.type;
    item->form = (sterna_native){.code = (sterna_trit_code)head.code,
                                 .code2 = (sterna_trit_code)head.code2,
                                 .group = head.group,
                                 .wide = head.wide != 0,
                                 .shifted = head.shifted != 0,
                                 .outliers = head.outliers};
    if (sterna_item_bytes(item) != r->size - sizeof head) return fail_damaged(journal, at, err);
    sterna_status status = sterna_item_restore(item, data + sizeof head, err);
    item->result = (sterna_fit_result){head.error, head.energy, head.zeros};
    journal->kept[r->number] = true;
    return status;
}

static sterna_status read_states(const sterna_journal *journal, const layer_head *head,
                                 float *const states[2], size_t count, sterna_error *err)
{
    const char *name = files[1 + journal->layers % 2];
    FILE *stream = open_in(journal->folder, name, "rbe");
    bool good =
        stream && head->count == count && fread(states[0], sizeof(float), count, stream) == count &&
        fread(states[1], sizeof(float), count, stream) == count &&
        add_sum(add_sum(0, states[0], count * sizeof(float)), states[1], count * sizeof(float)) ==
            head->sum;
    if (stream) fclose(stream);
    if (good) return STERNA_OK;
    return sterna_fail(err, STERNA_ERROR_FORMAT,
                       "%s: the journal is damaged ('%s' is not what it was); start anew without "
                       "--resume",
                       journal->folder, name);
}

sterna_status sterna_journal_get_layers(sterna_journal *journal, sterna_item *items, size_t n_items,
                                        float *const states[2], size_t count, sterna_error *err)
{
    sterna_status status = begin(journal, items, n_items, err);
    layer_head last = {0};
    size_t at = sizeof(header);
    if (journal->layers == 0) return status;
    while (!status && at < journal->end) {
        record r;
        memcpy(&r, journal->file->data + at, sizeof r);
        if (r.kind == RECORD_ITEM) status = read_item(journal, at, &r, items, n_items, err);
        if (r.kind == RECORD_LAYER) memcpy(&last, journal->file->data + at + sizeof r, sizeof last);
        at += sizeof r + (size_t)r.size;
    }
    return status ? status : read_states(journal, &last, states, count, err);
}
