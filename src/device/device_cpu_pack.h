/* Packing matrices of the CPU device: what its files know of a matrix on its way from a tensor to
 * panels. Only device_cpu*.c includes it. */
#ifndef STERNA_DEVICE_DEVICE_CPU_PACK_H
#define STERNA_DEVICE_DEVICE_CPU_PACK_H

#include "device/device_cpu.h"

/* A line holds line_cols columns of 16 rows (kernels.h); K layouts: a record; tern5: the lines it
 * is packed from and ends with. */
typedef struct sterna_cpu_line {
    const char *name;
    size_t line_cols, line_bytes;
} sterna_cpu_line;
extern const sterna_cpu_line sterna_cpu_lines[];

static inline bool sterna_cpu_is_float(sterna_cpu_layout layout)
{
    return layout >= STERNA_LAYOUT_F32;
}

/* The whole load. */
typedef struct sterna_cpu_load {
    const sterna_tensor *tensor;
    const sterna_weight_options *options;
    const sterna_kernels *kernels;
    sterna_weight *weight;
    float row_scale;
    bool has_min, trits; /* trits: every row so far held only trits */
    bool affine;
    bool threes;   /* the tensor was found to hold Q2_0's code 3, which tern5 has no room for */
    bool outliers; /* the weight holds the tensor's outlier columns, and nothing else */
} sterna_cpu_load;

/* device_cpu_pack.c: the rows of the tensor into the panels of the weight, which are allocated, on
 * all threads. Fails on the first row that holds what no weight can be. *threes: the layout is
 * tern5 and a code 3 was met, so that the panels are of no use. */
sterna_status sterna_cpu_pack(sterna_cpu *cpu, const sterna_cpu_load *job, bool *threes,
                              sterna_error *err);

/* device_cpu_tern5.c: lines of tern2 to a panel of tern5. False when a code is 3. */
bool sterna_cpu_pack_tern5(tern5_map map, size_t cols, const uint8_t *lines, uint8_t *out);

#endif
