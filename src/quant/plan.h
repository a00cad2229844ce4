/* What becomes of each tensor: which are made ternary, which are kept and as what. */
#ifndef STERNA_QUANT_PLAN_H
#define STERNA_QUANT_PLAN_H

#include "quant/export.h"
#include "quant/settings.h"

/* Gives every item of `plan` its type and verb. BitNet master weights turn unnamed settings into
 * the rule that they were trained for. Fails when nothing would become ternary. */
sterna_status sterna_plan(const char *in, sterna_export *plan, sterna_settings *settings,
                          sterna_error *err);
/* Gives up the budget of bits: the items that are to be fitted get the usual groups. */
void sterna_plan_plain(sterna_export *plan, sterna_settings *settings);

#endif
