/* Pieces of large blocks, in which packed matrices lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"
#include "device/device_cpu.h"

static void pieces_keep_their_bytes(void **state)
{
    (void)state;
    enum { SLOTS = 40, STEPS = 2000 };
    sterna_cpu_block *blocks = NULL;
    uint8_t *held[SLOTS] = {NULL};
    size_t sizes[SLOTS] = {0};
    sterna_rng rng;
    sterna_rng_seed(&rng, 7);
    for (int step = 0; step < STEPS; step++) {
        size_t i = (size_t)(sterna_rng_u64(&rng) % SLOTS);
        for (size_t k = 0; held[i] && k < sizes[i]; k += 61)
            assert_int_equal(held[i][k], (uint8_t)(i + k));
        sterna_cpu_piece_free(held[i]);
        sizes[i] = (size_t)(sterna_rng_u64(&rng) % (step % 10 ? 5000 : 400000));
        held[i] = sterna_cpu_piece(&blocks, sizes[i], 1);
        assert_non_null(held[i]);
        assert_int_equal((uintptr_t)held[i] % 64, 0);
        for (size_t k = 0; k < sizes[i]; k++) held[i][k] = (uint8_t)(i + k);
    }
    for (size_t i = 0; i < SLOTS; i++) sterna_cpu_piece_free(held[i]);
    assert_null(blocks);
}

static void freed_ends_are_handed_out_again(void **state)
{
    (void)state;
    sterna_cpu_block *blocks = NULL;
    void *first = sterna_cpu_piece(&blocks, 1000, 1);
    void *second = sterna_cpu_piece(&blocks, 2000, 1), *third = sterna_cpu_piece(&blocks, 10, 4);
    assert_true(first && second && third);
    sterna_cpu_piece_free(second); /* in the middle: waits for the third */
    sterna_cpu_piece_free(third);
    assert_ptr_equal(sterna_cpu_piece(&blocks, 1, 1), second);
    sterna_cpu_piece_free(second);
    sterna_cpu_piece_free(first);
    assert_null(blocks);
    sterna_cpu_piece_free(NULL);
}

static void no_memory(void **state)
{
    (void)state;
    sterna_cpu_block *blocks = NULL;
    assert_null(sterna_cpu_piece(&blocks, SIZE_MAX / 2, 4));
    assert_null(sterna_cpu_piece(&blocks, SIZE_MAX - 10, 1));
    for (long n = 0; n < 2; n++) {
        sterna_alloc_fail_after(n);
        assert_null(sterna_cpu_piece(&blocks, 3 << 20, 1));
        sterna_alloc_fail_after(-1);
        assert_null(blocks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_keep_their_bytes),
        cmocka_unit_test(freed_ends_are_handed_out_again),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
