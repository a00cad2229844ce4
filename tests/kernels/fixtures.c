/* What the checks share: random numbers, guarded memory, fills, comparisons. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/half.h"
#include "checks.h"

sterna_rng rng;
int failures;
const char *current;

uint64_t below(uint64_t n)
{
    return sterna_rng_u64(&rng) % n;
}

float uniform(void)
{
    return (float)(2 * sterna_rng_double(&rng) - 1);
}

/* ---- guarded memory: pages around it fault ---- */

enum { PAGE = 4096, GUARDED = 32 };
static struct {
    void *map;
    size_t bytes;
} guarded_maps[GUARDED];
static int guarded_count;

void *guarded(size_t bytes, size_t align)
{
    size_t rounded = (bytes + align - 1) / align * align;
    size_t room = (rounded + PAGE - 1) / PAGE * PAGE;
    room = room ? room : PAGE;
    uint8_t *map = mmap(NULL, room + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || guarded_count == GUARDED ||
        mprotect(map + PAGE, room, PROT_READ | PROT_WRITE) != 0) {
        perror("checkkernels: mmap");
        exit(1);
    }
    guarded_maps[guarded_count].map = map;
    guarded_maps[guarded_count++].bytes = room + 2 * PAGE;
    return below(4) ? map + PAGE + room - rounded : map + PAGE;
}

void release_guarded(void)
{
    while (guarded_count) {
        guarded_count--;
        munmap(guarded_maps[guarded_count].map, guarded_maps[guarded_count].bytes);
    }
}

/* ---- fills ---- */

/* Floats as models have them, or at the edges. */
void fill_floats(float *x, size_t n, unsigned style)
{
    static const float edges[] = {0,      -0.0f,  1,   -1,    0.5f, 1e-30f,
                                  -1e30f, 1e-42f, 127, 63.5f, 300,  -90};
    for (size_t i = 0; i < n; i++) {
        x[i] = uniform();
        if (style == 1) x[i] = 0;
        if (style == 2) x[i] = edges[below(12)];
        if (style == 3) x[i] = i % 2 ? 1.0f : -1.0f;
        if (style == 4) x[i] = ldexpf(x[i], (int)below(30) - 15);
    }
}

void fill_bytes(uint8_t *x, size_t n, unsigned style)
{
    static const uint8_t constant[] = {0, 0x00, 0xff, 0xaa, 0x80};
    for (size_t i = 0; i < n; i++)
        x[i] = style && style < 5 ? constant[style] : (uint8_t)sterna_rng_u64(&rng);
}

/* Float16 scales: finite, both signs, all sizes. */
void fill_halves(uint16_t *x, size_t n, unsigned style)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = sterna_f32_to_f16(uniform());
        if (style == 2) x[i] = (uint16_t)(sterna_rng_u64(&rng) & 0xbfff); /* below 2, subnormals */
        if (style == 3) x[i] = 0x7bff;
    }
}

void fill_activations(int8_t *x, size_t n, unsigned style)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = (int8_t)((int)below(255) - 127);
        if (style == 1) x[i] = 127;
        if (style == 2) x[i] = -127;
        if (style == 3) x[i] = i % 2 ? 127 : -127;
    }
}

float *vector(size_t n, bool special)
{
    float *x = guarded(n * 4, 4);
    fill_floats(x, n, (unsigned)below(5));
    if (special && n && below(3) == 0) x[below(n)] = below(2) ? NAN : -INFINITY;
    return x;
}

/* ---- comparing ---- */

bool same_floats(const float *got, const float *want, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&got[i], &want[i], 4) == 0 || (isnan(got[i]) && isnan(want[i]))) continue;
        printf("%s: %s: value %zu of %zu is %.9g, want %.9g\n", current, what, i, n, (double)got[i],
               (double)want[i]);
        failures++;
        return false;
    }
    return true;
}

bool same_bytes(const void *got, const void *want, size_t n, const char *what)
{
    const uint8_t *a = got, *b = want;
    for (size_t i = 0; i < n; i++) {
        if (a[i] == b[i]) continue;
        printf("%s: %s: byte %zu of %zu is %d, want %d\n", current, what, i, n, a[i], b[i]);
        failures++;
        return false;
    }
    return true;
}
