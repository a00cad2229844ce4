/* The threads of the CPU device: workers that take pieces of one job at a time.
 *
 * A token is a few hundred jobs of 10 to 500 microseconds, so waking must be quick; and processors
 * are often shared, so nobody may wait for a worker that is not running. A worker joins an open job
 * when it notices it and leaves when no piece is left; the caller works too, closes the job, and
 * waits only for workers inside. Waiting is spinning for some tens of microseconds, then sleeping.
 * (OpenMP's barrier waits for every thread of the team and spins for milliseconds: with busy
 * neighbours a token took four to eight times as long.)
 */
#include <pthread.h>
#include <stdatomic.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "device/device_cpu.h"

enum {
    SPINS = 2000,
    CACHE_LINE = 64,
};
#define OPEN 0x40000000u /* bit of `gate`; the rest counts the workers inside */

/* What is left of a thread's share of a job. */
typedef struct share {
    _Alignas(CACHE_LINE) atomic_size_t next;
    size_t end;
} share;

struct sterna_pool {
    int threads; /* with the caller */
    int started;
    pthread_t *workers; /* [threads - 1] */

    /* the job; written while the gate is closed and nobody is inside */
    sterna_pool_task *task;
    void *context;
    size_t grain;
    share *shares; /* [threads] */
    atomic_uint gate;
    atomic_uint generation; /* jobs so far: what idle workers watch */

    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    atomic_uint sleepers, caller_sleeps, stop;
};

typedef struct worker_start {
    sterna_pool *pool;
    int index;
} worker_start;

/* The thread's own share, piece after piece, so that it reads one stream of memory; then what is
 * left of the others'. */
static void take_pieces(sterna_pool *pool, int thread)
{
    for (int i = 0; i < pool->threads; i++) {
        share *from = &pool->shares[(thread + i) % pool->threads];
        for (;;) {
            size_t begin =
                atomic_fetch_add_explicit(&from->next, pool->grain, memory_order_relaxed);
            if (begin >= from->end) break;
            size_t left = from->end - begin;
            pool->task(pool->context, begin, begin + (left < pool->grain ? left : pool->grain),
                       thread);
        }
    }
}

/* A share for each thread, of whole pieces. */
static void deal(sterna_pool *pool, size_t count)
{
    size_t pieces = (count + pool->grain - 1) / pool->grain, threads = (size_t)pool->threads;
    for (size_t i = 0; i < threads; i++) {
        size_t end = pieces * (i + 1) / threads * pool->grain;
        atomic_store_explicit(&pool->shares[i].next, pieces * i / threads * pool->grain,
                              memory_order_relaxed);
        pool->shares[i].end = end < count ? end : count;
    }
}

static void join_job(sterna_pool *pool, int thread)
{
    unsigned gate = atomic_load(&pool->gate);
    do {
        if (!(gate & OPEN)) return;
    } while (!atomic_compare_exchange_weak(&pool->gate, &gate, gate + 1));
    take_pieces(pool, thread);
    if (atomic_fetch_sub(&pool->gate, 1) == 1 && atomic_load(&pool->caller_sleeps)) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_signal(&pool->done);
        pthread_mutex_unlock(&pool->lock);
    }
}

/* Until the generation is no longer `seen`; returns the new one. */
static unsigned await_job(sterna_pool *pool, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        unsigned now = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (now != seen) return now;
        sterna_cpu_relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->generation) == seen) pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
    return atomic_load(&pool->generation);
}

static void *work(void *argument)
{
    worker_start *start = argument;
    sterna_pool *pool = start->pool;
    int thread = start->index;
    sterna_free(start);
    unsigned seen = 0;
    while (!atomic_load(&pool->stop)) {
        join_job(pool, thread);
        seen = await_job(pool, seen);
    }
    return NULL;
}

/* A new generation, for workers that spin and workers that sleep. */
static void announce(sterna_pool *pool)
{
    atomic_fetch_add(&pool->generation, 1);
    if (!atomic_load(&pool->sleepers)) return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

void sterna_pool_run(sterna_pool *pool, size_t count, size_t grain, sterna_pool_task *task,
                     void *context)
{
    if (grain == 0) grain = 1;
    if (pool->threads == 1 || count <= grain) {
        if (count) task(context, 0, count, 0);
        return;
    }
    pool->task = task;
    pool->context = context;
    pool->grain = grain;
    deal(pool, count);
    atomic_store(&pool->gate, OPEN);
    announce(pool);
    take_pieces(pool, 0);

    atomic_fetch_and(&pool->gate, ~OPEN);
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool->gate, memory_order_acquire) == 0) return;
        sterna_cpu_relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->caller_sleeps, 1);
    while (atomic_load(&pool->gate) != 0) pthread_cond_wait(&pool->done, &pool->lock);
    atomic_store(&pool->caller_sleeps, 0);
    pthread_mutex_unlock(&pool->lock);
}

static bool start_worker(sterna_pool *pool, int index)
{
    worker_start *start = sterna_alloc(1, sizeof *start);
    if (!start) return false;
    *start = (worker_start){pool, index};
    if (pthread_create(&pool->workers[index - 1], NULL, work, start) != 0) {
        sterna_free(start);
        return false;
    }
    return true;
}

sterna_pool *sterna_pool_new(int threads)
{
    sterna_pool *pool = sterna_calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->threads = threads;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->workers = sterna_calloc((size_t)threads, sizeof *pool->workers);
    pool->shares = sterna_calloc((size_t)threads, sizeof *pool->shares);
    bool complete = pool->workers && pool->shares;
    for (int i = 1; complete && i < threads; i++) {
        complete = start_worker(pool, i);
        if (complete) pool->started++;
    }
    if (complete) return pool;
    sterna_pool_free(pool);
    return NULL;
}

void sterna_pool_free(sterna_pool *pool)
{
    if (!pool) return;
    atomic_store(&pool->stop, 1);
    announce(pool);
    for (int i = 0; i < pool->started; i++) pthread_join(pool->workers[i], NULL);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->done);
    sterna_free(pool->workers);
    sterna_free(pool->shares);
    sterna_free(pool);
}
