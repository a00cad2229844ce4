/* OpenBLAS, made to use what this processor has. */
#ifndef STERNA_BASE_BLAS_H
#define STERNA_BASE_BLAS_H

/* Call before the first product of a piece of work (it acts once). OpenBLAS chooses its kernels by
 * a processor's family when it is loaded; a release older than the processor falls back to AVX2
 * though there is AVX-512: 0.3.21 of Debian 12 does on AMD Zen 5, where the kernels for AVX-512
 * are 1.6 to 1.9 times as fast. Leaves alone what OPENBLAS_CORETYPE asks for. */
void sterna_blas_prepare(void);

/* The kernels in use, such as "SkylakeX". Static string. */
const char *sterna_blas_kernels(void);

#endif
