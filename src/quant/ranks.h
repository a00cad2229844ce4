/* The processes that fit one model together. Usually there is one; in a build with MPI
 * (-DSTERNA_MPI=ON) `mpirun -n N` starts several, and every function here is a meeting of all.
 *
 * All of them run the same code on the same files. What they share out are calibration windows and
 * rows of matrices; sums are taken in an order that does not depend on their number. Only rank 0
 * writes. One that fails leaves the others waiting: its exit ends them, which mpirun sees to.
 */
#ifndef STERNA_QUANT_RANKS_H
#define STERNA_QUANT_RANKS_H

#include <stddef.h>

#include "base/error.h"

/* Joins the others, if mpirun started this process. May be called again. */
sterna_status sterna_ranks_start(sterna_error *err);
/* After the last meeting: without it mpirun takes the end of the process for a failure. */
void sterna_ranks_finish(void);

size_t sterna_rank(void);  /* 0 .. sterna_ranks() - 1 */
size_t sterna_ranks(void); /* >= 1 */

/* total += part of rank 0, then of rank 1, ... of rank active - 1; the same total on all. */
void sterna_ranks_add(float *total, const float *part, size_t count, size_t active);
/* What rank 0 has, to all. */
void sterna_ranks_share(void *bytes, size_t size);
/* Bitwise or: rows that each has made a share of, zero elsewhere. */
void sterna_ranks_merge(void *bytes, size_t size);
/* Sums, in any order. */
void sterna_ranks_sum(double *values, size_t count);

#endif
