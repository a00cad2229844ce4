#include "quant/machine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "train/product.h"

enum { SIDE = 768, TIMES = 16 }; /* the best of so many: others take their turns in between */

static const double PRODUCT_WORK = 2.0 * SIDE * SIDE * SIDE;

static sterna_status product_rate(const float *a, const float *b, float *c, int threads, bool exact,
                                  double *rate, sterna_error *err)
{
    sterna_multiplier m;
    sterna_packed left = {0}, right = {0};
    const sterna_operand x = {a, SIDE, SIDE, SIDE, false}, y = {b, SIDE, SIDE, SIDE, false};
    uint32_t features = 0;
    double best = INFINITY;
    sterna_status status = sterna_cpu_level("auto", &features, err);
    if (status) return status;
    sterna_multiplier_init(&m, features, threads, exact);
    for (int i = 0; i < TIMES && !status; i++) {
        double start = sterna_now();
        status = sterna_pack(&m, &left, STERNA_LEFT, &x, err);
        if (!status) status = sterna_pack(&m, &right, STERNA_RIGHT, &y, err);
        if (!status) sterna_multiply(&m, &left, &right, false, c, SIDE);
        best = fmin(best, sterna_now() - start);
    }
    *rate = PRODUCT_WORK / best;
    sterna_packed_free(&left);
    sterna_packed_free(&right);
    return status;
}

sterna_status sterna_machine_rates(int threads, sterna_rates *out, sterna_error *err)
{
    float *a = sterna_calloc((size_t)SIDE * SIDE, 3 * sizeof *a);
    if (!a) return sterna_fail_memory(err, "a measurement");
    float *b = a + SIDE * SIDE, *c = b + SIDE * SIDE;
    for (int i = 0; i < 2 * SIDE * SIDE; i++) a[i] = 1.0f / (float)(i % 7 + 1);
    sterna_status status = product_rate(a, b, c, threads, true, &out->exact, err);
    if (!status) status = product_rate(a, b, c, threads, false, &out->fast, err);
    sterna_free(a);
    return status;
}

/* The number behind `key` in a file of the system; `key` "" = the first one. -1: there is none. */
static double system_number(const char *path, const char *key)
{
    char line[256];
    double number = -1;
    FILE *file = fopen(path, "re");
    while (file && number < 0 && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        char *end;
        number = strtod(line + strlen(key), &end);
        if (end == line + strlen(key)) number = -1;
    }
    if (file) fclose(file);
    return number;
}

double sterna_available_memory(void)
{
    double free_kib = system_number("/proc/meminfo", "MemAvailable:");
    double available = free_kib < 0 ? INFINITY : 1024 * free_kib;
    double most = system_number("/sys/fs/cgroup/memory.max", "");
    double used = system_number("/sys/fs/cgroup/memory.current", "");
    double cached = system_number("/sys/fs/cgroup/memory.stat", "file ");
    if (most > 0 && used >= 0) available = fmin(available, most - used + fmax(0, cached));
    struct rlimit limit;
    double pages = system_number("/proc/self/statm", ""); /* of the address space */
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        available = fmin(available, (double)limit.rlim_cur - 4096 * fmax(0, pages));
    return fmax(0, available);
}
