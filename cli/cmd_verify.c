/* sterna verify: every kernel against the reference, on a model's own weights. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "model.h"
#include "output.h"
#include "table.h"

typedef struct verify_settings {
    cli_model_settings model;
    bool json, quiet;
} verify_settings;

static int print_checks(const char *report)
{
    json_t *object = json_loads(report, 0, NULL), *check;
    json_t *checks = json_object_get(object, "checks");
    size_t i, failed = 0;
    cli_table *table = cli_table_new(3);
    json_array_foreach(checks, i, check)
    {
        const char *name = json_string_value(json_object_get(check, "name"));
        const char *detail = json_string_value(json_object_get(check, "detail"));
        bool ok = json_is_true(json_object_get(check, "ok"));
        failed += !ok;
        cli_table_cell(table, ok ? "ok" : "FAILED");
        cli_table_cell(table, name ? name : "?");
        cli_table_cell(table, detail ? detail : "");
    }
    size_t count = json_array_size(checks);
    bool printed = cli_table_finish(table, stdout, 0);
    json_decref(object);
    if (!printed) return cli_fail_memory();
    if (failed)
        printf("\n%zu of %zu checks failed.\n", failed, count);
    else
        printf("\nAll %zu checks passed.\n", count);
    return CLI_OK;
}

static int run_verify(const cli_command *command, const void *from, int operands, char **operand)
{
    const verify_settings *settings = from;
    sterna_error err;
    cli_progress progress;
    char *report = NULL;
    int status = CLI_OK;
    (void)command;
    (void)operands;
    memset(&err, 0, sizeof err);
    cli_progress_start(&progress, settings->quiet || settings->json);
    sterna_model_options options = cli_model_options(&settings->model, &progress);
    sterna_status verified = sterna_verify(operand[0], &options, &report, &err);
    cli_progress_end(&progress);
    /* an unequal result comes with its report */
    if (report && settings->json)
        status = cli_print_report_text(report);
    else if (report && !settings->quiet)
        status = print_checks(report);
    sterna_free(report);
    return verified == STERNA_OK ? status : cli_fail_library(&err);
}

static const verify_settings verify_defaults;
static const cli_option verify_options[] = {
    CLI_MODEL_OPTIONS(verify_settings),
    CLI_JSON_OPTION(verify_settings, "print the checks as one JSON object"),
    CLI_QUIET_OPTION(verify_settings, "print nothing but errors"),
};

const cli_command cli_command_verify = {
    .name = "verify",
    .summary = "test every kernel of this machine on a model",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .about = "Runs every kernel that this machine can run against the reference, on the model's "
             "own weights, and says which results are equal. The exit status is 1 when one is "
             "not: then do not trust this build on this machine, and report it.",
    .examples = "sterna verify model.gguf\n"
                "sterna verify model.gguf --cpu avx2\tonly kernels up to AVX2\n",
    .options = verify_options,
    .option_count = CLI_COUNT(verify_options),
    .defaults = &verify_defaults,
    .settings_size = sizeof verify_defaults,
    .run = run_verify,
};
