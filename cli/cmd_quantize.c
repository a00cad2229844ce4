/* sterna quantize: make a model ternary. */
#include <string.h>

#include "commands.h"
#include "model.h"
#include "output.h"
#include "table.h"

typedef struct quantize_settings {
    cli_model_settings model;
    const char *method, *type, *group, *keep, *keep_type, *stages, *recipe, *calibration;
    uint64_t tokens, tune;
    double drift, residual, damping, outliers, bits;
    cli_texts evaluation;
    bool portable, asymmetric, resume, no_eval, no_receipt, json, quiet, tensors;
} quantize_settings;

enum { TUNE_USUAL = 1 }; /* not given: fewer tokens than a step has */

/* Of the command: below 0 is not given. Of the library: 0 is the usual, below 0 none. */
static float strength(double value)
{
    return value < 0 ? 0 : value > 0 ? (float)value : -1;
}

/* --group: a number of columns, or all of a row or of the tensor. */
static bool read_group(const char *text, sterna_quantize_options *options)
{
    double columns;
    if (!text) return true;
    if (strcmp(text, "row") == 0 || strcmp(text, "tensor") == 0) {
        options->scales = text;
        return true;
    }
    if (!cli_number(text, &columns) || columns < 1 || columns > 1 << 20 ||
        columns != (double)(uint32_t)columns)
        return false;
    options->group = (uint32_t)columns;
    return true;
}

static void show_notice(void *context, const char *sentence)
{
    (void)context;
    cli_progress_clear();
    fprintf(stderr, "sterna: %s\n", sentence);
}

static int run_quantize(const cli_command *command, const void *from, int operands, char **operand)
{
    const quantize_settings *settings = from;
    sterna_quantize_options options;
    sterna_error err;
    cli_progress progress;
    char *receipt = NULL;
    (void)operands;
    memset(&err, 0, sizeof err);
    memset(&options, 0, sizeof options);
    if (!read_group(settings->group, &options))
        return cli_usage_error(
            command->name, "--group is a number of columns from 1 to %d, row or tensor, not '%s'",
            1 << 20, settings->group);
    cli_progress_start(&progress, settings->quiet || settings->json);
    options.method = settings->method;
    options.type = settings->type;
    options.keep = settings->keep;
    options.keep_type = settings->keep_type;
    options.asymmetric = settings->asymmetric;
    options.stages = settings->stages;
    options.recipe = settings->recipe;
    options.outliers = (float)(settings->outliers / 100);
    options.bits = (float)settings->bits;
    options.threads = (int)settings->model.threads;
    options.calibration = settings->calibration;
    options.tokens = (uint32_t)settings->tokens;
    if (settings->tune != TUNE_USUAL) options.tune = settings->tune ? (int64_t)settings->tune : -1;
    options.portable = settings->portable;
    options.drift = strength(settings->drift);
    options.residual = strength(settings->residual);
    options.damping = (float)settings->damping;
    options.evaluation = settings->evaluation.items;
    options.evaluation_count = settings->evaluation.count;
    options.no_evaluation = settings->no_eval;
    options.no_receipt_files = settings->no_receipt;
    options.resume = settings->resume;
    options.notice = settings->quiet || settings->json ? NULL : show_notice;
    options.progress = cli_progress_report;
    options.progress_context = &progress;
    sterna_status status = sterna_quantize(operand[0], operand[1], &options, &receipt, &err);
    cli_progress_end(&progress);
    if (status != STERNA_OK) return cli_fail_library(&err);
    if (!receipt) return CLI_OK; /* another process of an MPI run has it */
    if (settings->quiet && !settings->json) {
        sterna_free(receipt);
        return CLI_OK;
    }
    return cli_show_report(receipt, settings->json, settings->tensors);
}

static const quantize_settings quantize_defaults = {
    .tune = TUNE_USUAL, .drift = -1, .residual = -1};
static const cli_option quantize_options[] = {
    {"method", 0, CLI_CHOICE, "sterna|pt2|itf|absmean|twn", 0, 0,
     offsetof(quantize_settings, method),
     "how trits and scales are found: sterna fits every matrix to the inputs that calibration text "
     "gives it; pt2 does so as PT2-LLM, to compare with; itf fits the weights alone to the least "
     "squared error, absmean scales by the mean magnitude as BitNet does, twn by the mean of those "
     "above 0.7 of it (default sterna)"},
    {"type", 0, CLI_CHOICE, "native|TQ1_0|TQ2_0|Q2_0|PQ2_0|PTQ1_0", 0, 0,
     offsetof(quantize_settings, type),
     "layout of the ternary tensors: native is Sterna's own, the smallest, for any width and "
     "group; "
     "the others are known to llama.cpp or its forks (default native)"},
    {"group", 0, CLI_TEXT, "N|row|tensor", 0, 0, offsetof(quantize_settings, group),
     "columns that share a scale: a number, all of a row or all of the tensor (default for "
     "native 512 where bits are spent as --bits says, else 128; for other layouts what they have, "
     "of which it must be a multiple)"},
    {"keep", 0, CLI_TEXT, "LIST", 0, 0, offsetof(quantize_settings, keep),
     "what does not become ternary, separated by commas: embed, head, vision, and names of "
     "tensors, "
     "in which * stands for any text (default embed,head,vision)"},
    {"keep-type", 0, CLI_CHOICE, "auto|source|Q8_0|F16", 0, 0,
     offsetof(quantize_settings, keep_type),
     "type of what is kept: auto leaves it byte for byte where the source has it quantised and "
     "makes floats Q8_0 (F16 in a folder); source leaves floats too (default auto)"},
    {"asymmetric", 0, CLI_FLAG, NULL, 0, 0, offsetof(quantize_settings, asymmetric),
     "a shift beside every scale (methods sterna and itf; pt2 always has one)"},
    {"portable", 0, CLI_FLAG, NULL, 0, 0, offsetof(quantize_settings, portable),
     "no Hadamard transform of the inputs, so that engines run the file that know its tensor types "
     "but not the transform; what folds into the matrices is folded instead, and the head becomes "
     "a tensor of its own"},
    {"recipe", 0, CLI_FILE, "FILE", 0, 0, offsetof(quantize_settings, recipe),
     "take all decisions of an earlier run again: a recipe, or the receipt that holds it"},
    {NULL, 0, CLI_HEADING, NULL, 0, 0, 0, "Precision (method sterna)"},
    {"outliers", 0, CLI_PERCENT, "P%", 0, 50, offsetof(quantize_settings, outliers),
     "share of every matrix's columns that stay int8, those whose rounding would cost most"},
    {"bits", 0, CLI_REAL, "N", 1, 8.5, offsetof(quantize_settings, bits),
     "bits a weight of the layers' matrices, scales counted: those that the model needs most get a "
     "second plane of trits, Q4_0 or Q8_0; measuring that takes a while (default for native 1.75; "
     "with --group, --asymmetric or --outliers, and for other layouts, all matrices get the same)"},
    {NULL, 0, CLI_HEADING, NULL, 0, 0, 0, "Calibration (methods sterna and pt2)"},
    {"calib", 0, CLI_FILE, "FILE", 0, 0, offsetof(quantize_settings, calibration),
     "text to calibrate with, or JSON lines with a \"text\" each (.jsonl); default: a small "
     "built-in set; three eighths of the tokens are the model's own in any case"},
    {"tokens", 0, CLI_SIZE, "N", 512, 1 << 24, offsetof(quantize_settings, tokens),
     "tokens to calibrate with: more take longer and give a better model (default: "
     "128k for models up to 1.5B, fewer for larger ones, 16k at least)"},
    {"drift", 0, CLI_REAL, "X", 0, 1, offsetof(quantize_settings, drift),
     "share of the error of its input that a matrix takes back (default 0.5)"},
    {"residual", 0, CLI_REAL, "X", 0, 1, offsetof(quantize_settings, residual),
     "share of the error of the residual stream that the matrices which write to it take back "
     "(default 0.5)"},
    {"damping", 0, CLI_REAL, "X", 0.0001, 1, offsetof(quantize_settings, damping),
     "added to the diagonal of the inputs' second moments, as a share of its mean (default 0.05 "
     "for 16 tokens a column, less for more: 0.2 / sqrt(tokens a column); for pt2 0.01)"},
    {"stages", 0, CLI_TEXT, "LIST", 0, 0, offsetof(quantize_settings, stages),
     "steps of the fit to take, to compare with: balance, order, columns, refit, descent, "
     "separated by commas, or none (default all; for pt2: its reordering, its compensation, its "
     "alignment)"},
    {"tune", 0, CLI_SIZE, "N", 0, 1 << 30, offsetof(quantize_settings, tune),
     "tokens to tune all scales and norms with at the end, so that the model's next token is "
     "distributed as the full model's; 0 does not tune (default for sterna 128k; 64k, 32k or 16k "
     "where more would take over ten minutes here; none where 16k would, or where memory is "
     "short)"},
    {NULL, 0, CLI_HEADING, NULL, 0, 0, 0, "Receipt"},
    {"eval", 0, CLI_TEXTS, "FILE", 0, 0, offsetof(quantize_settings, evaluation),
     "text to measure perplexity and divergence on, before and after; may be given again (default: "
     "three built-in texts that are in no calibration)"},
    {"no-eval", 0, CLI_FLAG, NULL, 0, 0, offsetof(quantize_settings, no_eval),
     "measure neither, which saves loading both models"},
    {"no-receipt", 0, CLI_FLAG, NULL, 0, 0, offsetof(quantize_settings, no_receipt),
     "write no OUT.receipt.json and OUT.receipt.html"},
    {"tensors", 0, CLI_FLAG, NULL, 0, 0, offsetof(quantize_settings, tensors),
     "list every tensor in the receipt"},
    {NULL, 0, CLI_HEADING, NULL, 0, 0, 0, "Running"},
    {"resume", 0, CLI_FLAG, NULL, 0, 0, offsetof(quantize_settings, resume),
     "go on with a run of the same settings that was interrupted and left OUT.resume"},
    CLI_THREADS_OPTION(quantize_settings),
    CLI_JSON_OPTION(quantize_settings, "print the receipt as one JSON object"),
    CLI_QUIET_OPTION(quantize_settings, "print nothing but errors"),
};

const cli_command cli_command_quantize = {
    .name = "quantize",
    .summary = "make a model ternary, with a receipt",
    .operands = "IN OUT",
    .min_operands = 2,
    .max_operands = 2,
    .about =
        "Makes every weight matrix of the model IN ternary and writes it as OUT: a .gguf file, or "
        "a Hugging Face folder, which is made of such a folder. The "
        "receipt says for each tensor its type, its bits per weight and the relative error, "
        "the honest totals (scales, embeddings and head are counted), and perplexity before "
        "and after; it stands beside OUT as OUT.receipt.json and, to look at, "
        "OUT.receipt.html. OUT appears only when it is complete; a file of that name is "
        "replaced.\n\n"
        "The default method runs the model on calibration text and fits one layer after "
        "another to what really arrives there; then it tunes the scales of the whole against the "
        "model that it came from. Measure the result with `sterna eval`.",
    .examples = "sterna quantize model.gguf small.gguf\n"
                "sterna quantize model.gguf small.gguf --calib mine.txt --tokens 64k\n"
                "sterna quantize folder small.gguf --method absmean --group tensor --type TQ2_0\n"
                "sterna quantize model.gguf small.gguf --json > receipt.json\n",
    .options = quantize_options,
    .option_count = CLI_COUNT(quantize_options),
    .defaults = &quantize_defaults,
    .settings_size = sizeof quantize_defaults,
    .run = run_quantize,
};
