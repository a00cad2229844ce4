#include "quant/quantize.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "formats/fingerprint.h"
#include "quant/calibrated.h"
#include "quant/evaluate.h"
#include "quant/fold.h"
#include "quant/plan.h"
#include "quant/predict.h"
#include "quant/ranks.h"
#include "quant/receipt.h"
#include "quant/recipe.h"
#include "quant/sensitivity.h"

/* One call. */
typedef struct job {
    const char *in, *out;
    const sterna_quantize_options *options;
    sterna_settings settings;
    sterna_facts facts;
    sterna_model_file *source;
    sterna_model_file *file; /* the source, or what it was folded into */
    sterna_type *from;       /* [tensors of a folded file]: their types in the source */
    sterna_stream stream;
    sterna_export plan;
    sterna_journal *journal; /* of a calibrated run */
    sterna_prediction prediction;
    json_t *receipt;
} job;

/* What the file is made of, for whoever opens it later. */
static sterna_status write_origin(sterna_model_writer *writer, const sterna_settings *s,
                                  sterna_error *err)
{
    const char *const facts[][2] = {{"sterna.version", sterna_version()},
                                    {"sterna.quantize.method", sterna_settings_method(s)},
                                    {"sterna.quantize.scales", sterna_settings_scales(s)}};
    sterna_status status = STERNA_OK;
    for (size_t i = 0; i < sizeof facts / sizeof *facts && !status; i++)
        status = sterna_model_writer_meta_string(writer, facts[i][0], facts[i][1],
                                                 strlen(facts[i][1]), err);
    return status;
}

/* ---- making the model ---- */

static void tell(const job *j, const char *sentence)
{
    if (j->options->notice) j->options->notice(j->options->progress_context, sentence);
}

static sterna_status open_journal(job *j, sterna_error *err)
{
    if (sterna_ranks() > 1) {
        if (!j->options->resume) return STERNA_OK;
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "quantize: several processes keep no journal, so there is nothing to "
                           "resume");
    }
    uint8_t identity[STERNA_DIGEST_BYTES];
    sterna_status status = sterna_calibrated_identity(j->file, &j->settings, identity, err);
    if (status) return status;
    if (j->options->resume) {
        status = sterna_journal_resume(j->out, identity, &j->journal, err);
        if (!status) j->facts.resumed = sterna_journal_layers(j->journal);
        return status;
    }
    if (sterna_journal_exists(j->out))
        tell(j, "an interrupted run was found beside the output; this run starts anew and takes "
                "its place (--resume would have gone on with it)");
    return sterna_journal_start(j->out, identity, &j->journal, err);
}

/* Tuning that nobody asked for is left out where it has no room. */
static sterna_status fit_tuning(job *j, sterna_workload *work, double available, sterna_error *err)
{
    char sentence[200];
    sterna_tune_settings *tuning = &j->settings.tuning;
    if (j->prediction.tuning_bytes <= available) return STERNA_OK;
    if (tuning->wanted)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "quantize: tuning needs about %.2f GB of memory, and %.2f GB are free; "
                           "--tune 0 leaves it out",
                           1e-9 * j->prediction.tuning_bytes, available * 1e-9);
    snprintf(sentence, sizeof sentence,
             "tuning is left out: it needs about %.2f GB of memory, and %.2f GB are free",
             1e-9 * j->prediction.tuning_bytes, available * 1e-9);
    tell(j, sentence);
    j->facts.tuning.skipped = "it would have taken more memory than was free";
    j->facts.tuning.tokens = tuning->tokens;
    j->facts.tuning.predicted = j->prediction.tuning_s;
    tuning->tokens = 0;
    work->tune_tokens = 0;
    j->prediction = sterna_predict(work);
    return STERNA_OK;
}

/* A model that does not fit into memory as a whole is calibrated with text alone: layers are taken
 * from the file one at a time. */
static void fit_text(job *j, sterna_workload *work, double available)
{
    char sentence[200];
    bool alone = j->prediction.text_bytes > available;
    sterna_ranks_share(&alone, sizeof alone); /* the first one's memory decides */
    if (!alone) return;
    snprintf(sentence, sizeof sentence,
             "calibrating with text alone: for windows of its own the model would need about %.2f "
             "GB of memory, and %.2f GB are free",
             1e-9 * j->prediction.text_bytes, available * 1e-9);
    tell(j, sentence);
    j->settings.calibration.text_only = work->text_only = true;
    j->prediction = sterna_predict(work);
}

/* Where bits go is measured on the whole model. Where that has no memory, or no bits are left, they
 * go everywhere alike, unless somebody has asked. */
static sterna_status fit_bits(job *j, sterna_workload *work, double available, sterna_error *err)
{
    sterna_settings *s = &j->settings;
    double needed = j->prediction.sensitivity_bytes;
    bool room = sterna_trit_bits(j->plan.items, j->plan.count) < s->bits;
    bool memory = !work->text_only && needed <= available;
    sterna_ranks_share(&memory, sizeof memory);
    if (s->bits == 0 || (room && memory)) return STERNA_OK;
    if (!s->bits_usual && !memory)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "quantize: measuring where bits go needs about %.2f GB of memory, and "
                           "%.2f GB are free; leave out --bits",
                           1e-9 * needed, available * 1e-9);
    if (!s->bits_usual) return STERNA_OK; /* what is wrong is told where they are spent */
    if (!memory)
        tell(j, "every matrix gets the same bits: there is no memory to measure which need more");
    sterna_plan_plain(&j->plan, s);
    work->sensitivities = false;
    j->prediction = sterna_predict(work);
    return STERNA_OK;
}

/* What it will take, to whoever listens; refused when that is not there. */
static sterna_status predict(job *j, sterna_error *err)
{
    char amount[200], sentence[240];
    sterna_error late = {0};
    sterna_workload work = {0};
    double available = sterna_available_memory();
    sterna_status status =
        sterna_workload_of(j->source, &j->settings, j->plan.items, j->plan.count, &work, &late);
    if (!status) {
        if (!j->options->no_evaluation)
            work.evaluation_tokens = sterna_evaluation_tokens(j->options->evaluation_count);
        j->prediction = sterna_predict(&work);
        fit_text(j, &work, available);
        status = fit_bits(j, &work, available, &late);
        if (!status) status = fit_tuning(j, &work, available, &late);
    }
    sterna_workload_free(&work);
    if (status == STERNA_ERROR_UNSUPPORTED) return STERNA_OK; /* told where the model is loaded */
    if (status) return sterna_fail(err, status, "%s", late.message);
    sterna_prediction_text(&j->prediction, amount, sizeof amount);
    snprintf(sentence, sizeof sentence, "this will take %s", amount);
    tell(j, sentence);
    return sterna_prediction_check(&j->prediction, available, err);
}

static sterna_status fit(job *j, sterna_error *err)
{
    sterna_settings *s = &j->settings;
    sterna_status status = STERNA_OK;
    if (!s->calibrated && j->options->resume)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "quantize: only the method sterna can be resumed; the others take "
                           "seconds");
    if (!s->calibrated) return STERNA_OK;
    status = open_journal(j, err);
    s->propagation.journal = j->journal;
    if (!status) status = predict(j, err);
    if (status) return status;
    return sterna_calibrated(j->file, j->in, s, &j->plan, j->stream.writer, &j->facts, err);
}

/* A recipe takes the same again, whatever the time allows then. */
static void settle_tuning(job *j)
{
    sterna_tune_settings *tuning = &j->settings.tuning;
    const sterna_tuned *done = &j->facts.tuning;
    if (tuning->tokens == 0 || tuning->wanted) return;
    tuning->tokens = done->skipped ? 0 : done->chosen;
    tuning->wanted = tuning->tokens > 0;
}

static sterna_status make_model(job *j, sterna_error *err)
{
    sterna_stream *stream = &j->stream;
    sterna_export *plan = &j->plan;
    bool folder = j->settings.folder;
    sterna_status status = sterna_export_open(j->file, folder ? STERNA_HF : STERNA_GGUF, false,
                                              stream->writer, plan, err);
    for (size_t i = 0; j->from && !status && i < plan->count; i++)
        plan->items[i].from = j->from[i]; /* a file's tensors are listed in its order */
    if (!status) status = sterna_plan(j->in, plan, &j->settings, err);
    if (!status) status = fit(j, err);
    if (sterna_rank() > 0) return status; /* the first one has all of it */
    if (!status) status = write_origin(stream->writer, &j->settings, err);
    if (!status && !folder)
        status = sterna_export_file_type(stream->writer, plan->items, plan->count, err);
    if (!status) status = sterna_model_writer_side_files(stream->writer, j->file, err);
    if (status) return status;
    stream->method = j->settings.method;
    status = sterna_stream_write(stream, plan->items, plan->count, err);
    if (!status) {
        status = sterna_model_writer_commit(stream->writer, err);
        stream->writer = NULL;
    }
    sterna_facts_stage(&j->facts, "writing");
    sterna_journal_close(j->journal, !status);
    j->journal = NULL;
    if (!status &&
        !(j->receipt = sterna_receipt_make(j->in, j->out, j->source, plan->items, plan->count,
                                           sterna_settings_describe(&j->settings))))
        status = sterna_fail_memory(err, "the receipt");
    settle_tuning(j);
    if (!status && json_object_set_new(j->receipt, "recipe",
                                       sterna_recipe_make(&j->settings, plan->items, plan->count)))
        status = sterna_fail_memory(err, "the receipt");
    return status;
}

/* A folded model lies beside the output and has no name once it is open, so that it goes with this
 * process. */
static sterna_status fold(job *j, sterna_error *err)
{
    sterna_settings *s = &j->settings;
    char end[40];
    const sterna_folding folding = {s->threads, j->options->progress, j->options->progress_context};
    j->file = j->source;
    bool wanted = s->portable && s->calibrated && s->propagation.fitter->chases;
    if (!wanted || s->folder || s->keep_type == STERNA_KEEP_SOURCE) return STERNA_OK;
    sterna_status status = sterna_fold_possible(j->source, &s->folds, err);
    if (status || !s->folds) return status;
    snprintf(end, sizeof end, ".folded-%d.gguf", (int)sterna_rank());
    char *path = sterna_path_beside(j->out, end);
    if (!path) return sterna_fail_memory(err, "the name of a folded model");
    status = sterna_fold_model(j->source, path, s->folds, &folding, &j->from, err);
    if (!status) {
        status = sterna_model_file_open(path, NULL, &j->file, err);
        unlink(path);
    }
    sterna_facts_stage(&j->facts, "folding");
    sterna_free(path);
    return status;
}

static sterna_status run(job *j, sterna_error *err)
{
    const sterna_quantize_options *options = j->options;
    sterna_status status = sterna_model_file_open(j->in, NULL, &j->source, err);
    if (!status) status = sterna_model_writer_open(j->out, &j->stream.writer, err);
    if (!status) status = fold(j, err);
    j->stream.file = j->file;
    j->stream.threads = j->settings.threads;
    j->stream.progress = options->progress;
    j->stream.progress_context = options->progress_context;
    if (!status) status = make_model(j, err);
    sterna_journal_close(j->journal, false);
    sterna_model_writer_abort(j->stream.writer);
    sterna_export_close(&j->plan);
    if (j->file != j->source) sterna_model_file_close(j->file);
    sterna_model_file_close(j->source);
    sterna_free(j->from);
    return status;
}

/* ---- the receipt ---- */

/* The model is complete: what keeps its evaluation from being made becomes a sentence in the
 * receipt. A cancellation ends the evaluation and is told after the receipt was written. */
static sterna_status evaluate(const job *j, sterna_error *err)
{
    const sterna_quantize_options *options = j->options;
    const sterna_evaluation_options evaluation = {.paths = options->evaluation,
                                                  .count = options->evaluation_count,
                                                  .threads = j->settings.threads,
                                                  .progress = options->progress,
                                                  .progress_context = options->progress_context};
    json_t *results = NULL;
    sterna_error why = {0};
    double needed = j->prediction.evaluation_bytes, available = sterna_available_memory();
    sterna_status status;
    if (needed > available)
        status =
            sterna_fail(&why, STERNA_ERROR_LIMIT,
                        "not evaluated: running both models takes about %.2f GB of memory, and "
                        "%.2f GB are free",
                        1e-9 * needed, available * 1e-9);
    else
        status = sterna_evaluate(j->in, j->out, &evaluation, &results, &why);
    int failed = status
                     ? json_object_set_new(j->receipt, "evaluation_note", json_string(why.message))
                     : json_object_set_new(j->receipt, "evaluation", results);
    if (failed) return sterna_fail_memory(err, "the receipt");
    if (status == STERNA_ERROR_CANCELLED)
        return sterna_fail(err, status, "the evaluation was cancelled");
    return STERNA_OK;
}

static sterna_status write_receipt(job *j, char **text, sterna_error *err)
{
    sterna_error late = {0};
    sterna_status cancelled = STERNA_OK;
    sterna_status status = sterna_receipt_measure(j->receipt, j->out, j->settings.threads, err);
    if (status) return status;
    if (!j->options->no_evaluation) {
        cancelled = evaluate(j, &late);
        sterna_facts_stage(&j->facts, "evaluating");
    }
    if (j->prediction.layers_bytes > 0 &&
        json_object_set_new(j->receipt, "predicted",
                            json_pack("{s:f, s:f}", "time_s",
                                      sterna_prediction_seconds(&j->prediction), "peak_bytes",
                                      sterna_prediction_bytes(&j->prediction))))
        return sterna_fail_memory(err, "the receipt");
    if (sterna_facts_describe(&j->facts, j->receipt)) return sterna_fail_memory(err, "the receipt");
    if (!j->options->no_receipt_files) status = sterna_receipt_save(j->receipt, j->out, err);
    if (!status && cancelled) return sterna_fail(err, cancelled, "%s", late.message);
    return status || !text ? status : sterna_receipt_text(j->receipt, text, err);
}

/* ---- the whole ---- */

/* Texts that cannot be read are told before the long work. */
static sterna_status check_evaluation(const sterna_quantize_options *options, sterna_error *err)
{
    for (size_t i = 0; i < options->evaluation_count; i++) {
        sterna_file *file = NULL;
        sterna_status status = sterna_file_open(options->evaluation[i], &file, err);
        if (status) return status;
        sterna_file_close(file);
    }
    return STERNA_OK;
}

static bool ends_with(const char *path, const char *end)
{
    size_t size = strlen(path), tail = strlen(end);
    return size > tail && strcmp(path + size - tail, end) == 0;
}

/* A name that is no .gguf file is that of a folder, which holds less. */
static sterna_status check_target(const char *out, const sterna_quantize_options *options,
                                  sterna_settings *s, sterna_error *err)
{
    if (ends_with(out, ".gguf")) return STERNA_OK;
    if (s->type != STERNA_TYPE_NATIVE)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "%s: safetensors cannot hold %s, only native; choose that type or a "
                           ".gguf file",
                           out, sterna_type_describe(s->type)->name);
    if (options->keep_type && s->keep_type == STERNA_KEEP_Q8_0)
        return sterna_fail(err, STERNA_ERROR_ARGUMENT,
                           "%s: safetensors cannot hold Q8_0; keep embeddings and head in F16",
                           out);
    s->folder = true;
    if (s->keep_type != STERNA_KEEP_SOURCE) s->keep_type = STERNA_KEEP_F16;
    return STERNA_OK;
}

sterna_status sterna_quantize_model(const char *in, const char *out,
                                    const sterna_quantize_options *options, char **receipt,
                                    sterna_error *err)
{
    sterna_quantize_options quiet = *options;
    job j = {.in = in,
             .out = out,
             .options = options,
             .stream = {.round_scales = true, .finite = true, .stage = "quantizing"}};
    sterna_facts_start(&j.facts);
    sterna_status status = sterna_settings_read(options, &j.settings, err);
    if (!status) status = check_target(out, options, &j.settings, err);
    if (!status) status = check_evaluation(options, err);
    if (!status) status = sterna_ranks_start(err);
    if (!status && sterna_rank() > 0) { /* heard through the first one alone */
        j.settings.calibration.progress = j.settings.propagation.progress = NULL;
        quiet.progress = NULL;
        quiet.notice = NULL;
        j.options = &quiet;
    }
    if (!status) status = run(&j, err);
    if (!status) sterna_ranks_finish();
    if (!status && !j.receipt && receipt) *receipt = NULL; /* the first one's */
    if (!status && j.receipt) {
        status = write_receipt(&j, receipt, err);
        if (status) sterna_fail_prefix(err, "%s is complete, but not its receipt", out);
    }
    json_decref(j.receipt);
    sterna_settings_free(&j.settings);
    return status;
}
