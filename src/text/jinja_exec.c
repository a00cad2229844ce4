/* Statements, scopes and the whole run. */
#include "text/jinja_internal.h"

#include <string.h>

#include "base/memory.h"

#define DEFAULT_STEPS  10000000u
#define DEFAULT_DEPTH  2000u
#define DEFAULT_OUTPUT ((size_t)16 << 20)
#define DEFAULT_MEMORY ((size_t)256 << 20)

/* ---- scopes ---- */

jinja_scope *sterna_jinja_new_scope(jinja_run *run, jinja_scope *outer)
{
    jinja_scope *scope = sterna_jinja_alloc(run, 1, sizeof *scope);
    if (scope) *scope = (jinja_scope){.outer = outer};
    return scope;
}

bool sterna_jinja_bind(jinja_run *run, jinja_scope *scope, int symbol, jinja_value value)
{
    if (!scope->outer) {
        run->globals[symbol] = value;
        return true;
    }
    for (unsigned i = 0; i < scope->count; i++) {
        if (scope->bindings[i].symbol != symbol) continue;
        scope->bindings[i].value = value;
        return true;
    }
    if (scope->count == scope->capacity) {
        unsigned capacity = scope->capacity ? scope->capacity * 2 : 4;
        jinja_binding *bindings = sterna_jinja_alloc(run, capacity, sizeof *bindings);
        if (!bindings) return false;
        if (scope->count) memcpy(bindings, scope->bindings, scope->count * sizeof *bindings);
        scope->bindings = bindings;
        scope->capacity = capacity;
    }
    scope->bindings[scope->count++] = (jinja_binding){symbol, value};
    return true;
}

static jinja_value *find_binding(jinja_run *run, int symbol, jinja_scope *scope)
{
    for (; scope->outer; scope = scope->outer)
        for (unsigned i = 0; i < scope->count; i++)
            if (scope->bindings[i].symbol == symbol) return &scope->bindings[i].value;
    return &run->globals[symbol];
}

/* namespace.name = value */
static bool assign_member(jinja_run *run, const jinja_node *target, jinja_value value,
                          jinja_scope *scope)
{
    jinja_value *owner = find_binding(run, target->symbol, scope);
    if (owner->type != JINJA_NAMESPACE)
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 "only attributes of a namespace can be set");
    if (target->value.as.string->size && target->value.as.string->data[0] == '_')
        return sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                                 "attributes of a namespace cannot start with an underscore");
    return sterna_jinja_dict_put(run, owner->as.dict, target->value, value);
}

bool sterna_jinja_assign(jinja_run *run, const jinja_node *target, jinja_value value,
                         jinja_scope *scope)
{
    if (target->kind == JINJA_NAME) return sterna_jinja_bind(run, scope, target->symbol, value);
    if (target->kind == JINJA_MEMBER) return assign_member(run, target, value, scope);
    jinja_iterator *iterator;
    jinja_value item;
    if (!sterna_jinja_iterate(run, value, false, &iterator)) return false;
    for (size_t i = 0; i < target->items.count; i++) {
        if (!sterna_jinja_next(run, iterator, &item)) return false;
        if (item.type == JINJA_MISSING)
            return sterna_jinja_fail(run, STERNA_ERROR_FORMAT, "there are %zu values for %zu names",
                                     i, target->items.count);
        if (!sterna_jinja_assign(run, target->items.items[i], item, scope)) return false;
    }
    if (!sterna_jinja_next(run, iterator, &item)) return false;
    return item.type == JINJA_MISSING ||
           sterna_jinja_fail(run, STERNA_ERROR_FORMAT,
                             "there are more than %zu values for that many names",
                             target->items.count);
}

/* ---- statements ---- */

bool sterna_jinja_capture(jinja_run *run, const jinja_nodes *body, jinja_scope *scope, int *flow,
                          jinja_value *out)
{
    jinja_text text, *outer = run->out;
    sterna_jinja_text_start(&text, run);
    run->out = &text;
    bool fine = sterna_jinja_exec(run, body, scope, flow);
    run->out = outer;
    return fine && sterna_jinja_text_finish(&text, out);
}

static bool loop_next(jinja_run *run, jinja_loop *loop, jinja_value *out)
{
    *out = loop->after;
    loop->after = sterna_jinja_missing();
    if (out->type == JINJA_MISSING && !sterna_jinja_next(run, loop->iterator, out)) return false;
    if (out->type == JINJA_MISSING) return true;
    loop->index0++;
    loop->before = loop->current;
    loop->current = *out;
    return true;
}

static bool start_loop(jinja_run *run, const jinja_node *node, jinja_value iterable,
                       jinja_scope *scope, jinja_loop *loop)
{
    *loop = (jinja_loop){.iterable = iterable, .index0 = -1, .length = -1, .scope = scope};
    loop->recurse = node->recursive ? node : NULL;
    if (!node->c) return sterna_jinja_iterate(run, iterable, false, &loop->iterator);
    jinja_iterator *filter = sterna_jinja_alloc(run, 1, sizeof *filter);
    if (!filter) return false;
    *filter = (jinja_iterator){.kind = JINJA_ITERATE_LOOP,
                               .source = iterable,
                               .node = node,
                               .scope = scope,
                               .wanted = true};
    loop->iterator = filter;
    loop->iterable = (jinja_value){.type = JINJA_ITERATOR, .as.iterator = filter};
    return sterna_jinja_iterable(iterable) ||
           sterna_jinja_iterate(run, iterable, false, &filter->inner);
}

bool sterna_jinja_run_loop(jinja_run *run, const jinja_node *node, jinja_value iterable,
                           jinja_scope *scope, int64_t depth0, int *flow)
{
    jinja_loop *loop = sterna_jinja_alloc(run, 1, sizeof *loop);
    jinja_scope *inner = sterna_jinja_new_scope(run, scope);
    bool complete = false; /* as in jinja2: has any iteration reached the end of the body? */
    if (!loop || !inner || !start_loop(run, node, iterable, scope, loop)) return false;
    loop->depth0 = depth0;
    for (;;) {
        jinja_value item, self = {.type = JINJA_LOOP, .as.loop = loop};
        int inside = 0;
        if (!loop_next(run, loop, &item)) return false;
        if (item.type == JINJA_MISSING) break;
        inner->count = 0;
        if (!sterna_jinja_bind(run, inner, JINJA_SYMBOL_LOOP, self) ||
            !sterna_jinja_assign(run, node->a, item, inner) ||
            !sterna_jinja_exec(run, &node->items, inner, &inside))
            return false;
        if (inside == JINJA_BREAK) break;
        complete |= inside == 0;
    }
    if (complete || !node->else_items.count) return true;
    jinja_scope *otherwise = sterna_jinja_new_scope(run, scope);
    return otherwise && sterna_jinja_exec(run, &node->else_items, otherwise, flow);
}

static bool exec_for(jinja_run *run, const jinja_node *node, jinja_scope *scope, int *flow)
{
    jinja_value iterable;
    return sterna_jinja_eval(run, node->b, scope, &iterable) &&
           sterna_jinja_run_loop(run, node, iterable, scope, 0, flow);
}

static bool exec_if(jinja_run *run, const jinja_node *node, jinja_scope *scope, int *flow)
{
    for (;;) {
        jinja_value value;
        bool truth;
        if (!sterna_jinja_eval(run, node->a, scope, &value) ||
            !sterna_jinja_truth(run, value, &truth))
            return false;
        if (truth) return sterna_jinja_exec(run, &node->items, scope, flow);
        bool chain = node->else_items.count == 1 && node->else_items.items[0]->kind == JINJA_IF;
        if (!chain) return sterna_jinja_exec(run, &node->else_items, scope, flow);
        node = node->else_items.items[0];
    }
}

static bool exec_set_block(jinja_run *run, const jinja_node *node, jinja_scope *scope, int *flow)
{
    jinja_scope *inner = sterna_jinja_new_scope(run, scope);
    jinja_value value;
    if (!inner || !sterna_jinja_capture(run, &node->items, inner, flow, &value)) return false;
    if (*flow) return true;
    run->captured = value;
    if (node->b && !sterna_jinja_eval(run, node->b, inner, &value)) return false;
    return sterna_jinja_assign(run, node->a, value, scope);
}

static bool exec_macro(jinja_run *run, const jinja_node *node, jinja_scope *scope, jinja_value *out)
{
    jinja_macro *macro = sterna_jinja_alloc(run, 1, sizeof *macro);
    if (!macro) return false;
    *macro = (jinja_macro){node, scope};
    *out = (jinja_value){.type = JINJA_MACRO, .as.macro = macro};
    return true;
}

static bool exec_call_block(jinja_run *run, const jinja_node *node, jinja_scope *scope)
{
    jinja_value caller, callee, value;
    jinja_arguments arguments;
    return exec_macro(run, node, scope, &caller) &&
           sterna_jinja_eval(run, node->a->a, scope, &callee) &&
           sterna_jinja_eval_call(run, node->a->call, scope, &caller, &arguments) &&
           sterna_jinja_call_value(run, callee, &arguments, &value) &&
           sterna_jinja_text_value(run->out, value);
}

static bool exec_filter_block(jinja_run *run, const jinja_node *node, jinja_scope *scope, int *flow)
{
    jinja_scope *inner = sterna_jinja_new_scope(run, scope);
    jinja_value value;
    if (!inner || !sterna_jinja_capture(run, &node->items, inner, flow, &value)) return false;
    if (*flow) return true;
    run->captured = value;
    return sterna_jinja_eval(run, node->a, inner, &value) &&
           sterna_jinja_text_value(run->out, value);
}

static bool exec_with(jinja_run *run, const jinja_node *node, jinja_scope *scope, int *flow)
{
    jinja_scope *inner = sterna_jinja_new_scope(run, scope);
    if (!inner) return false;
    for (size_t i = 0; i + 1 < node->else_items.count; i += 2) {
        jinja_value value;
        if (!sterna_jinja_eval(run, node->else_items.items[i + 1], scope, &value) ||
            !sterna_jinja_assign(run, node->else_items.items[i], value, inner))
            return false;
    }
    return sterna_jinja_exec(run, &node->items, inner, flow);
}

static bool exec_scope(jinja_run *run, const jinja_node *node, jinja_scope *scope, int *flow)
{
    jinja_value value;
    bool truth;
    if (node->kind == JINJA_ESCAPE_BLOCK) {
        if (!sterna_jinja_eval(run, node->a, scope, &value) ||
            !sterna_jinja_truth(run, value, &truth))
            return false;
        if (truth)
            return sterna_jinja_fail(run, STERNA_ERROR_UNSUPPORTED,
                                     "{%% autoescape %%} is not supported");
    }
    jinja_scope *inner =
        sterna_jinja_new_scope(run, node->kind == JINJA_BLOCK ? &run->root : scope);
    return inner && sterna_jinja_exec(run, &node->items, inner, flow);
}

static bool exec_one(jinja_run *run, const jinja_node *node, jinja_scope *scope, int *flow)
{
    jinja_value value;
    switch (node->kind) {
    case JINJA_DATA: return sterna_jinja_text_value(run->out, node->value);
    case JINJA_PRINT:
        return sterna_jinja_eval(run, node->a, scope, &value) &&
               sterna_jinja_text_value(run->out, value);
    case JINJA_FOR: return exec_for(run, node, scope, flow);
    case JINJA_IF: return exec_if(run, node, scope, flow);
    case JINJA_SET:
        return sterna_jinja_eval(run, node->b, scope, &value) &&
               sterna_jinja_assign(run, node->a, value, scope);
    case JINJA_SET_BLOCK: return exec_set_block(run, node, scope, flow);
    case JINJA_MACRO_BLOCK:
        return exec_macro(run, node, scope, &value) &&
               sterna_jinja_bind(run, scope, node->symbol, value);
    case JINJA_CALL_BLOCK: return exec_call_block(run, node, scope);
    case JINJA_FILTER_BLOCK: return exec_filter_block(run, node, scope, flow);
    case JINJA_WITH: return exec_with(run, node, scope, flow);
    case JINJA_SCOPE:
    case JINJA_BLOCK:
    case JINJA_ESCAPE_BLOCK: return exec_scope(run, node, scope, flow);
    case JINJA_BREAK:
    case JINJA_CONTINUE: *flow = (int)node->kind; return true;
    case JINJA_REFUSED:
        return sterna_jinja_fail(run, STERNA_ERROR_UNSUPPORTED, "the tag '%.*s' is not supported",
                                 (int)node->value.as.string->size, node->value.as.string->data);
    default: return sterna_jinja_fail(run, STERNA_ERROR_INTERNAL, "an unknown statement");
    }
}

bool sterna_jinja_exec(jinja_run *run, const jinja_nodes *body, jinja_scope *scope, int *flow)
{
    if (!sterna_jinja_enter(run)) return false;
    bool fine = true;
    for (size_t i = 0; i < body->count && fine && !*flow; i++) {
        run->line = body->items[i]->line;
        fine = sterna_jinja_step(run, 1) && exec_one(run, body->items[i], scope, flow);
    }
    sterna_jinja_leave(run);
    return fine;
}

/* ---- programs and runs ---- */

static bool is_utf8(const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        uint32_t c;
        size_t width = sterna_jinja_decode(text + at, text + size, &c);
        if (c == 0xfffd && width == 1) return false;
        at += width;
    }
    return true;
}

sterna_status sterna_jinja_compile(const char *text, size_t size, sterna_jinja_program **out,
                                   sterna_error *err)
{
    if (size > STERNA_JINJA_TEMPLATE_LIMIT)
        return sterna_fail(err, STERNA_ERROR_LIMIT,
                           "the chat template has %zu bytes; at most %u are read", size,
                           STERNA_JINJA_TEMPLATE_LIMIT);
    if (!is_utf8(text, size))
        return sterna_fail(err, STERNA_ERROR_FORMAT, "the chat template is not UTF-8 text");
    sterna_jinja_program *program = sterna_calloc(1, sizeof *program);
    if (!program) return sterna_fail_memory(err, "a chat template");
    jinja_token *tokens = NULL;
    size_t count = 0;
    sterna_status status = sterna_jinja_lex(&program->arena, text, size, &tokens, &count, err);
    if (status == STERNA_OK) status = sterna_jinja_parse(program, tokens, count, err);
    if (status != STERNA_OK) {
        sterna_jinja_free(program);
        return status;
    }
    *out = program;
    return STERNA_OK;
}

void sterna_jinja_free(sterna_jinja_program *program)
{
    if (!program) return;
    sterna_jinja_arena_free(&program->arena);
    sterna_free(program);
}

/* Every name of the template gets its variable, or the built-in of that name. */
static bool load_globals(jinja_run *run, json_t *variables)
{
    size_t count = run->program->symbol_count;
    run->globals = sterna_jinja_alloc(run, count, sizeof *run->globals);
    if (!run->globals) return false;
    for (size_t i = 0; i < count; i++) {
        const jinja_string *name = run->program->symbols[i];
        run->globals[i] = sterna_jinja_missing();
        char *key = sterna_jinja_alloc(run, name->size + 1, 1);
        if (!key) return false;
        memcpy(key, name->data, name->size);
        key[name->size] = 0;
        json_t *json = variables ? json_object_get(variables, key) : NULL;
        const jinja_callable *global = json ? NULL : sterna_jinja_global(name);
        if (json && !sterna_jinja_from_json(run, json, &run->globals[i])) return false;
        if (global) run->globals[i] = (jinja_value){.type = JINJA_FUNCTION, .as.function = global};
    }
    return true;
}

sterna_status sterna_jinja_render(const sterna_jinja_program *program, json_t *variables,
                                  const sterna_jinja_options *options, sterna_buffer *out,
                                  sterna_error *err)
{
    static const sterna_jinja_options defaults;
    if (!options) options = &defaults;
    jinja_run run = {.program = program, .options = options};
    jinja_text text;
    int flow = 0;
    run.steps_left = options->max_steps ? options->max_steps : DEFAULT_STEPS;
    run.max_depth = options->max_depth ? options->max_depth : DEFAULT_DEPTH;
    run.arena.limit = options->max_memory ? options->max_memory : DEFAULT_MEMORY;
    sterna_jinja_text_start(&text, &run);
    text.limit = options->max_output ? options->max_output : DEFAULT_OUTPUT;
    run.out = &text;
    if (load_globals(&run, variables) &&
        sterna_jinja_exec(&run, &program->body, &run.root, &flow)) {
        sterna_buffer_add(out, text.data ? text.data : "", text.size);
        if (out->failed) run.status = sterna_fail_memory(&run.error, "a rendered chat");
    }
    sterna_jinja_arena_free(&run.arena);
    if (run.status != STERNA_OK && err) *err = run.error;
    return run.status;
}
