/* Dispatch: the reference first, then every row of the list whose features are there. */
#include "base/cpu.h"
#include "kernels/kernels.h"

void sterna_kernels_select(uint32_t features, sterna_kernels *table)
{
#define STERNA_KERNEL(slot, suffix, needs)                                                         \
    if ((features & (uint32_t)(needs)) == (uint32_t)(needs)) {                                     \
        table->slot = sterna_##slot##_##suffix;                                                    \
        table->slot##_suffix = #suffix;                                                            \
    }
#include "kernels/kernels.list"
#undef STERNA_KERNEL
}
