/* What this machine gives: memory read bandwidth and int8 multiply-adds of the device's threads.
 * Speeds of models are read against them. */
#include <omp.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "device/device_cpu.h"

enum {
    READ_BYTES = 1 << 29, /* far beyond the last-level cache */
    REPEATS = 10,         /* the best counts: a neighbour can only take */
    PEAK_ROUNDS = 2000000,
};

double sterna_cpu_read_speed(sterna_device *device)
{
    const sterna_cpu *cpu = sterna_cpu_of(device);
    size_t share = (size_t)READ_BYTES / (size_t)cpu->threads / 4096 * 4096;
    uint8_t *data = sterna_alloc((size_t)cpu->threads, share);
    if (!data) return 0;
    uint64_t hash = 0;
    double best = 0;
    for (int r = -1; r < REPEATS; r++) { /* the first pass makes the pages */
        double start = sterna_now();
#pragma omp parallel num_threads(cpu->threads) reduction(^ : hash)
        {
            uint8_t *mine = data + (size_t)omp_get_thread_num() * share;
            if (r < 0)
                memset(mine, omp_get_thread_num() + 1, share);
            else
                hash ^= cpu->kernels.read(mine, share);
        }
        double rate = (double)share * cpu->threads / (sterna_now() - start);
        if (r >= 0 && rate > best) best = rate;
    }
    sterna_free(data);
    return hash == 1 ? 0 : best; /* the hash must be used, or nothing would be read */
}

double sterna_cpu_int8_peak(sterna_device *device)
{
    const sterna_cpu *cpu = sterna_cpu_of(device);
    double best = 0;
    for (int r = 0; r < REPEATS; r++) {
        uint64_t operations = 0;
        double start = sterna_now();
#pragma omp parallel num_threads(cpu->threads) reduction(+ : operations)
        operations += cpu->kernels.peak(PEAK_ROUNDS);
        double rate = (double)operations / (sterna_now() - start);
        if (rate > best) best = rate;
    }
    return best;
}
