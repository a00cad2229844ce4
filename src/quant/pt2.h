/* PT2-LLM as its paper defines it (arXiv 2510.03267): asymmetric ternary levels fitted by ITF (eq.
 * 8-10) and aligned with the inputs by AGA (eq. 12), blocks of columns chosen by structural
 * similarity (SSR, eq. 14-16), and the error of a block moved to the columns behind it by the
 * diagonal of the Cholesky factor. It is here to be compared with; docs/QUALITY.md has the figures.
 *
 * SSR needs the inverse of the remaining second moments for every choice of block. Instead of a new
 * factorisation each time, the inverse is carried on: P_RR -= P_RB P_BB^-1 P_BR is exact.
 */
#ifndef STERNA_QUANT_PT2_H
#define STERNA_QUANT_PT2_H

#include "quant/compensate.h"

/* As sterna_compensate; levels with a shift and no second plane, no outliers. Of the settings'
 * steps, `order` is SSR (it fills out->order), `columns` the compensation, `refit` AGA. Groups
 * follow the new order. Needs memory for one more H and four more W. */
sterna_status sterna_pt2(const float *w, float *h, const sterna_compensation *settings,
                         sterna_fitted *out, sterna_error *err);

#endif
