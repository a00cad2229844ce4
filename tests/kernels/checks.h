/* Inside of checkkernels: what its files share. Every slot of kernels.h has a check_<slot>, which
 * holds one implementation against the reference, and a bench_<slot>, which times it. */
#ifndef STERNA_TESTS_KERNELS_CHECKS_H
#define STERNA_TESTS_KERNELS_CHECKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "kernels/kernels.h"

#define STERNA_SLOT(slot, type)                                                                    \
    void check_##slot(type *kernel);                                                               \
    void bench_##slot(type *kernel);
STERNA_SLOTS(STERNA_SLOT)
#undef STERNA_SLOT

#ifdef STERNA_TEST_AMX_MODEL /* amx_model.c */
sterna_slot_matmul_tern2 sterna_matmul_tern2_amxmodel;
sterna_slot_matmul_tern5 sterna_matmul_tern5_amxmodel;
sterna_slot_matmul_int4 sterna_matmul_int4_amxmodel;
sterna_slot_matmul_int8 sterna_matmul_int8_amxmodel;
sterna_slot_peak sterna_peak_amxmodel;
#endif

/* check_vectors.c: exp and tanh of the reference against libm. */
void check_math(void);

/* bench.c: its memory, to be called once before any bench_<slot>. */
bool bench_begin(void);

/* ---- fixtures.c ---- */

extern sterna_rng rng;
extern int failures;
extern const char *current; /* the implementation at work, "<slot>_<suffix>" */

uint64_t below(uint64_t n);
float uniform(void); /* -1 .. 1 */

/* Bytes that end (or, now and then, begin) at a page that may not be touched. `align` divides the
 * address; bytes are rounded up to it. All are freed by release_guarded. */
void *guarded(size_t bytes, size_t align);
void release_guarded(void);

/* Fills by `style`: 0 is random, the others are edges. Floats as models have them; bytes; finite
 * float16 scales of both signs and all sizes; int8 activations. */
void fill_floats(float *x, size_t n, unsigned style);
void fill_bytes(uint8_t *x, size_t n, unsigned style);
void fill_halves(uint16_t *x, size_t n, unsigned style);
void fill_activations(int8_t *x, size_t n, unsigned style);

/* n guarded floats: filled, sometimes with NaN and infinity. */
float *vector(size_t n, bool special);

/* Whether the values are the same (any NaN equals any); else prints the first that is not and
 * counts a failure. */
bool same_floats(const float *got, const float *want, size_t n, const char *what);
bool same_bytes(const void *got, const void *want, size_t n, const char *what);

#endif
