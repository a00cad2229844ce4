/* Evaluation of expressions, calls of built-ins and macros. */
#include "text/jinja_internal.h"

#include <stdio.h>
#include <string.h>

static bool lookup_name(jinja_run *run, int symbol, const jinja_scope *scope, jinja_value *out)
{
    for (; scope->outer; scope = scope->outer) {
        for (unsigned i = scope->count; i-- > 0;) {
            if (scope->bindings[i].symbol != symbol) continue;
            *out = scope->bindings[i].value;
            return true;
        }
    }
    *out = run->globals[symbol];
    if (out->type != JINJA_MISSING) return true;
    return sterna_jinja_undefined_name(run, run->program->symbols[symbol], out);
}

/* ---- arguments ---- */

static bool add_named(jinja_run *run, jinja_arguments *out, const jinja_string *name,
                      jinja_value value)
{
    for (size_t i = 0; i < out->named_count; i++)
        if (out->names[i]->size == name->size &&
            !memcmp(out->names[i]->data, name->data, name->size))
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                     "an argument is given twice by name");
    out->names[out->named_count] = name;
    out->named[out->named_count++] = value;
    return true;
}

static bool spread(jinja_run *run, jinja_value mapping, jinja_arguments *out)
{
    const jinja_dict *dict = mapping.as.dict;
    for (size_t i = 0; i < dict->count; i++) {
        if (dict->entries[i].key.type != JINJA_STRING)
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "keys behind ** must be strings");
        if (!add_named(run, out, dict->entries[i].key.as.string, dict->entries[i].value))
            return false;
    }
    return true;
}

bool sterna_jinja_eval_call(jinja_run *run, const jinja_call *call, jinja_scope *scope,
                            const jinja_value *caller, jinja_arguments *out)
{
    static const jinja_string caller_name = {"caller", 6, 6, NULL};
    static const jinja_call nothing;
    *out = (jinja_arguments){0};
    if (!call && !caller) return true;
    if (!call) call = &nothing;
    jinja_value star = sterna_jinja_missing(), mapping = sterna_jinja_missing();
    size_t count = call->positional.count, named = call->keyword_count + (caller != NULL);
    out->values = sterna_jinja_alloc(run, count, sizeof *out->values);
    if (!out->values) return false;
    for (; out->count < count; out->count++)
        if (!sterna_jinja_eval(run, call->positional.items[out->count], scope,
                               &out->values[out->count]))
            return false;
    if (call->star) {
        if (!sterna_jinja_eval(run, call->star, scope, &star) ||
            !sterna_jinja_collect(run, star, &star))
            return false;
        size_t all = count + star.as.list->count;
        jinja_value *values = sterna_jinja_alloc(run, all, sizeof *values);
        if (!values) return false;
        if (count) memcpy(values, out->values, count * sizeof *values);
        if (all > count)
            memcpy(values + count, star.as.list->items, (all - count) * sizeof *values);
        out->values = values;
        out->count = all;
    }
    jinja_value *by_name = sterna_jinja_alloc(run, call->keyword_count, sizeof *by_name);
    if (!by_name) return false;
    for (size_t i = 0; i < call->keyword_count; i++)
        if (!sterna_jinja_eval(run, call->keywords[i].value, scope, &by_name[i])) return false;
    if (call->double_star) {
        if (!sterna_jinja_eval(run, call->double_star, scope, &mapping)) return false;
        if (mapping.type != JINJA_DICT)
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                     "what stands behind ** must be a dict, not '%s'",
                                     sterna_jinja_type_name(mapping));
        named += mapping.as.dict->count;
    }
    if (!sterna_jinja_step(run, named * named / 2))
        return false; /* every name is compared with all others */
    out->names = sterna_jinja_alloc(run, named, sizeof *out->names);
    out->named = sterna_jinja_alloc(run, named, sizeof *out->named);
    if (!out->names || !out->named) return false;
    for (size_t i = 0; i < call->keyword_count; i++)
        if (!add_named(run, out, call->keywords[i].name, by_name[i])) return false;
    if (caller && !add_named(run, out, &caller_name, *caller)) return false;
    return mapping.type == JINJA_MISSING || spread(run, mapping, out);
}

/* The position of a name in "a b c", or -1. */
static int parameter_index(const char *parameters, const jinja_string *name)
{
    for (int index = 0; *parameters; index++) {
        size_t size = strcspn(parameters, " ");
        if (size == name->size && !memcmp(parameters, name->data, size)) return index;
        parameters += size + (parameters[size] == ' ');
    }
    return -1;
}

bool sterna_jinja_call_builtin(jinja_run *run, const jinja_callable *callable, jinja_value self,
                               const jinja_arguments *arguments, jinja_value *out)
{
    jinja_value bound[JINJA_MAX_ARGUMENTS] = {{0}};
    if (!callable->parameters) {
        if (arguments->count < callable->required)
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "%s needs more arguments",
                                     callable->name);
        return callable->call(run, self, bound, arguments, out);
    }
    size_t count = *callable->parameters != 0;
    for (const char *p = callable->parameters; *p; p++) count += *p == ' ';
    if (arguments->count > count)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 "%s takes at most %zu arguments, not %zu", callable->name, count,
                                 arguments->count);
    for (size_t i = 0; i < arguments->count; i++) bound[i] = arguments->values[i];
    for (size_t i = 0; i < arguments->named_count; i++) {
        int index =
            callable->by_name ? parameter_index(callable->parameters, arguments->names[i]) : -1;
        const jinja_string *name = arguments->names[i];
        if (index < 0 || bound[index].type != JINJA_MISSING)
            return sterna_jinja_fail(
                run, STERNA_ERROR_FORMAT, "%s takes no argument named '%.*s'%s", callable->name,
                name->size < 60 ? (int)name->size : 60, name->data, index < 0 ? "" : " twice");
        bound[index] = arguments->named[i];
    }
    for (size_t i = 0; i < callable->required; i++)
        if (bound[i].type == JINJA_MISSING)
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "%s needs more arguments",
                                     callable->name);
    return callable->call(run, self, bound, arguments, out);
}

/* ---- macros ---- */

/* Takes an argument out of the named ones. */
static bool take_named(jinja_arguments *arguments, const jinja_string *name, jinja_value *out)
{
    for (size_t i = 0; i < arguments->named_count; i++) {
        const jinja_string *given = arguments->names[i];
        if (given->size != name->size || memcmp(given->data, name->data, name->size)) continue;
        *out = arguments->named[i];
        arguments->named_count--;
        for (; i < arguments->named_count; i++) {
            arguments->names[i] = arguments->names[i + 1];
            arguments->named[i] = arguments->named[i + 1];
        }
        return true;
    }
    return false;
}

/* The arguments beyond the parameters: caller, **kwargs, *varargs. */
static bool bind_rest(jinja_run *run, const jinja_signature *signature, jinja_scope *scope,
                      jinja_arguments *arguments)
{
    jinja_value value;
    size_t parameters = signature->parameters.count;
    if (signature->uses_caller) {
        if (!take_named(arguments, run->program->symbols[JINJA_SYMBOL_CALLER], &value) &&
            !sterna_jinja_undefined_hint(run, "No caller defined", &value))
            return false;
        if (!sterna_jinja_bind(run, scope, JINJA_SYMBOL_CALLER, value)) return false;
    }
    if (signature->uses_kwargs) {
        if (!sterna_jinja_new_dict(run, &value)) return false;
        for (size_t i = 0; i < arguments->named_count; i++) {
            jinja_value key = {.type = JINJA_STRING,
                               .as.string = (jinja_string *)arguments->names[i]};
            if (!sterna_jinja_dict_put(run, value.as.dict, key, arguments->named[i])) return false;
        }
        if (!sterna_jinja_bind(run, scope, JINJA_SYMBOL_KWARGS, value)) return false;
    } else if (arguments->named_count) {
        const jinja_string *name = arguments->names[0];
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 "the macro takes no argument named '%.*s'",
                                 name->size < 60 ? (int)name->size : 60, name->data);
    }
    if (signature->uses_varargs) {
        size_t rest = arguments->count > parameters ? arguments->count - parameters : 0;
        if (!sterna_jinja_new_list(run, JINJA_TUPLE, rest, &value)) return false;
        for (size_t i = 0; i < rest; i++)
            sterna_jinja_list_add(run, value.as.list, arguments->values[parameters + i]);
        return sterna_jinja_bind(run, scope, JINJA_SYMBOL_VARARGS, value);
    }
    return arguments->count <= parameters ||
           sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                             "the macro takes at most %zu arguments, not %zu", parameters,
                             arguments->count);
}

static bool call_macro(jinja_run *run, const jinja_macro *macro, const jinja_arguments *given,
                       jinja_value *out)
{
    const jinja_signature *signature = macro->node->signature;
    jinja_arguments arguments = *given;
    jinja_scope *scope = sterna_jinja_new_scope(run, macro->scope);
    size_t count = signature->parameters.count, defaults = signature->defaults.count;
    jinja_value *values = sterna_jinja_alloc(run, count, sizeof *values);
    if (!scope || !values) return false;
    if (arguments.named_count) { /* they are taken out: keep the caller's array whole */
        size_t named = arguments.named_count;
        arguments.names = sterna_jinja_alloc(run, named, sizeof *arguments.names);
        arguments.named = sterna_jinja_alloc(run, named, sizeof *arguments.named);
        if (!arguments.names || !arguments.named) return false;
        memcpy(arguments.names, given->names, named * sizeof *arguments.names);
        memcpy(arguments.named, given->named, named * sizeof *arguments.named);
    }
    for (size_t i = 0; i < count; i++) {
        int symbol = signature->parameters.items[i]->symbol;
        values[i] = i < arguments.count ? arguments.values[i] : sterna_jinja_missing();
        if (i >= arguments.count) take_named(&arguments, run->program->symbols[symbol], &values[i]);
    }
    if (!bind_rest(run, signature, scope, &arguments)) return false;
    for (size_t i = 0; i < count; i++) { /* a default may use the parameters before it */
        const jinja_node *parameter = signature->parameters.items[i];
        if (values[i].type == JINJA_MISSING && i + defaults >= count) {
            if (!sterna_jinja_eval(run, signature->defaults.items[i + defaults - count], scope,
                                   &values[i]))
                return false;
        } else if (values[i].type == JINJA_MISSING) {
            if (!sterna_jinja_undefined_hint(run, "a parameter of a macro was not provided",
                                             &values[i]))
                return false;
        }
        if (!sterna_jinja_bind(run, scope, parameter->symbol, values[i])) return false;
    }
    int flow = 0;
    return sterna_jinja_capture(run, &macro->node->items, scope, &flow, out);
}

/* loop(children) in a recursive for. */
static bool call_loop(jinja_run *run, const jinja_loop *loop, const jinja_arguments *arguments,
                      jinja_value *out)
{
    if (!loop->recurse || arguments->count != 1 || arguments->named_count)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 "loop() needs one argument and a for tag marked recursive");
    jinja_text text, *outer = run->out;
    int flow = 0;
    sterna_jinja_text_start(&text, run);
    run->out = &text;
    bool fine = sterna_jinja_run_loop(run, loop->recurse, arguments->values[0], loop->scope,
                                      loop->depth0 + 1, &flow);
    run->out = outer;
    return fine && sterna_jinja_text_finish(&text, out);
}

bool sterna_jinja_call_value(jinja_run *run, jinja_value callee, const jinja_arguments *arguments,
                             jinja_value *out)
{
    bool fine;
    if (!sterna_jinja_enter(run)) return false;
    switch (callee.type) {
    case JINJA_FUNCTION:
        fine = sterna_jinja_call_builtin(run, callee.as.function, sterna_jinja_missing(), arguments,
                                         out);
        break;
    case JINJA_METHOD:
        fine = sterna_jinja_call_builtin(run, callee.as.method->callable, callee.as.method->self,
                                         arguments, out);
        break;
    case JINJA_MACRO: fine = call_macro(run, callee.as.macro, arguments, out); break;
    case JINJA_LOOP: fine = call_loop(run, callee.as.loop, arguments, out); break;
    case JINJA_JOINER:
        if (arguments->count || arguments->named_count)
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "a joiner takes no arguments");
        fine = callee.as.cycler->at ? (*out = callee.as.cycler->items[0], true)
                                    : sterna_jinja_literal(run, "", out);
        callee.as.cycler->at = 1;
        break;
    case JINJA_UNDEFINED: fine = sterna_jinja_fail_undefined(run, callee); break;
    default:
        fine = sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "a '%s' cannot be called",
                                 sterna_jinja_type_name(callee));
    }
    sterna_jinja_leave(run);
    return fine;
}

/* ---- expressions ---- */

static bool eval_display(jinja_run *run, const jinja_node *node, jinja_scope *scope,
                         jinja_value *out)
{
    jinja_type type = node->kind == JINJA_LIST_OF ? JINJA_LIST : JINJA_TUPLE;
    jinja_value list;
    if (!sterna_jinja_new_list(run, type, node->items.count, &list)) return false;
    for (size_t i = 0; i < node->items.count; i++) {
        jinja_value item;
        if (!sterna_jinja_eval(run, node->items.items[i], scope, &item) ||
            !sterna_jinja_list_add(run, list.as.list, item))
            return false;
    }
    *out = list;
    return true;
}

static bool eval_dict(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value *out)
{
    jinja_value dict, key, value;
    if (!sterna_jinja_new_dict(run, &dict)) return false;
    for (size_t i = 0; i + 1 < node->items.count; i += 2)
        if (!sterna_jinja_eval(run, node->items.items[i], scope, &key) ||
            !sterna_jinja_eval(run, node->items.items[i + 1], scope, &value) ||
            !sterna_jinja_dict_put(run, dict.as.dict, key, value))
            return false;
    *out = dict;
    return true;
}

static bool eval_concat(jinja_run *run, const jinja_node *node, jinja_scope *scope,
                        jinja_value *out)
{
    jinja_value all = sterna_jinja_missing(), next;
    for (size_t i = 0; i < node->items.count; i++) {
        if (!sterna_jinja_eval(run, node->items.items[i], scope, &next) ||
            !sterna_jinja_to_string(run, next, false, &next))
            return false;
        if (!i)
            all = next;
        else if (!sterna_jinja_binary(run, JINJA_ADD, all, next, &all))
            return false;
    }
    *out = all;
    return true;
}

static bool compare(jinja_run *run, jinja_operator op, jinja_value a, jinja_value b, bool *out)
{
    bool fine;
    switch (op) {
    case JINJA_EQUAL: return sterna_jinja_equal(run, a, b, out);
    case JINJA_NOT_EQUAL: fine = sterna_jinja_equal(run, a, b, out); break;
    case JINJA_IN: return sterna_jinja_contains(run, a, b, out);
    case JINJA_NOT_IN: fine = sterna_jinja_contains(run, a, b, out); break;
    default: return sterna_jinja_order(run, op, a, b, out);
    }
    *out = !*out;
    return fine;
}

/* a < b < c: every pair must hold, each value is evaluated once. */
static bool eval_compare(jinja_run *run, const jinja_node *node, jinja_scope *scope,
                         jinja_value *out)
{
    jinja_value left, right;
    bool holds = true;
    if (!sterna_jinja_eval(run, node->a, scope, &left)) return false;
    for (size_t i = 0; i < node->items.count && holds; i++) {
        if (!sterna_jinja_eval(run, node->items.items[i], scope, &right) ||
            !compare(run, node->ops[i], left, right, &holds))
            return false;
        left = right;
    }
    *out = sterna_jinja_bool(holds);
    return true;
}

/* and, or, not, the conditional expression */
static bool eval_logic(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value *out)
{
    jinja_value value;
    bool truth;
    if (!sterna_jinja_eval(run, node->a, scope, &value) || !sterna_jinja_truth(run, value, &truth))
        return false;
    switch (node->kind) {
    case JINJA_NOT: *out = sterna_jinja_bool(!truth); return true;
    case JINJA_CONDITION:
        if (truth) return sterna_jinja_eval(run, node->b, scope, out);
        if (node->c) return sterna_jinja_eval(run, node->c, scope, out);
        return sterna_jinja_undefined_hint(run, "an inline if was false and has no else", out);
    default:
        if (truth == (node->kind == JINJA_AND)) return sterna_jinja_eval(run, node->b, scope, out);
        *out = value;
        return true;
    }
}

static bool eval_binary(jinja_run *run, const jinja_node *node, jinja_scope *scope,
                        jinja_value *out)
{
    jinja_value a, b;
    return sterna_jinja_eval(run, node->a, scope, &a) &&
           sterna_jinja_eval(run, node->b, scope, &b) &&
           sterna_jinja_binary(run, node->op, a, b, out);
}

static bool eval_item(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value *out)
{
    jinja_value a, parts[3] = {{0}};
    const jinja_node *nodes[3] = {node->b, node->c, node->d};
    if (!sterna_jinja_eval(run, node->a, scope, &a)) return false;
    for (int i = 0; i < 3; i++)
        if (nodes[i] && !sterna_jinja_eval(run, nodes[i], scope, &parts[i])) return false;
    if (node->kind == JINJA_ITEM) return sterna_jinja_item(run, a, parts[0], out);
    return sterna_jinja_slice(run, a, parts[0], parts[1], parts[2], out);
}

static bool eval_filter(jinja_run *run, const jinja_node *node, jinja_scope *scope,
                        jinja_value *out)
{
    jinja_value value;
    jinja_arguments arguments;
    const jinja_string *name = node->value.as.string;
    if (!node->callable) {
        run->line = node->line;
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "there is no %s named '%.*s'",
                                 node->kind == JINJA_FILTER ? "filter" : "test",
                                 name->size < 60 ? (int)name->size : 60, name->data);
    }
    return sterna_jinja_eval(run, node->a, scope, &value) &&
           sterna_jinja_eval_call(run, node->call, scope, NULL, &arguments) &&
           sterna_jinja_call_builtin(run, node->callable, value, &arguments, out);
}

static bool eval_call(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value *out)
{
    jinja_value callee;
    jinja_arguments arguments;
    if (!sterna_jinja_eval(run, node->a, scope, &callee) ||
        !sterna_jinja_eval_call(run, node->call, scope, NULL, &arguments))
        return false;
    run->line = node->line;
    return sterna_jinja_call_value(run, callee, &arguments, out);
}

static bool eval_inner(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value *out)
{
    jinja_value value;
    switch (node->kind) {
    case JINJA_CONSTANT: *out = node->value; return true;
    case JINJA_CAPTURED: *out = run->captured; return true;
    case JINJA_NAME: return lookup_name(run, node->symbol, scope, out);
    case JINJA_TUPLE_OF:
    case JINJA_LIST_OF: return eval_display(run, node, scope, out);
    case JINJA_DICT_OF: return eval_dict(run, node, scope, out);
    case JINJA_NEGATE:
    case JINJA_PLUS:
        return sterna_jinja_eval(run, node->a, scope, &value) &&
               sterna_jinja_negate(run, node->kind == JINJA_NEGATE, value, out);
    case JINJA_NOT:
    case JINJA_AND:
    case JINJA_OR:
    case JINJA_CONDITION: return eval_logic(run, node, scope, out);
    case JINJA_BINARY: return eval_binary(run, node, scope, out);
    case JINJA_CONCAT: return eval_concat(run, node, scope, out);
    case JINJA_COMPARE: return eval_compare(run, node, scope, out);
    case JINJA_ATTRIBUTE:
        return sterna_jinja_eval(run, node->a, scope, &value) &&
               sterna_jinja_attribute(run, value, node->value.as.string, out);
    case JINJA_ITEM:
    case JINJA_SLICE: return eval_item(run, node, scope, out);
    case JINJA_CALL: return eval_call(run, node, scope, out);
    case JINJA_FILTER:
    case JINJA_TEST: return eval_filter(run, node, scope, out);
    default: return sterna_jinja_fail(run, STERNA_ERROR_INTERNAL, "an unknown expression");
    }
}

bool sterna_jinja_eval(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value *out)
{
    if (!sterna_jinja_step(run, 1) || !sterna_jinja_enter(run)) return false;
    int line = run->line;
    run->line = node->line;
    bool fine = eval_inner(run, node, scope, out);
    if (fine) run->line = line;
    sterna_jinja_leave(run);
    return fine;
}
