#include "quant/ranks.h"

#ifdef STERNA_MPI

#include <mpi.h>
#include <stdlib.h>

#include "base/memory.h"

enum { CHUNK = 1 << 20 }; /* values in one message */

static int rank_number, rank_count = 1;

sterna_status sterna_ranks_start(sterna_error *err)
{
    int there = 0;
    MPI_Initialized(&there);
    if (!there && !getenv("OMPI_COMM_WORLD_SIZE") && !getenv("PMI_SIZE") && !getenv("PMIX_RANK"))
        return STERNA_OK; /* a process of its own */
    if (!there && MPI_Init(NULL, NULL) != MPI_SUCCESS)
        return sterna_fail(err, STERNA_ERROR_IO, "MPI cannot be started");
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_number);
    MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
    return STERNA_OK;
}

void sterna_ranks_finish(void)
{
    int there = 0, gone = 0;
    MPI_Initialized(&there);
    MPI_Finalized(&gone);
    if (there && !gone) MPI_Finalize();
    rank_number = 0;
    rank_count = 1;
}

size_t sterna_rank(void)
{
    return (size_t)rank_number;
}

size_t sterna_ranks(void)
{
    return (size_t)rank_count;
}

/* The total goes from rank to rank, each adding its part, and from the last one to all. */
void sterna_ranks_add(float *total, const float *part, size_t count, size_t active)
{
    int last = (int)active - 1;
    for (size_t at = 0; at < count; at += CHUNK) {
        int size = (int)(count - at < CHUNK ? count - at : CHUNK);
        float *sum = total + at;
        if (rank_number <= last) {
            if (rank_number > 0)
                MPI_Recv(sum, size, MPI_FLOAT, rank_number - 1, 0, MPI_COMM_WORLD,
                         MPI_STATUS_IGNORE);
            for (int i = 0; i < size; i++) sum[i] += part[at + (size_t)i];
            if (rank_number < last)
                MPI_Send(sum, size, MPI_FLOAT, rank_number + 1, 0, MPI_COMM_WORLD);
        }
        if (rank_count > 1) MPI_Bcast(sum, size, MPI_FLOAT, last, MPI_COMM_WORLD);
    }
}

void sterna_ranks_share(void *bytes, size_t size)
{
    for (size_t at = 0; rank_count > 1 && at < size; at += CHUNK)
        MPI_Bcast((char *)bytes + at, (int)(size - at < CHUNK ? size - at : CHUNK), MPI_BYTE, 0,
                  MPI_COMM_WORLD);
}

void sterna_ranks_merge(void *bytes, size_t size)
{
    for (size_t at = 0; rank_count > 1 && at < size; at += CHUNK)
        MPI_Allreduce(MPI_IN_PLACE, (char *)bytes + at,
                      (int)(size - at < CHUNK ? size - at : CHUNK), MPI_BYTE, MPI_BOR,
                      MPI_COMM_WORLD);
}

void sterna_ranks_sum(double *values, size_t count)
{
    if (rank_count > 1)
        MPI_Allreduce(MPI_IN_PLACE, values, (int)count, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
}

#else /* one process */

sterna_status sterna_ranks_start(sterna_error *err)
{
    (void)err;
    return STERNA_OK;
}

void sterna_ranks_finish(void) {}

size_t sterna_rank(void)
{
    return 0;
}

size_t sterna_ranks(void)
{
    return 1;
}

void sterna_ranks_add(float *total, const float *part, size_t count, size_t active)
{
    (void)active;
    for (size_t i = 0; i < count; i++) total[i] += part[i];
}

void sterna_ranks_share(void *bytes, size_t size)
{
    (void)bytes;
    (void)size;
}

void sterna_ranks_merge(void *bytes, size_t size)
{
    (void)bytes;
    (void)size;
}

void sterna_ranks_sum(double *values, size_t count)
{
    (void)values;
    (void)count;
}

#endif
