/* Attention over v16: included by attention_<isa>.c after a v16 header and vector_body.h. The
 * arithmetic and its order are those of ref/attention_ref.c. Up to four rows of queries that see
 * the same keys of a block go together, so that a key or value is converted to floats once for
 * them; and V16_KEYS keys (or vectors of values) at a time, so that a query (or weight) is loaded
 * once for those. STERNA_ATTENTION(name) gives a function its full name. */

typedef enum kv_kind { KV_F32, KV_F16, KV_Q8 } kv_kind;

/* The scale of value i of a Q8 row. */
V16_INLINE v16 q8_scale(const uint8_t *row, size_t i, size_t dim)
{
    return v16_set1_f16(row + ((dim + 1) & ~(size_t)1) + 2 * (i / STERNA_Q8_GROUP));
}

/* Values i .. i+15 of a stored row; their scale if they have one. */
V16_INLINE v16 kv_load(const uint8_t *row, size_t i, v16 scale, kv_kind kind)
{
    if (kind == KV_F32) return v16_load((const float *)(const void *)row + i);
    if (kind == KV_F16) return v16_from_f16(row + 2 * i);
    return v16_mul(v16_from_i8(row + i), scale);
}

/* The last dim - i < 16 values. */
V16_INLINE v16 kv_load_tail(const uint8_t *row, size_t i, size_t dim, kv_kind kind)
{
    uint8_t last[32] = {0};
    if (kind == KV_F32) return v16_load_n((const float *)(const void *)row + i, dim - i);
    if (kind == KV_F16) {
        memcpy(last, row + 2 * i, 2 * (dim - i));
        return v16_from_f16(last);
    }
    memcpy(last, row + i, dim - i);
    return v16_mul(v16_from_i8(last), q8_scale(row, i, dim));
}

/* Asks for what lies AHEAD of `bytes` at `at`: a cache is one stream of keys and values that take
 * turns. */
V16_INLINE void fetch(const uint8_t *at, size_t bytes)
{
    enum { AHEAD = 12 << 10 };
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + AHEAD + i);
}

/* q . k of R rows with K neighbouring keys: out[r * STERNA_ATTENTION_BLOCK + key]. */
V16_INLINE void dots(const float *q, size_t dim, const uint8_t *key, size_t kv_stride, kv_kind kind,
                     size_t R, size_t K, float *out)
{
    v16 lanes[V16_KEYS][4], scales[V16_KEYS];
    for (size_t k = 0; k < K; k++) scales[k] = v16_set1(0);
    size_t i = 0;
    for (size_t k = 0; k < K; k++)
        for (size_t r = 0; r < 4; r++) lanes[k][r] = v16_set1(0);
    for (; i + 16 <= dim; i += 16)
        for (size_t k = 0; k < K; k++) {
            const uint8_t *row = key + k * kv_stride;
            if (kind == KV_Q8 && i % STERNA_Q8_GROUP == 0) scales[k] = q8_scale(row, i, dim);
            v16 values = kv_load(row, i, scales[k], kind);
            for (size_t r = 0; r < R; r++)
                lanes[k][r] = v16_fma(v16_load(q + r * dim + i), values, lanes[k][r]);
        }
    if (i < dim)
        for (size_t k = 0; k < K; k++) {
            v16 values = kv_load_tail(key + k * kv_stride, i, dim, kind);
            for (size_t r = 0; r < R; r++)
                lanes[k][r] = v16_fma(v16_load_n(q + r * dim + i, dim - i), values, lanes[k][r]);
        }
    float sums[16];
#if V16_KEYS == 4
    if (K == 4) v16_sum4x4(lanes, sums);
#endif
    if (K == 1 && R > 1) v16_sum4(lanes[0], sums);
    if (K == 1 && R == 1) sums[0] = v16_sum(lanes[0][0]);
    for (size_t r = 0; r < R; r++)
        memcpy(out + r * STERNA_ATTENTION_BLOCK, sums + r * K, K * sizeof *out);
}

/* acc[R][.] = acc * correction + p . v of D neighbouring vectors of values from column i on, n of
 * whose last one count, over `keys` rows. p[r * STERNA_ATTENTION_BLOCK + key]. */
V16_INLINE void values(const sterna_attention_tile *tile, size_t r0, size_t i, size_t n,
                       const uint8_t *row, size_t keys, const float *p, const float *correction,
                       kv_kind kind, size_t R, size_t D)
{
    const size_t dim = tile->head_dim;
    float *acc = tile->acc + r0 * dim + i;
    v16 sums[4][V16_KEYS];
    for (size_t r = 0; r < R; r++)
        for (size_t d = 0; d < D; d++) {
            const float *at = acc + r * dim + 16 * d;
            sums[r][d] =
                v16_mul(n == 16 ? v16_load(at) : v16_load_n(at, n), v16_set1(correction[r]));
        }
    const size_t share = tile->kv_stride * D * 16 / dim; /* of a row, for this pass over the keys */
    for (size_t key = 0; key < keys; key++, row += tile->kv_stride) {
        if (r0 == 0) fetch(row + i / (16 * D) * share, share);
        v16 v[V16_KEYS], scale = v16_set1(0);
        for (size_t d = 0; d < D; d++) { /* where D > 1, i begins a group of Q8 */
            if (kind == KV_Q8 && d % 2 == 0) scale = q8_scale(row, i + 16 * d, dim);
            v[d] =
                n == 16 ? kv_load(row, i + 16 * d, scale, kind) : kv_load_tail(row, i, dim, kind);
        }
        for (size_t r = 0; r < R; r++) {
            v16 weight = v16_set1(p[r * STERNA_ATTENTION_BLOCK + key]);
            for (size_t d = 0; d < D; d++) sums[r][d] = v16_fma(weight, v[d], sums[r][d]);
        }
    }
    for (size_t r = 0; r < R; r++)
        for (size_t d = 0; d < D; d++) {
            float *at = acc + r * dim + 16 * d;
            if (n == 16)
                v16_store(at, sums[r][d]);
            else
                v16_store_n(at, sums[r][d], n);
        }
}

/* R rows from r0 over keys begin .. end-1, which all of them see. */
V16_INLINE void block_rows(const sterna_attention_tile *tile, size_t r0, size_t start, size_t begin,
                           size_t end, kv_kind kind, size_t R)
{
    const size_t dim = tile->head_dim, stride = tile->kv_stride;
    const size_t at = (start - tile->begin) / STERNA_ATTENTION_BLOCK * tile->block_stride +
                      (begin - start) * stride;
    const uint8_t *row = tile->k + at;
    const bool part = begin > start || end < start + STERNA_ATTENTION_BLOCK;
    float p[4][STERNA_ATTENTION_BLOCK], correction[4];
    for (size_t r = 0; r < R; r++)
        for (size_t i = 0; i < STERNA_ATTENTION_BLOCK; i += 16)
            v16_store(p[r] + i, v16_set1(-INFINITY));
    size_t key = begin;
    for (; R > 1 && V16_KEYS > 1 && key + V16_KEYS <= end; key += V16_KEYS) {
        if (r0 == 0) fetch(row, V16_KEYS * stride);
        dots(tile->q + r0 * dim, dim, row, stride, kind, R, V16_KEYS, p[0] + (key - start));
        row += V16_KEYS * stride;
    }
    for (; key < end; key++, row += stride) {
        if (r0 == 0) fetch(row, stride);
        dots(tile->q + r0 * dim, dim, row, stride, kind, R, 1, p[0] + (key - start));
    }
    for (size_t r = 0; r < R; r++) {
        /* lanes of unseen keys stay -infinity: scale, cap and the largest ignore them */
        v16 scores[4], most = v16_set1(tile->max[r0 + r]), sum = v16_set1(0);
        v16 scale = v16_set1(tile->scale), cap = v16_set1(tile->soft_cap);
        for (size_t j = 0; j < 4; j++) {
            v16 s = v16_mul(v16_load(p[r] + 16 * j), scale);
            if (tile->soft_cap > 0) s = v16_mul(cap, v16_tanh(v16_div(s, cap)));
            v16_store(p[r] + 16 * j, s);
        }
        for (size_t i = 0; part && i < STERNA_ATTENTION_BLOCK; i++)
            if (i < begin - start || i >= end - start) p[r][i] = -INFINITY;
        for (size_t j = 0; j < 4; j++) {
            scores[j] = v16_load(p[r] + 16 * j);
            most = v16_max(scores[j], most);
        }
        float max = v16_largest(most);
        correction[r] = sterna_exp(tile->max[r0 + r] - max);
        for (size_t j = 0; j < 4; j++) {
            scores[j] = v16_exp(v16_sub(scores[j], v16_set1(max)));
            v16_store(p[r] + 16 * j, scores[j]);
        }
        for (size_t i = 0; part && i < STERNA_ATTENTION_BLOCK; i++)
            if (i < begin - start || i >= end - start) p[r][i] = 0;
        for (size_t j = 0; j < 4; j++) sum = v16_add(sum, v16_load(p[r] + 16 * j));
        tile->max[r0 + r] = max;
        tile->sum[r0 + r] = tile->sum[r0 + r] * correction[r] + v16_sum(sum);
    }
    size_t i = 0;
    for (; i + 16 * V16_KEYS <= dim; i += 16 * V16_KEYS)
        values(tile, r0, i, 16, tile->v + at, end - begin, p[0] + (begin - start), correction, kind,
               R, V16_KEYS);
    for (; i < dim; i += 16)
        values(tile, r0, i, dim - i < 16 ? dim - i : 16, tile->v + at, end - begin,
               p[0] + (begin - start), correction, kind, R, 1);
}

V16_INLINE void attend(const sterna_attention_tile *tile, kv_kind kind)
{
    for (size_t start = tile->begin; start < tile->end; start += STERNA_ATTENTION_BLOCK) {
        size_t stop = start + STERNA_ATTENTION_BLOCK;
        if (stop > tile->end) stop = tile->end;
        for (size_t r = 0; r < tile->rows;) {
            size_t begin = tile->first[r] > start ? tile->first[r] : start;
            size_t end = tile->last[r] < stop ? tile->last[r] : stop;
            size_t same = 1;
            while (same < 4 && r + same < tile->rows) {
                uint32_t first = tile->first[r + same], last = tile->last[r + same];
                if ((first > start ? first : start) != begin) break;
                if ((last < stop ? last : stop) != end) break;
                same++;
            }
            if (begin < end) {
                if (same == 4) block_rows(tile, r, start, begin, end, kind, 4);
                if (same == 3) block_rows(tile, r, start, begin, end, kind, 3);
                if (same == 2) block_rows(tile, r, start, begin, end, kind, 2);
                if (same == 1) block_rows(tile, r, start, begin, end, kind, 1);
            }
            r += same;
        }
    }
}

void STERNA_ATTENTION(attention_f32)(const sterna_attention_tile *tile)
{
    attend(tile, KV_F32);
}

void STERNA_ATTENTION(attention_f16)(const sterna_attention_tile *tile)
{
    attend(tile, KV_F16);
}

void STERNA_ATTENTION(attention_q8)(const sterna_attention_tile *tile)
{
    attend(tile, KV_Q8);
}
