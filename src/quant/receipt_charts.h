/* The charts of a receipt: inline SVG in the page's own colours (classes, so that light and dark
 * schemes both work), each with the table of its numbers behind it. Internal to the receipt. */
#ifndef STERNA_QUANT_RECEIPT_CHARTS_H
#define STERNA_QUANT_RECEIPT_CHARTS_H

#include <jansson.h>

#include "base/buffer.h"

/* Text with <, >, & and quotes escaped. NULL adds nothing. */
void sterna_html_text(sterna_buffer *html, const char *text);

/* Perplexity of each text before and after, on a logarithmic axis. */
void sterna_chart_evaluation(sterna_buffer *html, const json_t *evaluation);
/* What the bytes of the file are. */
void sterna_chart_bytes(sterna_buffer *html, const json_t *bytes);
/* How long each stage took. */
void sterna_chart_stages(sterna_buffer *html, const json_t *stages);
/* Shares of -1, 0, +1: of the whole, and of each layer. */
void sterna_chart_codes(sterna_buffer *html, const json_t *tensors);
/* A member of the tensors as a map: kinds of matrix downwards, layers across, darker where it is
 * larger. Nothing when no matrix of a numbered layer has it. */
void sterna_chart_map(sterna_buffer *html, const json_t *tensors, const char *member,
                      const char *title, const char *about);

#endif
