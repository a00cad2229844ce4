/* The table of types: names, GGUF numbers, block sizes; and how many bytes a tensor takes. */
#include "ternary/tensor.h"

#include <string.h>
#include <strings.h>

#include "base/memory.h"

enum { I2S_TAIL = 32, I2S_BLOCK = 128 };

#define PLAIN(name, id, kind, bytes, writable)                                                     \
    {                                                                                              \
        name, id, STERNA_KIND_##kind, 1, bytes, 0, writable                                        \
    }
#define BLOCK(name, id, block, bytes, writable)                                                    \
    {                                                                                              \
        name, id, STERNA_KIND_BLOCK, block, bytes, 0, writable                                     \
    }
#define TRITS(name, id, block, bytes, writable)                                                    \
    {                                                                                              \
        name, id, STERNA_KIND_TERNARY, block, bytes, block, writable                               \
    }

static const sterna_type_info types[STERNA_TYPES] = {
    [STERNA_TYPE_F32] = PLAIN("F32", 0, FLOAT, 4, true),
    [STERNA_TYPE_F16] = PLAIN("F16", 1, FLOAT, 2, true),
    [STERNA_TYPE_BF16] = PLAIN("BF16", 30, FLOAT, 2, true),
    [STERNA_TYPE_F64] = PLAIN("F64", 28, FLOAT, 8, false),
    [STERNA_TYPE_I8] = PLAIN("I8", 24, INTEGER, 1, false),
    [STERNA_TYPE_I16] = PLAIN("I16", 25, INTEGER, 2, false),
    [STERNA_TYPE_I32] = PLAIN("I32", 26, INTEGER, 4, false),
    [STERNA_TYPE_I64] = PLAIN("I64", 27, INTEGER, 8, false),
    [STERNA_TYPE_U8] = PLAIN("U8", -1, INTEGER, 1, false),
    [STERNA_TYPE_Q8_0] = BLOCK("Q8_0", 8, 32, 34, true),
    [STERNA_TYPE_Q4_0] = BLOCK("Q4_0", 2, 32, 18, false),
    [STERNA_TYPE_Q4_1] = BLOCK("Q4_1", 3, 32, 20, false),
    [STERNA_TYPE_Q5_0] = BLOCK("Q5_0", 6, 32, 22, false),
    [STERNA_TYPE_Q5_1] = BLOCK("Q5_1", 7, 32, 24, false),
    [STERNA_TYPE_Q2_K] = BLOCK("Q2_K", 10, 256, 84, false),
    [STERNA_TYPE_Q3_K] = BLOCK("Q3_K", 11, 256, 110, false),
    [STERNA_TYPE_Q4_K] = BLOCK("Q4_K", 12, 256, 144, false),
    [STERNA_TYPE_Q5_K] = BLOCK("Q5_K", 13, 256, 176, false),
    [STERNA_TYPE_Q6_K] = BLOCK("Q6_K", 14, 256, 210, false),
    [STERNA_TYPE_Q1_0] = TRITS("Q1_0", 41, 128, 18, false),
    [STERNA_TYPE_TQ1_0] = TRITS("TQ1_0", 34, 256, 54, true),
    [STERNA_TYPE_TQ2_0] = TRITS("TQ2_0", 35, 256, 66, true),
    [STERNA_TYPE_Q2_0] = TRITS("Q2_0", 42, 64, 18, true),
    [STERNA_TYPE_Q2_0_G128] = TRITS("Q2_0_G128", 42, 128, 34, false),
    [STERNA_TYPE_PQ2_0] = TRITS("PQ2_0", 142, 128, 34, true),
    [STERNA_TYPE_PTQ1_0] = TRITS("PTQ1_0", 143, 128, 28, true),
    [STERNA_TYPE_I2_S] = {"I2_S", 36, STERNA_KIND_TERNARY, 0, 0, 0, false},
    [STERNA_TYPE_BITNET] = {"BITNET", -1, STERNA_KIND_TERNARY, 0, 0, 0, false},
    [STERNA_TYPE_NATIVE] = {"NATIVE", -1, STERNA_KIND_TERNARY, 0, 0, 0, false},
};

const sterna_type_info *sterna_type_describe(sterna_type type)
{
    return (unsigned)type < STERNA_TYPES ? &types[type] : NULL;
}

bool sterna_type_from_gguf(uint32_t id, sterna_type *type)
{
    for (int i = 0; i < STERNA_TYPES; i++)
        if (types[i].gguf_id >= 0 && (uint32_t)types[i].gguf_id == id) {
            *type = (sterna_type)i;
            return true;
        }
    return false;
}

bool sterna_type_from_name(const char *name, sterna_type *type)
{
    for (int i = 0; i < STERNA_TYPES; i++)
        if (strcasecmp(types[i].name, name) == 0) {
            *type = (sterna_type)i;
            return true;
        }
    return false;
}

bool sterna_type_bytes(sterna_type type, uint64_t cols, uint64_t rows, uint64_t *bytes)
{
    const sterna_type_info *info = sterna_type_describe(type);
    uint64_t count, size;
    if (!info || !sterna_mul_u64(cols, rows, &count)) return false;
    if (type == STERNA_TYPE_I2_S) {
        if (cols % I2S_BLOCK != 0) return false;
        *bytes = count / 4 + I2S_TAIL; /* count / 4 cannot come near the top */
        return true;
    }
    if (type == STERNA_TYPE_BITNET) {
        if (rows % 4 != 0) return false;
        *bytes = count / 4;
        return true;
    }
    if (info->block == 0 || cols % info->block != 0) return false; /* 0: no size without parts */
    if (!sterna_mul_u64(count / info->block, info->block_bytes, &size)) return false;
    *bytes = size;
    return true;
}

static const char *const i2s_orders[] = {"x86", "x86-rows4", "arm"};

sterna_status sterna_i2s_order_from_name(const char *name, sterna_i2s_order *order,
                                         sterna_error *err)
{
    for (int i = 0; i < 3; i++) {
        if (name && strcmp(name, i2s_orders[i]) != 0) continue;
        *order = (sterna_i2s_order)i;
        return STERNA_OK;
    }
    return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                       "I2_S byte order '%s' is unknown; choose x86, x86-rows4 or arm", name);
}

const char *sterna_i2s_order_name(sterna_i2s_order order)
{
    return i2s_orders[order];
}
