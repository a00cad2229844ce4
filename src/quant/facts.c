#include "quant/facts.h"

#include <sys/resource.h>

#include "base/clock.h"
#include "base/cpu.h"

void sterna_facts_start(sterna_facts *facts)
{
    *facts = (sterna_facts){0};
    facts->start = facts->last = sterna_now();
}

/* Resident bytes at the peak of this process so far. */
static double peak_memory(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : 1024.0 * (double)usage.ru_maxrss;
}

/* What tuning did, or why it did nothing. */
static json_t *describe_tuning(const sterna_tuned *t)
{
    if (t->skipped)
        return json_pack("{s:s, s:I, s:f}", "skipped", t->skipped, "tokens", (json_int_t)t->tokens,
                         "predicted_s", t->predicted);
    json_t *all = json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:b, s:f, s:f}", "tokens",
                            (json_int_t)t->tokens, "windows", (json_int_t)t->learnt_windows,
                            "held_out_windows", (json_int_t)t->held_windows, "rate",
                            (double)t->rate, "kl_before", t->before, "kl_after", t->after, "kept",
                            t->kept, "predicted_s", t->predicted, "time_s", t->seconds);
    if (all && t->shorter)
        json_object_set_new(all, "shortened_from", json_integer((json_int_t)t->shorter));
    return all;
}

void sterna_facts_stage(sterna_facts *facts, const char *name)
{
    double now = sterna_now();
    if (facts->n_stages < STERNA_FACTS_STAGES) {
        facts->stages[facts->n_stages].name = name;
        facts->stages[facts->n_stages].peak = peak_memory();
        facts->stages[facts->n_stages++].seconds = now - facts->last;
    }
    facts->last = now;
}

int sterna_facts_describe(const sterna_facts *facts, json_t *receipt)
{
    uint32_t features;
    int failed = 0;
    json_t *stages = json_array();
    for (size_t i = 0; i < facts->n_stages; i++)
        failed |= json_array_append_new(
            stages, json_pack("{s:s, s:f, s:f}", "stage", facts->stages[i].name, "time_s",
                              facts->stages[i].seconds, "peak_bytes", facts->stages[i].peak));
    if (facts->windows)
        failed |= json_object_set_new(
            receipt, "calibration",
            json_pack("{s:s, s:s, s:I, s:I, s:I}", "text", facts->text ? facts->text : "built in",
                      "sha256", facts->text_digest, "tokens",
                      (json_int_t)(facts->windows * facts->length), "window",
                      (json_int_t)facts->length, "generated_tokens",
                      (json_int_t)(facts->generated * facts->length)));
    if (facts->bits > 0)
        failed |= json_object_set_new(receipt, "matrix_bits_per_weight", json_real(facts->bits));
    if (facts->tuning.tokens)
        failed |= json_object_set_new(receipt, "tuning", describe_tuning(&facts->tuning));
    if (facts->resumed)
        failed |= json_object_set_new(receipt, "resumed_layers",
                                      json_integer((json_int_t)facts->resumed));
    failed |= json_object_set_new(receipt, "stages", stages);
    failed |= json_object_set_new(receipt, "time_s", json_real(facts->last - facts->start));
    failed |= json_object_set_new(receipt, "peak_bytes", json_integer((json_int_t)peak_memory()));
    const char *cpu =
        sterna_cpu_level("auto", &features, NULL) ? "unknown" : sterna_cpu_level_name(features);
    return failed | json_object_set_new(receipt, "cpu", json_string(cpu));
}
