#include "quant/receipt_charts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 720, LABEL = 150, MAX_KINDS = 64, MAX_LAYERS = 4096 };

void sterna_html_text(sterna_buffer *html, const char *text)
{
    for (; text && *text; text++) {
        switch (*text) {
        case '<': sterna_buffer_add_text(html, "&lt;"); break;
        case '>': sterna_buffer_add_text(html, "&gt;"); break;
        case '&': sterna_buffer_add_text(html, "&amp;"); break;
        case '"': sterna_buffer_add_text(html, "&quot;"); break;
        default: sterna_buffer_add_char(html, *text);
        }
    }
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* ---- parts of every chart ---- */

static void begin_figure(sterna_buffer *html, const char *title, const char *about, int height)
{
    sterna_buffer_add_text(html, "<figure><figcaption><b>");
    sterna_html_text(html, title);
    sterna_buffer_add_text(html, "</b> ");
    sterna_html_text(html, about);
    sterna_buffer_format(html,
                         "</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"",
                         WIDTH, height);
    sterna_html_text(html, title);
    sterna_buffer_add_text(html, "\">\n");
}

/* The table that says the same: its head follows. */
static void begin_table(sterna_buffer *html)
{
    sterna_buffer_add_text(html, "</svg>\n<details><summary>Numbers</summary><div class=\"wide\">"
                                 "<table><thead><tr>");
}

static void head_cell(sterna_buffer *html, const char *text)
{
    sterna_buffer_add_text(html, "<th scope=\"col\">");
    sterna_html_text(html, text);
    sterna_buffer_add_text(html, "</th>");
}

static void begin_row(sterna_buffer *html, const char *text)
{
    sterna_buffer_add_text(html, "<tr><th scope=\"row\">");
    sterna_html_text(html, text);
    sterna_buffer_add_text(html, "</th>");
}

static void end_figure(sterna_buffer *html)
{
    sterna_buffer_add_text(html, "</tbody></table></div></details></figure>\n");
}

static void label(sterna_buffer *html, double x, double y, const char *anchor, const char *text)
{
    sterna_buffer_format(html, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    sterna_html_text(html, text);
    sterna_buffer_add_text(html, "</text>\n");
}

static void bar(sterna_buffer *html, const char *class, double x, double y, double w, double h,
                const char *about)
{
    sterna_buffer_format(html,
                         "<rect class=\"%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\">"
                         "<title>",
                         class, x, y, w > 0 ? w : 0, h);
    sterna_html_text(html, about);
    sterna_buffer_add_text(html, "</title></rect>\n");
}

static void key(sterna_buffer *html, double x, double y, const char *class, const char *text)
{
    bar(html, class, x, y - 10, 12, 12, text);
    label(html, x + 18, y, "start", text);
}

/* ---- evaluation ---- */

static double perplexity(const json_t *one, const char *member)
{
    return fmax(1, number(one, member)); /* never less; a damaged receipt may say so */
}

void sterna_chart_evaluation(sterna_buffer *html, const json_t *evaluation)
{
    size_t n = json_array_size(evaluation), i;
    if (n == 0) return;
    double least = INFINITY, most = 0;
    json_t *one;
    char text[96];
    json_array_foreach((json_t *)evaluation, i, one)
    {
        double before = perplexity(one, "before"), after = perplexity(one, "after");
        least = fmin(least, fmin(before, after));
        most = fmax(most, fmax(before, after));
    }
    double low = log(least / 1.5), high = log(most), room = WIDTH - LABEL - 70;
    if (!(high > low)) high = low + 1;
    begin_figure(html, "Perplexity",
                 "before and after, lower is better; the bars are logarithmic. KL: how far the "
                 "predictions moved, nats a token.",
                 (int)n * 62 + 34);
    json_array_foreach((json_t *)evaluation, i, one)
    {
        double y = 6 + 62 * (double)i;
        label(html, LABEL - 10, y + 17, "end", text_of(one, "text"));
        snprintf(text, sizeof text, "KL %.3f, %.0f %% alike", number(one, "kl"),
                 100 * number(one, "agreement"));
        sterna_buffer_format(html, "<text class=\"small\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">",
                             LABEL - 10, y + 35);
        sterna_html_text(html, text);
        sterna_buffer_add_text(html, "</text>\n");
        for (int after = 0; after < 2; after++) {
            double value = perplexity(one, after ? "after" : "before");
            double w = room * (log(value) - low) / (high - low);
            snprintf(text, sizeof text, "%.2f", value);
            bar(html, after ? "a" : "b", LABEL, y + 24 * after, w, 20, text);
            label(html, LABEL + w + 8, y + 24 * after + 15, "start", text);
        }
    }
    key(html, LABEL, 62 * (double)n + 22, "b", "before");
    key(html, LABEL + 90, 62 * (double)n + 22, "a", "after");
    begin_table(html);
    head_cell(html, "text");
    const char *const members[] = {"before", "after", "kl", "agreement", "tokens"};
    for (size_t m = 0; m < 5; m++) head_cell(html, members[m]);
    sterna_buffer_add_text(html, "</tr></thead><tbody>\n");
    json_array_foreach((json_t *)evaluation, i, one)
    {
        begin_row(html, text_of(one, "text"));
        for (size_t m = 0; m < 5; m++)
            sterna_buffer_format(html, "<td>%.6g</td>", number(one, members[m]));
        sterna_buffer_add_text(html, "</tr>\n");
    }
    end_figure(html);
}

/* ---- one bar of parts ---- */

typedef struct part {
    const char *name, *class;
    double value;
} part;

static void add_stack(sterna_buffer *html, const part *parts, size_t n, const char *unit,
                      double scale)
{
    double sum = 0, x = 0;
    char text[128];
    for (size_t i = 0; i < n; i++) sum += parts[i].value;
    for (size_t i = 0; i < n && sum > 0; i++) {
        double w = WIDTH * parts[i].value / sum;
        snprintf(text, sizeof text, "%s: %.3g %s, %.1f %%", parts[i].name, parts[i].value * scale,
                 unit, 100 * parts[i].value / sum);
        bar(html, parts[i].class, x, 0, w - 1, 34, text);
        x += w;
    }
    for (size_t i = 0; i < n && sum > 0; i++) {
        snprintf(text, sizeof text, "%s %.1f %%", parts[i].name, 100 * parts[i].value / sum);
        key(html, (double)(i % 4) * (WIDTH / 4.0), 56 + 22 * (double)(i / 4), parts[i].class, text);
    }
    begin_table(html);
    head_cell(html, "part");
    head_cell(html, unit);
    head_cell(html, "share");
    sterna_buffer_add_text(html, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < n; i++) {
        begin_row(html, parts[i].name);
        sterna_buffer_format(html, "<td>%.4f</td><td>%.2f %%</td></tr>\n", parts[i].value * scale,
                             sum > 0 ? 100 * parts[i].value / sum : 0);
    }
    end_figure(html);
}

void sterna_chart_bytes(sterna_buffer *html, const json_t *bytes)
{
    const part parts[] = {{"ternary codes", "s0", number(bytes, "code_bytes")},
                          {"scales", "s1", number(bytes, "scale_bytes")},
                          {"kept tensors", "s2", number(bytes, "kept_bytes")},
                          {"metadata", "s3", number(bytes, "metadata_bytes")}};
    if (!bytes) return;
    begin_figure(html, "What the bytes are", "of the whole file, tokenizer and padding included.",
                 66);
    add_stack(html, parts, 4, "MB", 1e-6);
}

void sterna_chart_stages(sterna_buffer *html, const json_t *stages)
{
    static const char *const classes[] = {"s0", "s1", "s2", "s3"};
    part parts[16];
    size_t n = 0, i;
    json_t *one;
    json_array_foreach((json_t *)stages, i, one)
    {
        if (n == sizeof parts / sizeof *parts) break;
        parts[n] = (part){text_of(one, "stage"), classes[n % 4], number(one, "time_s")};
        n++;
    }
    if (n == 0) return;
    begin_figure(html, "Where the time went", "", 66 + 22 * (int)((n - 1) / 4));
    add_stack(html, parts, n, "s", 1);
}

/* ---- layers ---- */

/* "blk.12.attn_q.weight" or "model.layers.12.x": the number, and what stands behind it. */
static bool split_name(const char *name, long *layer, const char **kind)
{
    for (const char *at = name; (at = strchr(at, '.')); at++) {
        char *end;
        if (at[1] < '0' || at[1] > '9') continue;
        *layer = strtol(at + 1, &end, 10);
        if (*end != '.' || *layer >= MAX_LAYERS) continue;
        *kind = end + 1;
        return true;
    }
    return false;
}

/* The kind without ".weight". */
static void short_kind(const char *kind, char *out, size_t size)
{
    snprintf(out, size, "%s", kind);
    size_t length = strlen(out);
    if (length > 7 && strcmp(out + length - 7, ".weight") == 0) out[length - 7] = '\0';
}

static bool is_matrix(const json_t *tensor)
{
    return json_array_size(json_object_get(tensor, "shape")) > 1;
}

/* The kinds of matrix that have a member, in first-seen order; and how many layers there are. */
typedef struct grid {
    const char *kinds[MAX_KINDS];
    size_t n_kinds;
    long n_layers;
    double least, most;
} grid;

static bool survey(const json_t *tensors, const char *member, grid *g)
{
    size_t i;
    json_t *tensor;
    *g = (grid){.least = INFINITY, .most = -INFINITY};
    json_array_foreach((json_t *)tensors, i, tensor)
    {
        const json_t *value = json_object_get(tensor, member);
        const char *kind;
        long layer;
        size_t k = 0;
        if (!json_is_number(value) || !is_matrix(tensor) ||
            !split_name(text_of(tensor, "name"), &layer, &kind))
            continue;
        while (k < g->n_kinds && strcmp(g->kinds[k], kind) != 0) k++;
        if (k == MAX_KINDS) continue;
        if (k == g->n_kinds) g->kinds[g->n_kinds++] = kind;
        if (layer >= g->n_layers) g->n_layers = layer + 1;
        g->least = fmin(g->least, json_number_value(value));
        g->most = fmax(g->most, json_number_value(value));
    }
    return g->n_kinds > 0;
}

static size_t kind_index(const grid *g, const char *kind)
{
    size_t k = 0;
    while (k < g->n_kinds && strcmp(g->kinds[k], kind) != 0) k++;
    return k;
}

static void map_cells(sterna_buffer *html, const json_t *tensors, const char *member, const grid *g,
                      double cell, double height)
{
    size_t i;
    json_t *tensor;
    char text[320];
    json_array_foreach((json_t *)tensors, i, tensor)
    {
        const json_t *value = json_object_get(tensor, member);
        const char *kind;
        long layer;
        if (!json_is_number(value) || !split_name(text_of(tensor, "name"), &layer, &kind)) continue;
        size_t k = kind_index(g, kind);
        if (k == g->n_kinds) continue;
        double v = json_number_value(value), span = g->most - g->least;
        snprintf(text, sizeof text, "%s: %.4g", text_of(tensor, "name"), v);
        sterna_buffer_format(html,
                             "<rect class=\"m\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" "
                             "height=\"%.1f\" fill-opacity=\"%.3f\"><title>",
                             LABEL + cell * (double)layer, height * (double)k, cell - 1, height - 2,
                             0.08 + 0.92 * (span > 0 ? (v - g->least) / span : 0.5));
        sterna_html_text(html, text);
        sterna_buffer_add_text(html, "</title></rect>\n");
    }
}

static void map_table(sterna_buffer *html, const json_t *tensors, const char *member)
{
    size_t i;
    json_t *tensor;
    begin_table(html);
    head_cell(html, "tensor");
    head_cell(html, member);
    sterna_buffer_add_text(html, "</tr></thead><tbody>\n");
    json_array_foreach((json_t *)tensors, i, tensor)
    {
        const json_t *value = json_object_get(tensor, member);
        if (!json_is_number(value) || !is_matrix(tensor)) continue;
        begin_row(html, text_of(tensor, "name"));
        sterna_buffer_format(html, "<td>%.5g</td></tr>\n", json_number_value(value));
    }
    end_figure(html);
}

/* Numbers under the columns, every first, fifth, tenth, ... layer, as room allows. */
static void layer_axis(sterna_buffer *html, long n_layers, double cell, double y)
{
    char text[24];
    long step = cell * 5 > 26 ? 5 : cell * 10 > 26 ? 10 : cell * 20 > 26 ? 20 : 100;
    for (long l = 0; l < n_layers; l += step) {
        snprintf(text, sizeof text, "%ld", l);
        label(html, LABEL + cell * ((double)l + 0.5), y, "middle", text);
    }
    label(html, LABEL - 10, y, "end", "layer");
}

void sterna_chart_map(sterna_buffer *html, const json_t *tensors, const char *member,
                      const char *title, const char *about)
{
    grid g;
    char text[96];
    if (!survey(tensors, member, &g)) return;
    double cell = (WIDTH - LABEL) / (double)g.n_layers, height = 22;
    if (cell > 44) cell = 44;
    begin_figure(html, title, about, (int)(height * (double)g.n_kinds) + 52);
    for (size_t k = 0; k < g.n_kinds; k++) {
        short_kind(g.kinds[k], text, sizeof text);
        label(html, LABEL - 10, height * (double)k + 15, "end", text);
    }
    map_cells(html, tensors, member, &g, cell, height);
    double y = height * (double)g.n_kinds + 15;
    layer_axis(html, g.n_layers, cell, y);
    for (int i = 0; i < 5; i++)
        sterna_buffer_format(html,
                             "<rect class=\"m\" x=\"%d\" y=\"%.1f\" width=\"24\" height=\"10\" "
                             "fill-opacity=\"%.3f\"/>\n",
                             LABEL + 70 + 25 * i, y + 14, 0.08 + 0.23 * i);
    snprintf(text, sizeof text, "%.4g", g.least);
    label(html, LABEL + 62, y + 24, "end", text);
    snprintf(text, sizeof text, "%.4g", g.most);
    label(html, LABEL + 204, y + 24, "start", text);
    map_table(html, tensors, member);
}

/* ---- codes ---- */

typedef struct trits {
    double minus, zero, plus;
} trits;

static void add_trits(trits *sum, const json_t *tensor)
{
    size_t i;
    json_t *dim;
    double weights = 1;
    json_array_foreach(json_object_get(tensor, "shape"), i, dim) weights *= json_number_value(dim);
    sum->minus += weights * number(tensor, "minus");
    sum->zero += weights * number(tensor, "zeros");
    sum->plus += weights * number(tensor, "plus");
}

/* A column of a layer, or the row of a table where `row` is its name. */
static void show_trits(sterna_buffer *html, const trits *t, const char *row, double x, double w)
{
    static const char *const classes[] = {"t0", "t1", "t2"};
    static const char *const names[] = {"-1", "0", "+1"};
    double shares[] = {t->minus, t->zero, t->plus}, sum = t->minus + t->zero + t->plus, y = 0;
    char text[96];
    if (!(sum > 0)) return;
    if (row) {
        begin_row(html, row);
        for (int i = 0; i < 3; i++)
            sterna_buffer_format(html, "<td>%.2f %%</td>", 100 * shares[i] / sum);
        sterna_buffer_add_text(html, "</tr>\n");
        return;
    }
    for (int i = 0; i < 3; i++) {
        double h = 120 * shares[i] / sum;
        snprintf(text, sizeof text, "%s: %.2f %%", names[i], 100 * shares[i] / sum);
        bar(html, classes[i], x, y, w, h, text);
        y += h;
    }
}

/* The sum of the ternary tensors of a layer; -1 = of all. */
static trits sum_layer(const json_t *tensors, long wanted)
{
    trits sum = {0};
    size_t i;
    json_t *tensor;
    json_array_foreach((json_t *)tensors, i, tensor)
    {
        long layer;
        const char *kind;
        if (wanted < 0 || (split_name(text_of(tensor, "name"), &layer, &kind) && layer == wanted))
            add_trits(&sum, tensor);
    }
    return sum;
}

void sterna_chart_codes(sterna_buffer *html, const json_t *tensors)
{
    grid g;
    if (!survey(tensors, "zeros", &g)) return;
    double cell = (WIDTH - LABEL) / (double)g.n_layers;
    if (cell > 44) cell = 44;
    begin_figure(html, "Codes", "shares of -1, 0 and +1 in the whole and in each layer.", 186);
    trits all = sum_layer(tensors, -1);
    show_trits(html, &all, NULL, 40, 70);
    label(html, 75, 136, "middle", "all");
    for (long l = 0; l < g.n_layers; l++) {
        trits sum = sum_layer(tensors, l);
        show_trits(html, &sum, NULL, LABEL + cell * (double)l, cell - 1);
    }
    layer_axis(html, g.n_layers, cell, 136);
    key(html, LABEL, 170, "t0", "-1");
    key(html, LABEL + 60, 170, "t1", "0");
    key(html, LABEL + 120, 170, "t2", "+1");
    begin_table(html);
    head_cell(html, "layer");
    head_cell(html, "-1");
    head_cell(html, "0");
    head_cell(html, "+1");
    sterna_buffer_add_text(html, "</tr></thead><tbody>\n");
    show_trits(html, &all, "all", 0, 0);
    for (long l = 0; l < g.n_layers; l++) {
        char text[24];
        trits sum = sum_layer(tensors, l);
        snprintf(text, sizeof text, "%ld", l);
        show_trits(html, &sum, text, 0, 0);
    }
    end_figure(html);
}
