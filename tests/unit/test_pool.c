/* The CPU device's threads: every piece of every job is done once, whatever the sizes, and after
 * pauses in which the workers fall asleep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "base/memory.h"
#include "device/device_cpu.h"

enum { MOST = 2000, JOBS = 200 };

typedef struct job {
    long weight;
    int threads;
    long sums[MOST]; /* one owner per element: a job that ran twice or not at all shows */
} job;

static void add_weight(void *context, size_t begin, size_t end, int thread)
{
    job *work = context;
    if (thread < 0 || thread >= work->threads) return; /* leaves a hole */
    for (size_t i = begin; i < end; i++) work->sums[i] += work->weight;
}

static void every_piece_is_done_once(void **state)
{
    (void)state;
    static job work;
    for (int threads = 1; threads <= 5; threads++) {
        sterna_pool *pool = sterna_pool_new(threads);
        assert_non_null(pool);
        work = (job){.threads = threads};
        for (work.weight = 1; work.weight <= JOBS; work.weight++) {
            sterna_pool_run(pool, (size_t)(work.weight * 37 % MOST), (size_t)(work.weight % 7),
                            add_weight, &work);
            struct timespec pause = {0, 2000000};
            if (work.weight % 50 == 0) nanosleep(&pause, NULL);
        }
        sterna_pool_free(pool);
        for (long i = 0; i < MOST; i++) {
            long want = 0;
            for (long weight = 1; weight <= JOBS; weight++)
                if (i < weight * 37 % MOST) want += weight;
            assert_int_equal(work.sums[i], want);
        }
    }
    sterna_pool_free(NULL);
}

static void failed_allocations_leave_nothing(void **state)
{
    (void)state;
    for (long i = 0; i < 5; i++) { /* the pool, its list, three workers */
        sterna_alloc_fail_after(i);
        sterna_pool *pool = sterna_pool_new(4);
        sterna_alloc_fail_after(-1);
        assert_null(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_piece_is_done_once),
        cmocka_unit_test(failed_allocations_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
