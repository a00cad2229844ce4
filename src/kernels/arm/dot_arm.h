/* walk() with sdot: one instruction for 4 rows x 4 columns. Used by dotprod for all tiles and by
 * i8mm for single tokens. */
INLINE void walk_dot(const uint8_t *codes, size_t lines, const int8_t *x, size_t stride, layout L,
                     size_t T, int32x4_t sums[TOKENS][4])
{
    const size_t F = fields_of(L);
    for (size_t t = 0; t < T; t++)
        for (size_t j = 0; j < 4; j++) sums[t][j] = vdupq_n_s32(0);
    for (size_t line = 0; line < lines; line++, codes += 64, x += 4 * F)
        for (size_t j = 0; j < 4; j++) {
            int8x16_t w[4];
            unpack(vld1q_u8(codes + 16 * j), L, w);
            for (size_t t = 0; t < T; t++)
                for (size_t f = 0; f < F; f++) {
                    int32_t four;
                    memcpy(&four, x + t * stride + 4 * f, 4);
                    sums[t][j] =
                        vdotq_s32(sums[t][j], w[f], vreinterpretq_s8_s32(vdupq_n_s32(four)));
                }
        }
}
