#include "base/blas.h"

#include <cblas.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"

/* How OpenBLAS (built with DYNAMIC_ARCH) chooses its kernels when it is loaded; other builds have
 * one kind of kernels and no such functions. */
extern void gotoblas_dynamic_init(void) __attribute__((weak));
extern void gotoblas_dynamic_quit(void) __attribute__((weak));

static void choose_kernels(void)
{
    static const char variable[] = "OPENBLAS_CORETYPE";
    const char *chosen = openblas_get_corename();
    bool narrow = strcmp(chosen, "Haswell") == 0 || strcmp(chosen, "Zen") == 0;
    if (!narrow || !(sterna_cpu_features() & STERNA_CPU_AVX512) || getenv(variable) ||
        !gotoblas_dynamic_init || !gotoblas_dynamic_quit)
        return;
    if (setenv(variable, "SkylakeX", 1) != 0) return;
    gotoblas_dynamic_quit();
    gotoblas_dynamic_init();
    unsetenv(variable);
}

void sterna_blas_prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose_kernels);
}

const char *sterna_blas_kernels(void)
{
    return openblas_get_corename();
}
