/* What the machine at hand can do: the speed of products, and memory that is free. */
#ifndef STERNA_QUANT_MACHINE_H
#define STERNA_QUANT_MACHINE_H

#include "base/error.h"

/* Multiplications and additions a second on all threads. */
typedef struct sterna_rates {
    double exact; /* of products in float32, as fits take them */
    double fast;  /* as moments and training take them: in bfloat16 where the processor has it */
} sterna_rates;

/* Measures for a tenth of a second. */
sterna_status sterna_machine_rates(int threads, sterna_rates *out, sterna_error *err);

/* Bytes that this process may still take: of the machine, its control group and its limits. */
double sterna_available_memory(void);

#endif
