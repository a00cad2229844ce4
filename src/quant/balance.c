#include "quant/balance.h"

#include <math.h>

static double sum_squares(const float *x, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

void sterna_balance_factors(const float *stream, size_t tokens, size_t width, float *factors)
{
    /* a row of zeros must not outweigh all others */
    double floor = 1e-9 * sum_squares(stream, tokens * width) / (double)tokens;
    for (size_t t = 0; t < tokens; t++) {
        double squares = sum_squares(stream + t * width, width) + floor;
        factors[t] = squares > 0 ? (float)(1 / sqrt(squares)) : 1;
    }
}

void sterna_balance(float *x, size_t tokens, size_t cols, const float *factors)
{
    for (size_t t = 0; t < tokens; t++)
        for (size_t i = 0; i < cols; i++) x[t * cols + i] *= factors[t];
}
