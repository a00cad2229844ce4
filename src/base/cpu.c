#include "base/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

static uint32_t features;
static pthread_once_t features_once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)

static uint64_t xgetbv(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool amx_permitted(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static void detect(void)
{
    uint32_t a, b, c, d, b7 = 0, c7 = 0, d7 = 0, a71 = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    bool osxsave = c >> 27 & 1, avx = c >> 28 & 1, fma = c >> 12 & 1, f16c = c >> 29 & 1;
    if (!osxsave || !avx) return;
    uint64_t enabled = xgetbv();
    bool ymm = (enabled & 0x6) == 0x6, zmm = (enabled & 0xe6) == 0xe6,
         tiles = (enabled & 0x60000) == 0x60000;
    __get_cpuid_count(7, 0, &a, &b7, &c7, &d7);
    __get_cpuid_count(7, 1, &a71, &b, &c, &d);
    if (ymm && fma && f16c && b7 >> 5 & 1) features |= STERNA_CPU_AVX2;
    if (features && a71 >> 4 & 1) features |= STERNA_CPU_AVXVNNI;
    bool f512 = b7 >> 16 & 1, dq = b7 >> 17 & 1, bw = b7 >> 30 & 1, vl = b7 >> 31 & 1;
    if (features && zmm && f512 && dq && bw && vl) {
        features |= STERNA_CPU_AVX512;
        if (c7 >> 11 & 1) features |= STERNA_CPU_AVX512VNNI;
        if (c7 >> 11 & 1 && c7 >> 1 & 1) features |= STERNA_CPU_AVX512VBMI;
        if (c7 >> 11 & 1 && a71 >> 5 & 1) features |= STERNA_CPU_AVX512BF16;
    }
    if (features & STERNA_CPU_AVX512VBMI && tiles && d7 >> 24 & 1 && d7 >> 25 & 1 &&
        amx_permitted())
        features |= STERNA_CPU_AMX;
}

#elif defined(__aarch64__)

static void detect(void)
{
    enum { ASIMDDP = 1 << 20, I8MM2 = 1 << 13 };
    features = STERNA_CPU_NEON;
    if (getauxval(AT_HWCAP) & ASIMDDP) features |= STERNA_CPU_DOTPROD;
    if (features & STERNA_CPU_DOTPROD && getauxval(AT_HWCAP2) & I8MM2) features |= STERNA_CPU_I8MM;
}

#else

static void detect(void) {}

#endif

uint32_t sterna_cpu_features(void)
{
    pthread_once(&features_once, detect);
    return features;
}

/* A level's own features and all below it. */
static const struct level {
    const char *name;
    uint32_t own, mask;
} levels[] = {
    {"ref", 0, 0},
    {"avx2", STERNA_CPU_AVX2, STERNA_CPU_AVX2},
    {"avxvnni", STERNA_CPU_AVXVNNI, STERNA_CPU_AVX2 | STERNA_CPU_AVXVNNI},
    {"avx512", STERNA_CPU_AVX512, STERNA_CPU_AVX2 | STERNA_CPU_AVX512},
    {"avx512vnni", STERNA_CPU_AVX512VNNI,
     STERNA_CPU_AVX2 | STERNA_CPU_AVXVNNI | STERNA_CPU_AVX512 | STERNA_CPU_AVX512VNNI |
         STERNA_CPU_AVX512BF16 | STERNA_CPU_AVX512VBMI},
    {"amx", STERNA_CPU_AMX,
     STERNA_CPU_AVX2 | STERNA_CPU_AVXVNNI | STERNA_CPU_AVX512 | STERNA_CPU_AVX512VNNI |
         STERNA_CPU_AVX512BF16 | STERNA_CPU_AVX512VBMI | STERNA_CPU_AMX},
    {"neon", STERNA_CPU_NEON, STERNA_CPU_NEON},
    {"dotprod", STERNA_CPU_DOTPROD, STERNA_CPU_NEON | STERNA_CPU_DOTPROD},
    {"i8mm", STERNA_CPU_I8MM, STERNA_CPU_NEON | STERNA_CPU_DOTPROD | STERNA_CPU_I8MM},
};
enum { LEVELS = sizeof levels / sizeof *levels };

sterna_status sterna_cpu_level(const char *name, uint32_t *out, sterna_error *err)
{
    uint32_t here = sterna_cpu_features();
    if (!name || strcmp(name, "auto") == 0) {
        *out = here;
        return STERNA_OK;
    }
    for (int i = 0; i < LEVELS; i++) {
        if (strcmp(name, levels[i].name) != 0) continue;
        if ((here & levels[i].own) != levels[i].own)
            return sterna_fail(
                err, STERNA_ERROR_UNSUPPORTED,
                "cpu level '%s': this processor offers '%s' at most; choose that or a lower one",
                name, sterna_cpu_level_name(here));
        *out = here & levels[i].mask;
        return STERNA_OK;
    }
    return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                       "cpu level '%s' is unknown; choose auto, ref, avx2, avxvnni, avx512, "
                       "avx512vnni, amx, neon, dotprod "
                       "or i8mm",
                       name);
}

const char *sterna_cpu_level_name(uint32_t mask)
{
    const char *name = levels[0].name;
    for (int i = 1; i < LEVELS; i++)
        if ((mask & levels[i].own) == levels[i].own) name = levels[i].name;
    return name;
}

void sterna_cpu_model(char *name, size_t size)
{
    snprintf(name, size, "unknown");
    FILE *info = fopen("/proc/cpuinfo", "re");
    char line[256];
    while (info && fgets(line, sizeof line, info)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        colon[strcspn(colon, "\n")] = 0;
        snprintf(name, size, "%s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    if (info) fclose(info);
}

/* CPUs that a cgroup quota allows, rounded up; 0 when there is none. */
static int quota_count(void)
{
    long long quota = -1, period = 0;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (file) { /* v2: "max 100000" or "150000 100000" */
        if (fscanf(file, "%lld %lld", &quota, &period) != 2) quota = -1;
        fclose(file);
    } else if ((file = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "re"))) {
        if (fscanf(file, "%lld", &quota) != 1) quota = -1;
        fclose(file);
        FILE *other = quota > 0 ? fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "re") : NULL;
        if (other) {
            if (fscanf(other, "%lld", &period) != 1) quota = -1;
            fclose(other);
        }
    }
    return quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

int sterna_cpu_count(void)
{
    cpu_set_t set;
    int count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
    int quota = quota_count();
    if (quota > 0 && quota < count) count = quota;
    return count > 0 ? count : 1;
}

void sterna_cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}
