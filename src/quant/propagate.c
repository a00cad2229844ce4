#include "quant/propagate.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "model/model.h"
#include "quant/balance.h"
#include "quant/moments.h"
#include "quant/ranks.h"
#include "quant/rotate.h"

/* One model's hidden states. */
typedef struct stream {
    sterna_decoder *decoder;
    sterna_workspace *workspace;
    sterna_kv *kv;
    sterna_batch_place *places; /* [length] */
    float *x;                   /* [windows][length][width]: the residual stream */
} stream;

typedef struct propagation {
    const sterna_model_file *file;
    const sterna_calibration *calibration;
    const sterna_propagation *settings;
    sterna_item *items;
    size_t n_items;
    sterna_hadamard_rules *rules;
    sterna_error *err;
    sterna_device *device;
    stream full, made;
    uint32_t *lengths; /* [length] */
    size_t widest;     /* columns of any matmul input in a layer */
    float *held;       /* [windows][length][widest]: matmul inputs of the made model that wait */
    float *input;      /* [length][widest]: of the made model */
    float *drift;      /* [length][widest]: as much as is taken back of the full model's input less
                          the made one's */
    float *error;      /* [length][width]: what a product to the residual stream shall take back */
    float *factors;    /* [length]: how much each token of a window counts */
    sterna_moment_adder *adder;
    float *h; /* [cols][cols]: mean of x x^T over all tokens, x the made model's input */
    float *d; /* [width][width]: mean of drift x^T, for inputs of that width */
} propagation;

/* The matrices that share an input. */
typedef struct bundle {
    sterna_stage stage; /* that leaves the input */
    sterna_matrix first, last;
    bool to_residual; /* the product is added to the residual stream */
} bundle;

static const bundle bundles[] = {
    {STERNA_STAGE_ATTENTION_IN, STERNA_MATRIX_Q, STERNA_MATRIX_V, false},
    {STERNA_STAGE_ATTENTION_MIX, STERNA_MATRIX_OUT, STERNA_MATRIX_OUT, true},
    {STERNA_STAGE_FFN_IN, STERNA_MATRIX_GATE, STERNA_MATRIX_UP, false},
    {STERNA_STAGE_FFN_MIX, STERNA_MATRIX_DOWN, STERNA_MATRIX_DOWN, true},
};
enum {
    BUNDLES = sizeof bundles / sizeof *bundles,
    SHARE_ROWS = 128,   /* rows that stay together when processes share them: whole tiles */
    DAMPING_TOKENS = 16 /* for each column: the damping that is set is for so many */
};

static const sterna_config *config_of(const propagation *p)
{
    return sterna_decoder_config(p->full.decoder);
}

static bool uses_drift(const propagation *p)
{
    return p->settings->drift != 0 || p->settings->residual != 0;
}

static bool follows_full(const propagation *p)
{
    return uses_drift(p) || p->settings->balance;
}

/* ---- moving hidden states ---- */

static void to_stream(const propagation *p, const stream *s, size_t window)
{
    size_t floats = p->calibration->length * config_of(p)->width;
    p->device->upload(p->device, sterna_workspace_stream(s->workspace), s->x + window * floats,
                      floats * sizeof(float));
}

static void from_stream(const propagation *p, const stream *s, size_t window)
{
    size_t floats = p->calibration->length * config_of(p)->width;
    p->device->download(p->device, s->x + window * floats, sterna_workspace_stream(s->workspace),
                        floats * sizeof(float));
}

static void run_stage(const propagation *p, const stream *s, uint32_t layer, sterna_stage stage)
{
    const sterna_forward call = {
        .places = s->places, .lengths = p->lengths, .n = p->calibration->length};
    sterna_decoder_stage(s->workspace, &call, layer, stage);
}

/* The matmul input that a stage has left, from the device. */
static void get_input(const propagation *p, const stream *s, sterna_stage stage, size_t cols,
                      float *out)
{
    p->device->download(p->device, out, sterna_workspace_input(s->workspace, stage),
                        p->calibration->length * cols * sizeof(float));
}

/* Into the workspace, where it also leaves the rotations that every later stage uses. */
static void embed_window(const propagation *p, const stream *s, size_t window)
{
    const sterna_forward call = {.ids = p->calibration->ids + window * p->calibration->length,
                                 .places = s->places,
                                 .lengths = p->lengths,
                                 .n = p->calibration->length};
    sterna_decoder_begin(s->workspace, &call);
}

/* The windows come in a fixed number of parts, whose sums are added in order: so many processes
 * as share them, the sum is the same. */
enum { PARTS = 8 };

static size_t count_parts(const propagation *p)
{
    return p->calibration->windows < PARTS ? p->calibration->windows : PARTS;
}

static size_t part_begin(const propagation *p, size_t part)
{
    return p->calibration->windows * part / count_parts(p);
}

/* The first window behind `window` that is this process's. Parts go round. */
static size_t next_window(const propagation *p, size_t window)
{
    for (size_t part = 0; part < count_parts(p); part++)
        if (part % sterna_ranks() == sterna_rank() && window < part_begin(p, part + 1))
            return window > part_begin(p, part) ? window : part_begin(p, part);
    return p->calibration->windows;
}

static void embed(const propagation *p, const stream *s)
{
    for (size_t w = next_window(p, 0); w < p->calibration->windows; w = next_window(p, w + 1)) {
        embed_window(p, s, w);
        from_stream(p, s, w);
    }
}

/* ---- gathering ---- */

/* A matrix of a bundle and where its rows go. */
typedef struct member {
    sterna_matrix_place place;
    sterna_item *item; /* NULL: it stays as it is in the file */
    uint64_t item_row; /* its first row in the item */
} member;

/* The matrices of a bundle, one below the other, on their way to codes. */
typedef struct fit {
    member parts[3];
    size_t count, rows, cols; /* rows: of those parts that are fitted */
    float *w;                 /* [rows][cols] */
    float *pull; /* [rows][cols]: mean of e x^T, e the error at the output to take back; NULL
                    without drift */
    sterna_packed packed; /* w as a product reads it, while inputs are gathered */
    sterna_hadamard rotation;
} fit;

/* error = W drift + b (the drift of the residual stream): what is missing behind the product, to
 * whose output the full stream has not moved on yet. */
static sterna_status find_error(const propagation *p, const fit *f, size_t window)
{
    size_t n = p->calibration->length, width = f->rows;
    const float *full = p->full.x + window * n * width, *made = p->made.x + window * n * width;
    float b = sterna_decoder_norms_output(p->full.decoder) ? 0 : p->settings->residual;
    sterna_moment_adder *m = p->adder;
    const sterna_operand drift = {p->drift, n, f->cols, f->cols, false};
    sterna_status status = sterna_pack(&m->multiplier, &m->left, STERNA_LEFT, &drift, p->err);
    if (status) return status;
    for (size_t i = 0; i < n * width; i++) p->error[i] = b * (full[i] - made[i]);
    sterna_multiply(&m->multiplier, &m->left, &f->packed, true, p->error, width);
    return STERNA_OK;
}

static void balance_tokens(const propagation *p, const fit *f, size_t window)
{
    size_t n = p->calibration->length, width = config_of(p)->width;
    sterna_balance_factors(p->full.x + window * n * width, n, width, p->factors);
    sterna_balance(p->input, n, f->cols, p->factors);
    if (f->pull) sterna_balance(p->error, n, width, p->factors);
}

/* Brings both streams to the input of a bundle for one window, and what was decided before it into
 * the made one. */
static void reach(const propagation *p, uint32_t layer, const bundle *b, size_t cols, size_t window)
{
    sterna_stage stage = b->stage;
    size_t n = p->calibration->length;
    to_stream(p, &p->made, window);
    if (b->to_residual) run_stage(p, &p->made, layer, stage - 1);
    run_stage(p, &p->made, layer, stage);
    get_input(p, &p->made, stage, cols, p->input);
    if (b->to_residual) memcpy(p->held + window * n * cols, p->input, n * cols * sizeof(float));
    if (!follows_full(p)) return;
    to_stream(p, &p->full, window);
    if (b->to_residual) run_stage(p, &p->full, layer, stage - 1);
    run_stage(p, &p->full, layer, stage);
    get_input(p, &p->full, stage, cols, p->drift);
}

/* A window's share of the moments; the full stream moves on behind a product to the residual
 * stream. */
static sterna_status gather_window(const propagation *p, uint32_t layer, const bundle *b,
                                   const fit *f, const sterna_moments *m, size_t window)
{
    size_t n = p->calibration->length;
    sterna_status status = STERNA_OK;
    reach(p, layer, b, f->cols, window);
    for (size_t i = 0; f->pull && i < n * f->cols; i++)
        p->drift[i] = p->settings->drift * (p->drift[i] - p->input[i]);
    if (m->pull) status = find_error(p, f, window);
    if (b->to_residual && follows_full(p)) {
        run_stage(p, &p->full, layer, b->stage + 1);
        from_stream(p, &p->full, window);
        if (p->settings->balance && f->rows) balance_tokens(p, f, window);
    }
    if (status || !f->rows) return status;
    return sterna_moments_add(p->adder, m, p->input, p->drift, p->error, n, p->err);
}

/* The sums over all windows, a part at a time. */
static sterna_status gather_parts(const propagation *p, uint32_t layer, const bundle *b,
                                  const fit *f, const sterna_moments *sum)
{
    size_t ranks = sterna_ranks();
    sterna_moments part;
    sterna_status status = sterna_moments_new(sum, &part, p->err);
    if (!status) sterna_moments_clear(sum);
    for (size_t first = 0; first < count_parts(p) && !status; first += ranks) {
        size_t mine = first + sterna_rank(), left = count_parts(p) - first;
        sterna_moments_clear(&part);
        for (size_t w = part_begin(p, mine);
             mine < count_parts(p) && w < part_begin(p, mine + 1) && !status; w++)
            status = gather_window(p, layer, b, f, &part, w);
        if (!status) sterna_moments_join(sum, &part, left < ranks ? left : ranks);
    }
    sterna_moments_free(&part);
    return status;
}

/* pull = W d, in float32: what would be rounded is the mean itself. */
static sterna_status pull_back(const propagation *p, const fit *f)
{
    sterna_multiplier exact = p->adder->multiplier;
    sterna_packed left = {0}, right = {0};
    const sterna_operand w = {f->w, f->rows, f->cols, f->cols, false},
                         d = {p->d, f->cols, f->cols, f->cols, true};
    exact.bf16 = false;
    sterna_status status = sterna_pack(&exact, &left, STERNA_LEFT, &w, p->err);
    if (!status) status = sterna_pack(&exact, &right, STERNA_RIGHT, &d, p->err);
    if (!status) sterna_multiply(&exact, &left, &right, false, f->pull, f->cols);
    return status;
}

/* Moments of a bundle's inputs where there is something to fit. */
static sterna_status gather(const propagation *p, uint32_t layer, const bundle *b, fit *f)
{
    size_t tokens = p->calibration->length * p->calibration->windows;
    float share = (float)(1.0 / (double)tokens);
    const sterna_moments sum = {f->rows, f->cols, p->h, f->pull && !b->to_residual ? p->d : NULL,
                                b->to_residual ? f->pull : NULL};
    const sterna_operand w = {f->w, f->rows, f->cols, f->cols, false};
    sterna_status status = STERNA_OK;
    if (sum.pull) status = sterna_pack(&p->adder->multiplier, &f->packed, STERNA_RIGHT, &w, p->err);
    if (!status) status = gather_parts(p, layer, b, f, &sum);
    sterna_packed_free(&f->packed);
    if (status) return status;
    sterna_moments_mirror(&sum, share);
    if (sum.d) status = pull_back(p, f);
    for (size_t i = 0; f->pull && i < f->rows * f->cols; i++) f->pull[i] *= share;
    return status;
}

/* The made stream moves on behind the output of a bundle that has just been fitted. */
static void advance(const propagation *p, uint32_t layer, const bundle *b, size_t cols)
{
    size_t floats = p->calibration->length * cols;
    for (size_t w = next_window(p, 0); w < p->calibration->windows; w = next_window(p, w + 1)) {
        to_stream(p, &p->made, w);
        p->device->upload(p->device, sterna_workspace_input(p->made.workspace, b->stage),
                          p->held + w * floats, floats * sizeof(float));
        run_stage(p, &p->made, layer, b->stage + 1);
        from_stream(p, &p->made, w);
    }
}

/* ---- fitting ---- */

/* The part's weights as the made model will run them, on the device. */
static sterna_status install(const propagation *p, uint32_t layer, sterna_matrix matrix,
                             const member *one, const sterna_hadamard *rotation)
{
    sterna_weight_options options = {.activation = STERNA_ACT_AUTO, .rows = one->place.rows};
    sterna_tensor tensor = *one->place.tensor;
    options.first_row = one->place.first_row;
    if (one->item) {
        tensor = sterna_item_output(one->item);
        options.first_row = one->item_row;
        options.hadamard = *rotation;
        options.activation = config_of(p)->activation;
    }
    return sterna_decoder_set_matrix(p->made.decoder, layer, matrix, &tensor, &options, p->err);
}

/* Room for the matrices of a bundle, and their weights. */
static sterna_status load_bundle(const propagation *p, fit *f)
{
    size_t weights, at = 0;
    if (!f->rows) return STERNA_OK;
    if (!sterna_mul_size(f->rows, f->cols, &weights)) return sterna_fail_memory(p->err, "a layer");
    f->w = sterna_alloc(weights, sizeof *f->w);
    f->pull = uses_drift(p) ? sterna_alloc(weights, sizeof *f->pull) : NULL;
    if (!f->w || (uses_drift(p) && !f->pull))
        return sterna_fail_memory(p->err, "the weights of a layer");
    for (size_t i = 0; i < f->count; i++)
        for (uint64_t r = 0; f->parts[i].item && r < f->parts[i].place.rows; r++)
            sterna_tensor_row(f->parts[i].place.tensor, f->parts[i].place.first_row + r,
                              f->w + at++ * f->cols);
    return STERNA_OK;
}

/* Rows of a bundle that are fitted together, from the top of the stack. */
typedef struct share {
    size_t first, last;
    sterna_fit_rows parts[3];
    size_t count;
} share;

/* Processes share the rows out where each row is fitted for itself; else all fit all of them. */
static bool rows_are_shared(const propagation *p, const fit *f)
{
    bool shared = sterna_ranks() > 1 && p->settings->fitter->chases;
    for (size_t i = 0; i < f->count; i++) {
        const sterna_item *item = f->parts[i].item;
        shared &= !item || (sterna_type_describe(item->type)->kind == STERNA_KIND_TERNARY &&
                            item->form.outliers == 0);
    }
    return shared;
}

static share share_of(const propagation *p, const fit *f)
{
    share mine = {.last = f->rows};
    size_t units = (f->rows + SHARE_ROWS - 1) / SHARE_ROWS, ranks = sterna_ranks(), at = 0;
    if (rows_are_shared(p, f)) {
        mine.first = units * sterna_rank() / ranks * SHARE_ROWS;
        mine.last = units * (sterna_rank() + 1) / ranks * SHARE_ROWS;
        if (mine.last > f->rows) mine.last = f->rows;
    }
    for (size_t i = 0; i < f->count; i++) {
        const member *one = &f->parts[i];
        size_t rows = one->item ? (size_t)one->place.rows : 0;
        size_t begin = at > mine.first ? at : mine.first,
               end = at + rows < mine.last ? at + rows : mine.last;
        if (begin < end)
            mine.parts[mine.count++] =
                (sterna_fit_rows){one->item, one->item_row + begin - at, end - begin};
        at += rows;
    }
    return mine;
}

/* Moments of few tokens say little about the directions in which inputs are small: their errors
 * fall with the square root of the number of tokens, against that of columns. */
static float damping_of(const propagation *p, size_t cols)
{
    const sterna_propagation *s = p->settings;
    double tokens = (double)p->calibration->windows * (double)p->calibration->length;
    float factor = (float)sqrt(DAMPING_TOKENS * (double)cols / tokens);
    return s->compensation.damping * (s->damping_by_tokens ? factor : 1);
}

static sterna_status fit_share(const propagation *p, fit *f, const share *mine)
{
    const sterna_propagation *s = p->settings;
    sterna_compensation settings = s->compensation;
    size_t rows = mine->last - mine->first, at = mine->first * f->cols;
    sterna_status status = STERNA_OK;
    settings.damping = damping_of(p, f->cols);
    if (f->pull && rows)
        status = sterna_compensate_target(f->w + at, rows, f->cols, p->h, f->pull + at, &settings,
                                          p->err);
    if (!status && s->rotate) status = sterna_rotation_of(p->rules, f->cols, &f->rotation, p->err);
    if (status || !rows) return status;
    sterna_rotate_rows(f->w + at, rows, f->cols, &f->rotation, s->compensation.threads);
    sterna_rotate_square(p->h, f->cols, &f->rotation, s->compensation.threads);
    return sterna_fit_items(s->fitter, mine->parts, mine->count, f->w + at, f->cols, p->h,
                            &settings, p->err);
}

/* Every process gets what the others have made of an item, whose result was `before`. */
static sterna_status merge_item(sterna_item *item, const sterna_fit_result *before,
                                sterna_error *err)
{
    double more[3] = {item->result.error - before->error, item->result.energy - before->energy,
                      (double)(item->result.zeros - before->zeros)};
    sterna_status status = STERNA_OK;
    if (item->verb == STERNA_VERB_FIT) status = sterna_item_prepare(item, NULL, err);
    if (status) return status;
    sterna_ranks_merge(item->packed, (size_t)sterna_item_bytes(item));
    sterna_ranks_sum(more, 3);
    item->result = (sterna_fit_result){before->error + more[0], before->energy + more[1],
                                       before->zeros + (uint64_t)more[2]};
    return STERNA_OK;
}

static sterna_status fit_bundle(const propagation *p, fit *f)
{
    share mine = share_of(p, f);
    bool shared = rows_are_shared(p, f);
    sterna_fit_result before[3];
    for (size_t i = 0; i < f->count; i++)
        if (f->parts[i].item) before[i] = f->parts[i].item->result;
    sterna_status status = fit_share(p, f, &mine);
    for (size_t i = 0; i < f->count && shared && !status; i++) {
        sterna_item *item = f->parts[i].item;
        bool again = i && item == f->parts[i - 1].item; /* a fused one */
        if (item && !again) status = merge_item(item, &before[i], p->err);
    }
    if (status)
        sterna_fail_prefix(p->err, "%s: tensor '%s'", p->file->path,
                           f->parts[0].place.tensor->name);
    return status;
}

/* The bundle as it is now, into the made model. */
static sterna_status install_bundle(const propagation *p, uint32_t layer, const bundle *b,
                                    const fit *f)
{
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < f->count && !status; i++)
        status = install(p, layer, (sterna_matrix)(b->first + i), &f->parts[i], &f->rotation);
    for (size_t i = 0; i < f->count; i++)
        sterna_model_file_release(p->file, f->parts[i].place.tensor);
    return status;
}

static sterna_status find_parts(const propagation *p, uint32_t layer, const bundle *b, fit *f)
{
    f->count = (size_t)(b->last - b->first) + 1;
    for (size_t i = 0; i < f->count; i++) {
        member *one = &f->parts[i];
        sterna_status status = sterna_decoder_find_matrix(
            p->full.decoder, p->file, layer, (sterna_matrix)(b->first + i), &one->place, p->err);
        if (status) return status;
        sterna_fit_rows found = {0};
        sterna_fit_find(p->items, p->n_items, &one->place, &found);
        one->item = found.item;
        one->item_row = found.item_row;
        f->cols = (size_t)one->place.tensor->dims[0];
        if (one->item) f->rows += one->place.rows;
    }
    return STERNA_OK;
}

static sterna_status run_bundle(const propagation *p, uint32_t layer, const bundle *b)
{
    fit f = {0};
    sterna_status status = find_parts(p, layer, b, &f);
    if (!status) status = load_bundle(p, &f);
    if (!status) status = gather(p, layer, b, &f);
    if (!status && f.rows) status = fit_bundle(p, &f);
    if (!status) status = install_bundle(p, layer, b, &f);
    if (!status && b->to_residual) advance(p, layer, b, f.cols);
    sterna_free(f.w);
    sterna_free(f.pull);
    return status;
}

static sterna_status report(const propagation *p, double layers)
{
    const sterna_propagation *s = p->settings;
    if (!s->progress ||
        s->progress(s->progress_context, "fitting layers", layers, config_of(p)->n_layers))
        return STERNA_OK;
    return sterna_fail(p->err, STERNA_ERROR_CANCELLED,
                       "quantizing was cancelled; nothing was written");
}

static sterna_status run_layer(const propagation *p, uint32_t layer)
{
    const sterna_decoder_options usual = {0};
    sterna_status status = STERNA_OK;
    if (follows_full(p))
        status = sterna_decoder_load_layer(p->full.decoder, p->file, &usual, layer, true, p->err);
    if (!status)
        status = sterna_decoder_load_layer(p->made.decoder, p->file, &usual, layer, false, p->err);
    for (size_t i = 0; i < BUNDLES && !status; i++) {
        status = run_bundle(p, layer, &bundles[i]);
        if (!status) status = report(p, layer + (double)(i + 1) / BUNDLES);
    }
    sterna_decoder_unload_layer(p->full.decoder, layer);
    sterna_decoder_unload_layer(p->made.decoder, layer);
    return status;
}

/* ---- the whole ---- */

static sterna_status open_stream(propagation *p, stream *s)
{
    const sterna_decoder_options options = {.without_layers = true};
    uint32_t length = (uint32_t)p->calibration->length;
    sterna_status status = sterna_decoder_load(p->file, p->device, &options, &s->decoder, p->err);
    if (status) return status;
    const sterna_config *config = sterna_decoder_config(s->decoder);
    status = sterna_workspace_new(s->decoder, length, length, &s->workspace, p->err);
    if (!status)
        status = p->device->kv_new(p->device, STERNA_KV_F16, config->n_layers, config->kv_heads,
                                   config->head_dim, length, &s->kv, p->err);
    s->places = sterna_alloc(length, sizeof *s->places);
    s->x = sterna_alloc_floats(p->calibration->windows * length, config->width);
    if (!status && (!s->places || !s->x)) status = sterna_fail_memory(p->err, "hidden states");
    for (uint32_t i = 0; i < length && !status; i++) s->places[i] = (sterna_batch_place){s->kv, i};
    return status;
}

static void close_stream(propagation *p, stream *s)
{
    if (s->kv) p->device->kv_free(p->device, s->kv);
    sterna_workspace_free(s->workspace);
    sterna_decoder_free(s->decoder);
    sterna_free(s->places);
    sterna_free(s->x);
}

static sterna_status allocate(propagation *p)
{
    const sterna_config *config = config_of(p);
    size_t length = p->calibration->length, heads = (size_t)config->heads * config->head_dim;
    size_t out = heads; /* widest input that waits for its product */
    for (uint32_t i = 0; i < config->n_layers; i++)
        if (config->layers[i].ffn_width > out) out = config->layers[i].ffn_width;
    p->widest = out > config->width ? out : config->width;
    p->lengths = sterna_alloc(length, sizeof *p->lengths);
    p->held = sterna_alloc_floats(p->calibration->windows * length, out);
    p->input = sterna_alloc_floats(length, p->widest);
    p->drift = sterna_alloc_floats(length, p->widest);
    p->error = sterna_alloc_floats(length, config->width);
    p->factors = sterna_alloc_floats(length, 1);
    p->h = sterna_alloc_floats(p->widest, p->widest);
    p->d = sterna_alloc_floats(config->width, config->width);
    if (!p->lengths || !p->held || !p->input || !p->drift || !p->error || !p->factors || !p->h ||
        !p->d)
        return sterna_fail_memory(p->err, "the calibration of a model");
    for (size_t i = 0; i < length; i++) p->lengths[i] = (uint32_t)length;
    return STERNA_OK;
}

/* The transforms of a layer that an earlier run has finished. */
static sterna_status recall_layer(const propagation *p, uint32_t layer)
{
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < BUNDLES && !status; i++) {
        fit f = {0};
        status = find_parts(p, layer, &bundles[i], &f);
        if (!status && f.rows && p->settings->rotate)
            status = sterna_rotation_of(p->rules, f.cols, &f.rotation, p->err);
    }
    return status;
}

/* Both streams to the first layer that is not finished: its number. */
static sterna_status begin(const propagation *p, uint32_t *first)
{
    sterna_journal *journal = p->settings->journal;
    float *const states[2] = {p->full.x, p->made.x};
    size_t count = p->calibration->windows * p->calibration->length * config_of(p)->width;
    sterna_status status = STERNA_OK;
    *first = journal ? sterna_journal_layers(journal) : 0;
    if (journal)
        status = sterna_journal_get_layers(journal, p->items, p->n_items, states, count, p->err);
    for (uint32_t layer = 0; layer < *first && !status; layer++) status = recall_layer(p, layer);
    if (*first > 0) {
        embed_window(p, &p->full, 0); /* for the rotations */
        embed_window(p, &p->made, 0);
    } else {
        embed(p, &p->full);
        embed(p, &p->made);
    }
    return status;
}

static sterna_status keep_layer(const propagation *p)
{
    const float *const states[2] = {p->full.x, p->made.x};
    size_t count = p->calibration->windows * p->calibration->length * config_of(p)->width;
    return sterna_journal_put_layer(p->settings->journal, p->items, p->n_items, states, count,
                                    p->err);
}

static sterna_status run(propagation *p)
{
    uint32_t layer = 0;
    sterna_status status = open_stream(p, &p->full);
    if (!status) status = open_stream(p, &p->made);
    if (!status) status = allocate(p);
    if (!status) status = begin(p, &layer);
    for (; !status && layer < config_of(p)->n_layers; layer++) {
        status = run_layer(p, layer);
        if (!status && p->settings->journal) status = keep_layer(p);
    }
    return status;
}

sterna_status sterna_propagate(const sterna_model_file *file, const sterna_calibration *calibration,
                               const sterna_propagation *settings, sterna_item *items,
                               size_t n_items, sterna_hadamard_rules *rules, sterna_error *err)
{
    propagation p = {.file = file,
                     .calibration = calibration,
                     .settings = settings,
                     .items = items,
                     .n_items = n_items,
                     .rules = rules,
                     .err = err};
    sterna_moment_adder adder;
    sterna_cpu_options cpu = {.threads = settings->compensation.threads};
    int blas = openblas_get_num_threads();
    openblas_set_num_threads(settings->compensation.threads);
    sterna_status status = sterna_cpu_level("auto", &cpu.features, err);
    if (!status) status = sterna_device_cpu_open(&cpu, &p.device, err);
    sterna_moment_adder_init(&adder, cpu.features, cpu.threads);
    p.adder = &adder;
    if (!status) status = run(&p);
    sterna_moment_adder_free(&adder);
    if (p.device) {
        close_stream(&p, &p.full);
        close_stream(&p, &p.made);
        p.device->close(p.device);
    }
    openblas_set_num_threads(blas);
    sterna_free(p.lengths);
    sterna_free(p.held);
    sterna_free(p.input);
    sterna_free(p.drift);
    sterna_free(p.error);
    sterna_free(p.factors);
    sterna_free(p.h);
    sterna_free(p.d);
    return status;
}
