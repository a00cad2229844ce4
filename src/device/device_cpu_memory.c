/* How fast this machine reads memory with the device's threads: the limit that decoding is measured
 * against. */
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "device/device_cpu.h"

enum { BUFFER_BYTES = 1 << 29, PASSES = 4, LANES = 32 };

/* Sums `count` words (a multiple of LANES) so that every one is read. */
static uint64_t read_words(const uint64_t *words, size_t count)
{
    uint64_t sums[LANES] = {0}, sum = 0;
    for (size_t i = 0; i < count; i += LANES)
        for (size_t k = 0; k < LANES; k++) sums[k] += words[i + k];
    for (size_t k = 0; k < LANES; k++) sum += sums[k];
    return sum;
}

double sterna_cpu_read_speed(sterna_device *device)
{
    int n_threads = sterna_cpu_of(device)->threads;
    uint8_t *buffer = sterna_alloc(BUFFER_BYTES, 1);
    if (!buffer) return 0;
    size_t threads = (size_t)n_threads, share = BUFFER_BYTES / threads / 4096 * 4096;
    if (share == 0) {
        sterna_free(buffer);
        return 0;
    }
    uint64_t sum = 0;
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (size_t t = 0; t < threads; t++) memset(buffer + t * share, (int)t, share);
    double best = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        double start = sterna_now();
#pragma omp parallel for num_threads(n_threads) schedule(static) reduction(+ : sum)
        for (size_t t = 0; t < threads; t++)
            sum += read_words((const uint64_t *)(const void *)(buffer + t * share), share / 8);
        double speed = (double)(share * threads) / (sterna_now() - start);
        if (speed > best) best = speed;
    }
    sterna_free(buffer);
    return sum == 1 ? 0 : best; /* the sum must be used, or nothing would be read */
}
