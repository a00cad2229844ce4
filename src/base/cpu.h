/* What this processor can do, as a mask of instruction-set features that the operating system lets
 * a program use. */
#ifndef STERNA_BASE_CPU_H
#define STERNA_BASE_CPU_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
    STERNA_CPU_AVX2 = 1 << 0,       /* with FMA and F16C */
    STERNA_CPU_AVXVNNI = 1 << 1,    /* 256-bit vpdpbusd, VEX form */
    STERNA_CPU_AVX512 = 1 << 2,     /* F, BW, DQ, VL */
    STERNA_CPU_AVX512VNNI = 1 << 3, /* 512-bit vpdpbusd */
    STERNA_CPU_AMX = 1 << 4,        /* tiles, int8, permission granted; comes with VBMI */
    STERNA_CPU_NEON = 1 << 5,
    STERNA_CPU_DOTPROD = 1 << 6,
    STERNA_CPU_I8MM = 1 << 7,
    STERNA_CPU_AVX512BF16 = 1 << 8, /* 512-bit vdpbf16ps; comes with the level avx512vnni */
    STERNA_CPU_AVX512VBMI = 1 << 9, /* 512-bit byte permutes beside VNNI; same level */
};

/* The features of this machine (measured once). Asks the kernel for permission to use AMX where
 * there is AMX. */
uint32_t sterna_cpu_features(void);

/* The features that a level named by the user allows: "ref" (none), "avx2", "avxvnni", "avx512",
 * "avx512vnni", "amx", "neon", "dotprod", "i8mm", "auto" (all). Every level holds the levels below
 * it of the same architecture. Fails with a sentence when the name is unknown or this machine lacks
 * it. */
sterna_status sterna_cpu_level(const char *name, uint32_t *features, sterna_error *err);

/* The name of the highest level in `features`. */
const char *sterna_cpu_level_name(uint32_t features);

/* The processor's marketing name, "unknown" where the system does not tell. */
void sterna_cpu_model(char *name, size_t size);

/* Processors this process may use: affinity mask and container limit (cgroup v1 and v2) taken into
 * account; at least 1. */
int sterna_cpu_count(void);

/* A hint inside a loop that waits for another thread. */
void sterna_cpu_relax(void);

#endif
