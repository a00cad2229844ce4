/* The receipt as a page: the figures that matter, charts, then everything. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "quant/receipt.h"
#include "quant/receipt_charts.h"

static const char style[] =
    ":root{color-scheme:light dark;--ground:#fbfaf7;--card:#fff;--ink:#1d2433;--dim:#5d6677;"
    "--line:#dcd9d0;--before:#9aa5b8;--after:#c2571a;--s0:#1f6f8b;--s1:#e0a030;--s2:#7d8aa3;"
    "--s3:#b9b2a3;--t0:#1f6f8b;--t1:#d9d5c9;--t2:#c2571a}\n"
    "@media(prefers-color-scheme:dark){:root{--ground:#14171d;--card:#1c2029;--ink:#e8e6e0;"
    "--dim:#9aa3b2;--line:#343a46;--before:#66738a;--after:#f0854a;--s0:#4aa6c4;--s1:#e8b455;"
    "--s2:#76839b;--s3:#575248;--t0:#4aa6c4;--t1:#3a4150;--t2:#f0854a}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);"
    "font:16px/1.5 system-ui,sans-serif}main{max-width:800px;margin:0 auto;padding:32px 20px 64px}"
    "h1{font-size:1.7rem;line-height:1.2;margin:0;overflow-wrap:anywhere}h2{margin:40px 0 12px;"
    "font-size:1.15rem}p{margin:6px 0;color:var(--dim)}\n"
    ".figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(215px,1fr));gap:12px;"
    "margin:24px 0}.figures div{background:var(--card);border:1px solid var(--line);"
    "border-radius:10px;padding:14px 16px}.figures b{display:block;font-size:1.6rem;"
    "line-height:1.2;font-variant-numeric:tabular-nums}.figures span{color:var(--dim);"
    "font-size:.86rem}\n"
    "figure{margin:0 0 16px;background:var(--card);border:1px solid var(--line);"
    "border-radius:10px;padding:16px}figcaption{margin-bottom:12px;color:var(--dim);"
    "font-size:.9rem}figcaption b{color:var(--ink);font-size:1rem}svg{display:block;width:100%;"
    "height:auto}text{font:13px system-ui,sans-serif;fill:var(--ink)}.small{font-size:11px;"
    "fill:var(--dim)}.b{fill:var(--before)}.a,.m{fill:var(--after)}.s0{fill:var(--s0)}"
    ".s1{fill:var(--s1)}.s2{fill:var(--s2)}.s3{fill:var(--s3)}.t0{fill:var(--t0)}"
    ".t1{fill:var(--t1)}.t2{fill:var(--t2)}\n"
    "details{margin-top:10px;font-size:.9rem}summary{cursor:pointer;color:var(--dim)}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;margin-top:8px;font-size:.85rem;"
    "font-variant-numeric:tabular-nums}th,td{padding:3px 12px 3px 0;text-align:right;"
    "border-bottom:1px solid var(--line);white-space:nowrap}th[scope=row],th:first-child{"
    "text-align:left;font-weight:500}.facts td{text-align:left;white-space:normal;"
    "overflow-wrap:anywhere}"
    "@media print{details{display:none}}";

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* ---- the figures on top ---- */

static void figure(sterna_buffer *html, const char *value, const char *about)
{
    sterna_buffer_add_text(html, "<div><b>");
    sterna_html_text(html, value);
    sterna_buffer_add_text(html, "</b><span>");
    sterna_html_text(html, about);
    sterna_buffer_add_text(html, "</span></div>\n");
}

static void size_text(double bytes, char *text, size_t size)
{
    snprintf(text, size, bytes >= 1e9 ? "%.2f GB" : "%.1f MB",
             bytes * (bytes >= 1e9 ? 1e-9 : 1e-6));
}

static void time_text(double seconds, char *text, size_t size)
{
    if (seconds < 100)
        snprintf(text, size, "%.1f s", seconds);
    else if (seconds < 5400)
        snprintf(text, size, "%.0f min", seconds / 60);
    else
        snprintf(text, size, "%.1f h", seconds / 3600);
}

static void add_perplexity(sterna_buffer *html, const json_t *receipt)
{
    const json_t *all = json_object_get(receipt, "evaluation");
    double before = 0, after = 0, n = (double)json_array_size(all);
    size_t i;
    json_t *one;
    char value[64];
    if (n == 0) return;
    json_array_foreach((json_t *)all, i, one)
    {
        before += log(fmax(1, number(one, "before"))) / n;
        after += log(fmax(1, number(one, "after"))) / n;
    }
    snprintf(value, sizeof value, "%.2f \xc3\x97", exp(after - before));
    figure(html, value, "the perplexity of the source (geometric mean of the texts)");
}

static void add_figures(sterna_buffer *html, const json_t *receipt)
{
    char value[64], from[32], about[128];
    sterna_buffer_add_text(html, "<div class=\"figures\">\n");
    if (json_is_number(json_object_get(receipt, "ternary_bits_per_weight"))) {
        snprintf(value, sizeof value, "%.3f bits", number(receipt, "ternary_bits_per_weight"));
        snprintf(about, sizeof about, "a weight in the ternary part, %.1f million weights",
                 1e-6 * number(receipt, "ternary_parameters"));
        figure(html, value, about);
    }
    snprintf(value, sizeof value, "%.3f bits", number(receipt, "bits_per_weight"));
    snprintf(about, sizeof about, "a weight in the whole file, %.1f million weights",
             1e-6 * number(receipt, "parameters"));
    figure(html, value, about);
    size_text(number(receipt, "output_bytes"), value, sizeof value);
    size_text(number(receipt, "input_bytes"), from, sizeof from);
    snprintf(about, sizeof about, "from %s", from);
    figure(html, value, about);
    add_perplexity(html, receipt);
    time_text(number(receipt, "time_s"), value, sizeof value);
    size_text(number(receipt, "peak_bytes"), from, sizeof from);
    snprintf(about, sizeof about, "with at most %s of memory", from);
    if (json_object_get(receipt, "time_s")) figure(html, value, about);
    sterna_buffer_add_text(html, "</div>\n");
}

/* ---- tables ---- */

/* "time_s" to "time, s", "peak_bytes" to "peak, bytes", "bits_per_weight" to "bits per weight". */
static void add_name(sterna_buffer *html, const char *name)
{
    size_t size = strlen(name);
    const char *unit = strrchr(name, '_');
    bool has_unit = unit && (strcmp(unit, "_s") == 0 || strcmp(unit, "_bytes") == 0);
    for (size_t i = 0; i < size; i++) {
        if (has_unit && name + i == unit) {
            sterna_buffer_add_text(html, ", ");
            continue;
        }
        char text[2] = {name[i] == '_' ? ' ' : name[i], '\0'};
        sterna_html_text(html, text);
    }
}

/* With narrow spaces between groups of three digits. */
static void add_integer(sterna_buffer *html, long long value)
{
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%lld", value);
    for (int i = 0; i < size; i++) {
        if (i && digits[i - 1] != '-' && (size - i) % 3 == 0)
            sterna_buffer_add_text(html, "\xe2\x80\xaf");
        sterna_buffer_add_char(html, digits[i]);
    }
}

static void add_value(sterna_buffer *html, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING: sterna_html_text(html, json_string_value(value)); break;
    case JSON_INTEGER: add_integer(html, json_integer_value(value)); break;
    case JSON_REAL: sterna_buffer_format(html, "%.6g", json_real_value(value)); break;
    case JSON_TRUE: sterna_buffer_add_text(html, "yes"); break;
    case JSON_FALSE: sterna_buffer_add_text(html, "no"); break;
    case JSON_ARRAY:
        for (size_t i = 0; i < json_array_size(value); i++) {
            if (i) sterna_buffer_add_text(html, " \xc3\x97 ");
            add_value(html, json_array_get(value, i));
        }
        break;
    default: break;
    }
}

/* The plain members of an object, one a row. */
static void add_facts(sterna_buffer *html, const char *title, const json_t *object)
{
    const char *name;
    json_t *value;
    if (!json_object_size(object)) return;
    sterna_buffer_add_text(html, "<h2>");
    sterna_html_text(html, title);
    sterna_buffer_add_text(html, "</h2><table class=\"facts\"><tbody>\n");
    json_object_foreach((json_t *)object, name, value)
    {
        if (json_is_object(value) || json_is_array(value)) continue;
        sterna_buffer_add_text(html, "<tr><th scope=\"row\">");
        add_name(html, name);
        sterna_buffer_add_text(html, "</th><td>");
        add_value(html, value);
        sterna_buffer_add_text(html, "</td></tr>\n");
    }
    sterna_buffer_add_text(html, "</tbody></table>\n");
}

static void add_tensors(sterna_buffer *html, const json_t *tensors)
{
    static const char *const columns[] = {"name",  "shape",          "from",        "to",
                                          "bits",  "relative_error", "error_share", "minus",
                                          "zeros", "plus",           "sensitivity", "note"};
    enum { COLUMNS = sizeof columns / sizeof *columns };
    size_t i;
    json_t *tensor;
    sterna_buffer_format(html,
                         "<h2>Tensors</h2><details><summary>All %zu</summary>"
                         "<div class=\"wide\"><table><thead><tr>",
                         json_array_size(tensors));
    for (size_t c = 0; c < COLUMNS; c++) {
        sterna_buffer_add_text(html, "<th scope=\"col\">");
        add_name(html, columns[c]);
        sterna_buffer_add_text(html, "</th>");
    }
    sterna_buffer_add_text(html, "</tr></thead><tbody>\n");
    json_array_foreach((json_t *)tensors, i, tensor)
    {
        sterna_buffer_add_text(html, "<tr>");
        for (size_t c = 0; c < COLUMNS; c++) {
            const json_t *value = json_object_get(tensor, columns[c]);
            sterna_buffer_add_text(html, c ? "<td>" : "<th scope=\"row\">");
            if (value) add_value(html, value);
            sterna_buffer_add_text(html, c ? "</td>" : "</th>");
        }
        sterna_buffer_add_text(html, "</tr>\n");
    }
    sterna_buffer_add_text(html, "</tbody></table></div></details>\n");
}

void sterna_receipt_html(const json_t *receipt, sterna_buffer *html)
{
    const json_t *tensors = json_object_get(receipt, "tensors");
    const char *name = sterna_path_name(text_of(receipt, "output"));
    sterna_buffer_add_text(html,
                           "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                           "<meta name=\"viewport\" content=\"width=device-width\">\n<title>");
    sterna_html_text(html, name);
    sterna_buffer_add_text(html, ": receipt</title>\n<style>");
    sterna_buffer_add_text(html, style);
    sterna_buffer_add_text(html, "</style></head><body><main>\n<h1>");
    sterna_html_text(html, name);
    sterna_buffer_add_text(html, "</h1>\n<p>made ternary from ");
    sterna_html_text(html, sterna_path_name(text_of(receipt, "input")));
    sterna_buffer_add_text(html, " by sterna ");
    sterna_html_text(html, text_of(receipt, "version"));
    sterna_buffer_add_text(html, ", method ");
    sterna_html_text(html, text_of(json_object_get(receipt, "settings"), "method"));
    sterna_buffer_add_text(html, "</p>\n");
    add_figures(html, receipt);
    if (json_object_get(receipt, "evaluation_note")) {
        sterna_buffer_add_text(html, "<p>Not evaluated: ");
        sterna_html_text(html, text_of(receipt, "evaluation_note"));
        sterna_buffer_add_text(html, "</p>\n");
    }
    sterna_chart_evaluation(html, json_object_get(receipt, "evaluation"));
    sterna_chart_map(html, tensors, "relative_error", "Relative error",
                     "of each matrix: the calibrated method measures it in its outputs, the "
                     "others in the weights.");
    sterna_chart_map(html, tensors, "error_share", "Share of the error",
                     "that each matrix has in the error of all.");
    sterna_chart_map(html, tensors, "sensitivity", "Sensitivity",
                     "of the model to each matrix: the divergence (KL) when it alone is ternary.");
    sterna_chart_codes(html, tensors);
    sterna_chart_map(html, tensors, "bits", "Bits a weight", "of each matrix.");
    sterna_chart_bytes(html, json_object_get(receipt, "bytes"));
    sterna_chart_stages(html, json_object_get(receipt, "stages"));
    add_facts(html, "Settings", json_object_get(receipt, "settings"));
    add_facts(html, "Calibration", json_object_get(receipt, "calibration"));
    add_facts(html, "Everything else", receipt);
    add_tensors(html, tensors);
    sterna_buffer_add_text(html, "</main></body></html>\n");
}
