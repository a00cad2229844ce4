/* What stands in the file that was written, read back from it. */
#include <omp.h>
#include <string.h>

#include "base/memory.h"
#include "formats/fingerprint.h"
#include "quant/receipt.h"

typedef struct codes {
    uint64_t minus, zero, plus;
} codes;

typedef struct byte_sums {
    uint64_t codes, scales, kept; /* scales: with shifts and outlier columns */
} byte_sums;

static bool is_ternary(const sterna_tensor *tensor)
{
    return sterna_type_describe(tensor->type)->kind == STERNA_KIND_TERNARY;
}

/* How often each trit occurs. */
static sterna_status count_codes(const sterna_tensor *tensor, int threads, codes *out,
                                 sterna_error *err)
{
    size_t cols = (size_t)tensor->dims[0], room;
    size_t groups = (cols - 1) / (size_t)sterna_tensor_group(tensor) + 1;
    uint64_t rows = sterna_tensor_rows(tensor), minus = 0, plus = 0;
    if (!sterna_mul_size((size_t)threads, cols, &room)) return sterna_fail_memory(err, "codes");
    int8_t *trits = sterna_alloc(room, 1);
    float *scales = sterna_alloc((size_t)threads * groups, sizeof *scales);
    sterna_status status = trits && scales ? STERNA_OK : sterna_fail_memory(err, "codes");
    if (!status) {
#pragma omp parallel for reduction(+ : minus, plus) num_threads(threads)
        for (uint64_t r = 0; r < rows; r++) {
            int8_t *row = trits + (size_t)omp_get_thread_num() * cols;
            sterna_tensor_row_trits(tensor, r, row, scales + (size_t)omp_get_thread_num() * groups);
            uint64_t less = 0, more = 0;
            for (size_t i = 0; i < cols; i++) {
                less += row[i] < 0;
                more += row[i] > 0;
            }
            minus += less;
            plus += more;
        }
        *out = (codes){minus, rows * cols - minus - plus, plus};
    }
    sterna_free(trits);
    sterna_free(scales);
    return status;
}

static void add_bytes(const sterna_tensor *tensor, byte_sums *sums)
{
    const sterna_type_info *info = sterna_type_describe(tensor->type);
    if (!is_ternary(tensor)) {
        sums->kept += tensor->bytes;
        return;
    }
    uint64_t weights = tensor->dims[0] * sterna_tensor_rows(tensor), left = tensor->bytes;
    for (int kind = 0; tensor->native && kind < STERNA_PARTS; kind++) {
        sterna_tensor part;
        if (!sterna_native_part(tensor, (sterna_part_kind)kind, &part)) continue;
        bool is_code = kind == STERNA_PART_CODES || kind == STERNA_PART_CODES2;
        *(is_code ? &sums->codes : &sums->scales) += part.bytes;
        left -= part.bytes;
    }
    uint64_t scales = tensor->type == STERNA_TYPE_NATIVE ? 0
                      : info->group                      ? weights / info->group * sizeof(uint16_t)
                                                         : sizeof(float);
    sums->scales += scales;
    sums->codes += left - scales;
}

static json_t *find_entry(const json_t *tensors, const char *name)
{
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)tensors, i, entry)
    {
        const char *own = json_string_value(json_object_get(entry, "name"));
        if (own && strcmp(own, name) == 0) return entry;
    }
    return NULL;
}

static int add_codes(json_t *entry, const codes *count)
{
    double all = (double)(count->minus + count->zero + count->plus);
    if (all <= 0) return 0;
    return json_object_set_new(entry, "minus", json_real((double)count->minus / all)) |
           json_object_set_new(entry, "zeros", json_real((double)count->zero / all)) |
           json_object_set_new(entry, "plus", json_real((double)count->plus / all));
}

static sterna_status measure_tensors(json_t *receipt, const sterna_model_file *file, int threads,
                                     byte_sums *sums, sterna_error *err)
{
    const json_t *tensors = json_object_get(receipt, "tensors");
    codes all = {0};
    for (size_t i = 0; i < file->n_tensors; i++) {
        const sterna_tensor *tensor = &file->tensors[i];
        add_bytes(tensor, sums);
        if (!is_ternary(tensor) || tensor->dims[0] == 0) continue;
        codes count = {0};
        sterna_status status = count_codes(tensor, threads, &count, err);
        if (status) return status;
        json_t *entry = find_entry(tensors, tensor->name);
        if (entry && add_codes(entry, &count)) return sterna_fail_memory(err, "the receipt");
        all.minus += count.minus;
        all.zero += count.zero;
        all.plus += count.plus;
        sterna_model_file_release(file, tensor);
    }
    return add_codes(receipt, &all) ? sterna_fail_memory(err, "the receipt") : STERNA_OK;
}

sterna_status sterna_receipt_measure(json_t *receipt, const char *out, int threads,
                                     sterna_error *err)
{
    sterna_model_file *file = NULL;
    char text[STERNA_DIGEST_TEXT];
    byte_sums sums = {0};
    sterna_status status = sterna_fingerprint(out, text, err);
    if (!status) status = sterna_model_file_open(out, NULL, &file, err);
    if (status) return status;
    status = measure_tensors(receipt, file, threads, &sums, err);
    uint64_t rest = file->bytes - sums.codes - sums.scales - sums.kept;
    if (!status &&
        (json_object_set_new(receipt, "fingerprint", json_string(text)) |
         json_object_set_new(receipt, "bytes",
                             json_pack("{s:I, s:I, s:I, s:I}", "code_bytes", (json_int_t)sums.codes,
                                       "scale_bytes", (json_int_t)sums.scales, "kept_bytes",
                                       (json_int_t)sums.kept, "metadata_bytes", (json_int_t)rest))))
        status = sterna_fail_memory(err, "the receipt");
    sterna_model_file_close(file);
    return status;
}
