/* The stated order of sums over a vector: 16 lanes, folded in halves. */
#ifndef STERNA_KERNELS_REF_LANES_REF_H
#define STERNA_KERNELS_REF_LANES_REF_H

static inline float sterna_lane_sum(const float lanes[16])
{
    float fold[8];
    for (int i = 0; i < 8; i++) fold[i] = lanes[i] + lanes[i + 8];
    for (int i = 0; i < 4; i++) fold[i] += fold[i + 4];
    for (int i = 0; i < 2; i++) fold[i] += fold[i + 2];
    return fold[0] + fold[1];
}

#endif
