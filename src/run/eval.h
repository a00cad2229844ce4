/* Measuring: perplexity, divergence from another model, multiple choice, LAMBADA; and speed. */
#ifndef STERNA_RUN_EVAL_H
#define STERNA_RUN_EVAL_H

#include "run/session.h"

sterna_status sterna_run_perplexity(sterna_model *model, sterna_model *other, const char *text,
                                    size_t size, const sterna_eval_options *options,
                                    sterna_perplexity_result *result, sterna_error *err);
sterna_status sterna_run_tasks(sterna_model *model, const char *path,
                               const sterna_eval_options *options, sterna_task_result *result,
                               sterna_error *err);
/* *json: the object that sterna_bench describes. Release with sterna_free. */
sterna_status sterna_run_bench(sterna_model *model, const sterna_bench_options *options,
                               char **json, sterna_error *err);
/* Any object as text; NULL stands for one that memory was missing for. */
sterna_status sterna_run_json_text(const json_t *json, char **out, sterna_error *err);
/* The object that sterna_shapes describes. */
sterna_status sterna_run_shapes(char **json, sterna_error *err);
/* The object that sterna_model_report describes. */
sterna_status sterna_run_report(const sterna_model *model, char **json, sterna_error *err);

#endif
