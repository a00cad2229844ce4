/* The AMX kernels over a model of the tile instructions in plain C: eight tiles of 16 rows of 64
 * bytes. checkkernels runs them as "<slot>_amxmodel" on machines with AVX-512 VBMI, so that their
 * layout and arithmetic are tested where there is no AMX. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static int8_t tiles[8][16][64];
static int configured;

static void model_configure(const void *config)
{
    const uint8_t *bytes = config;
    configured = bytes[0] == 1;
    for (int i = 0; i < 8; i++)
        if (bytes[16 + 2 * i] != 64 || bytes[48 + i] != 16) configured = 0;
}

/* Without a configuration the instructions fault: here they spoil the result. */
static void model_load(int tile, const void *from, size_t stride)
{
    for (size_t row = 0; row < 16; row++)
        memcpy(tiles[tile][row], (const int8_t *)from + row * stride, configured ? 64 : 1);
}

static void model_store(int tile, void *to, size_t stride)
{
    for (size_t row = 0; row < 16; row++)
        memcpy((int8_t *)to + row * stride, tiles[tile][row], configured ? 64 : 1);
}

static void model_product(int c, int a, int b)
{
    for (size_t m = 0; m < 16; m++)
        for (size_t n = 0; n < 16; n++) {
            int32_t sum;
            memcpy(&sum, &tiles[c][m][4 * n], 4);
            for (size_t k = 0; k < 64; k++) sum += tiles[a][m][k] * tiles[b][k / 4][4 * n + k % 4];
            memcpy(&tiles[c][m][4 * n], &sum, 4);
        }
}

#define STERNA_AMX_MODEL
#define STERNA_AMX(name)           sterna_##name##_amxmodel
#define TILE_ZERO(t)               memset(tiles[t], 0, sizeof tiles[t])
#define TILE_LOAD(t, from, stride) model_load(t, from, stride)
#define TILE_STORE(t, to, stride)  model_store(t, to, stride)
#define TILE_PRODUCT(c, a, b)      model_product(c, a, b)
#define TILE_CONFIGURE(config)     model_configure(config)
#define TILE_RELEASE()             (configured = 0)

#include "kernels/kernels.h"

sterna_slot_matmul_tern2 sterna_matmul_tern2_amxmodel;
sterna_slot_matmul_tern5 sterna_matmul_tern5_amxmodel;
sterna_slot_matmul_int4 sterna_matmul_int4_amxmodel;
sterna_slot_matmul_int8 sterna_matmul_int8_amxmodel;
sterna_slot_peak sterna_peak_amxmodel;

#include "kernels/x86/matmul_amx.c"
