#include "model.h"

#include <string.h>

#include "output.h"

sterna_cache_type cli_cache_type(const char *name)
{
    return strcmp(name, "f32") == 0  ? STERNA_CACHE_F32
           : strcmp(name, "q8") == 0 ? STERNA_CACHE_Q8
                                     : STERNA_CACHE_F16;
}

sterna_model_options cli_model_options(const cli_model_settings *settings, cli_progress *progress)
{
    sterna_model_options options;
    memset(&options, 0, sizeof options);
    options.cpu = settings->cpu;
    options.threads = (int)settings->threads;
    options.arithmetic = settings->exact ? STERNA_ARITHMETIC_FLOAT : STERNA_ARITHMETIC_AUTO;
    options.i2s_order = settings->i2s_order;
    options.progress = progress ? cli_progress_report : NULL;
    options.progress_context = progress;
    return options;
}

int cli_open_model(const char *path, const cli_model_settings *settings, bool quiet,
                   sterna_model **out)
{
    cli_progress progress;
    sterna_error err;
    memset(&err, 0, sizeof err);
    cli_progress_start(&progress, quiet);
    sterna_model_options options = cli_model_options(settings, &progress);
    sterna_status status = sterna_model_open(path, &options, out, &err);
    cli_progress_end(&progress);
    return status == STERNA_OK ? CLI_OK : cli_fail_library(&err);
}
