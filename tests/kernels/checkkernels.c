/* checkkernels: every row of kernels.list against the reference, bit for bit; and its speed.
 *
 *   checkkernels [--cpu LEVEL] [--bench] [SLOT...]
 *
 * Random and adversarial fills, all tails, guard pages before or behind every buffer, canaries in
 * the gaps of outputs. STERNA_SEED (printed) repeats a run. --bench times matmuls and the read and
 * peak kernels in one thread. A slot without a check_<slot> and bench_<slot> does not link.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "checks.h"

int main(int argc, char **argv)
{
    const char *seed = getenv("STERNA_SEED"), *level = "auto", *only[64] = {0};
    bool bench = false;
    int only_count = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0)
            bench = true;
        else if (strcmp(argv[i], "--cpu") == 0 && i + 1 < argc)
            level = argv[++i];
        else if (only_count < 64)
            only[only_count++] = argv[i];
    }
    uint32_t features;
    sterna_error err;
    if (sterna_cpu_level(level, &features, &err)) {
        fprintf(stderr, "checkkernels: %s\n", err.message);
        return 1;
    }
    uint64_t value = seed ? strtoull(seed, NULL, 0) : 1;
    sterna_rng_seed(&rng, value);
    printf("checkkernels: STERNA_SEED=%llu, level %s\n", (unsigned long long)value,
           sterna_cpu_level_name(features));
    if (bench && !bench_begin()) return 1;
    if (!bench) check_math();
    int checked = 0, skipped = 0;
#define STERNA_KERNEL(slot, suffix, needs)                                                         \
    {                                                                                              \
        bool wanted = only_count == 0;                                                             \
        for (int i = 0; i < only_count; i++)                                                       \
            if (strstr(#slot "_" #suffix, only[i])) wanted = true;                                 \
        current = #slot "_" #suffix;                                                               \
        if (!wanted || (features & (uint32_t)(needs)) != (uint32_t)(needs)) {                      \
            skipped++;                                                                             \
        } else {                                                                                   \
            checked++;                                                                             \
            if (bench)                                                                             \
                bench_##slot(sterna_##slot##_##suffix);                                            \
            else                                                                                   \
                check_##slot(sterna_##slot##_##suffix);                                            \
        }                                                                                          \
    }
#include "kernels/kernels.list"
#ifdef STERNA_TEST_AMX_MODEL
    if (!bench) {
        STERNA_KERNEL(matmul_tern2, amxmodel, STERNA_CPU_AVX512VBMI)
        STERNA_KERNEL(matmul_tern5, amxmodel, STERNA_CPU_AVX512VBMI)
        STERNA_KERNEL(matmul_int4, amxmodel, STERNA_CPU_AVX512VBMI)
        STERNA_KERNEL(matmul_int8, amxmodel, STERNA_CPU_AVX512VBMI)
        STERNA_KERNEL(peak, amxmodel, STERNA_CPU_AVX512VBMI)
    }
#endif
#undef STERNA_KERNEL
    printf("checkkernels: %d kernels %s, %d skipped, %d failed\n", checked,
           bench ? "measured" : "equal the reference", skipped, failures);
    return failures != 0;
}
