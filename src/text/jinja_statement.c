/* The parser, statements: text, {{ }} and every tag. */
#include "text/jinja_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

static bool expect_end(jinja_parser *parser)
{
    char buffer[64];
    if (jinja_peek(parser)->type == JINJA_TOKEN_BLOCK_END) {
        parser->at++;
        return true;
    }
    return sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, jinja_peek(parser)->line,
                                   "expected %%}, found '%s'",
                                   sterna_jinja_describe(jinja_peek(parser), buffer));
}

static jinja_node *out_of_memory(jinja_parser *parser)
{
    parser->status = sterna_fail_memory(parser->err, "a chat template");
    return NULL;
}

static bool deepen(jinja_node *parent, const jinja_node *child)
{
    if (child && child->depth + 1 > parent->depth) parent->depth = child->depth + 1;
    return child != NULL;
}

static const char *const end_for[] = {"endfor", "else", NULL}, *const end_for_else[] = {"endfor",
                                                                                        NULL};
static const char *const end_if[] = {"elif", "else", "endif", NULL}, *const end_else[] = {"endif",
                                                                                          NULL};

static jinja_node *parse_for(jinja_parser *parser, jinja_node *node)
{
    bool soft = parser->soft;
    unsigned loops = parser->loop_depth;
    parser->for_depth++;
    node->a = sterna_jinja_parse_target(parser, false, false, "in");
    if (!node->a) return NULL;
    if (!sterna_jinja_skip_name(parser, "in")) {
        sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, jinja_peek(parser)->line,
                                "expected 'in' in a for tag");
        return NULL;
    }
    node->b = sterna_jinja_parse_tuple(parser, false, false, "recursive");
    if (!node->b || !deepen(node, node->b)) return NULL;
    parser->soft = false;
    if (sterna_jinja_skip_name(parser, "if")) {
        node->c = sterna_jinja_parse_expression(parser, true);
        if (!node->c || !deepen(node, node->c)) return NULL;
    }
    node->recursive = sterna_jinja_skip_name(parser, "recursive");
    if (node->recursive) loops = 0;
    parser->loop_depth = loops + 1;
    if (!sterna_jinja_parse_body(parser, node, &node->items, end_for, false)) return NULL;
    parser->loop_depth = loops;
    if (sterna_jinja_skip_name(parser, "else")) {
        if (!sterna_jinja_parse_body(parser, node, &node->else_items, end_for_else, true))
            return NULL;
    } else {
        parser->at++;
    }
    parser->soft = soft;
    parser->for_depth--;
    return node;
}

/* An elif is an if inside the else branch. */
static jinja_node *parse_if(jinja_parser *parser, jinja_node *node)
{
    bool soft = parser->soft;
    parser->soft = true;
    jinja_node *part = node;
    for (;;) {
        part->a = sterna_jinja_parse_tuple(parser, false, false, NULL);
        if (!part->a || !deepen(part, part->a)) return NULL;
        if (!sterna_jinja_parse_body(parser, part, &part->items, end_if, false)) return NULL;
        if (!sterna_jinja_skip_name(parser, "elif")) break;
        jinja_node *next = sterna_jinja_new_node(parser, JINJA_IF, jinja_peek(parser)->line);
        if (!sterna_jinja_add_node(parser, NULL, &part->else_items, next)) return NULL;
        part = next;
    }
    if (sterna_jinja_skip_name(parser, "else")) {
        if (!sterna_jinja_parse_body(parser, part, &part->else_items, end_else, true)) return NULL;
    } else {
        parser->at++;
    }
    /* `depth` of the parts behind an elif is not summed up: sterna_jinja_exec walks them in a loop
     */
    for (const jinja_node *p = node; p; p = p->else_items.count ? p->else_items.items[0] : NULL) {
        if (p->depth > node->depth) node->depth = p->depth;
        if (p == part) break;
    }
    parser->soft = soft;
    return node;
}

static jinja_node *parse_set(jinja_parser *parser, jinja_node *node)
{
    static const char *const ends[] = {"endset", NULL};
    node->a = sterna_jinja_parse_target(parser, false, true, NULL);
    if (!node->a) return NULL;
    if (sterna_jinja_skip_op(parser, '=')) {
        node->b = sterna_jinja_parse_tuple(parser, true, false, NULL);
        return node->b && deepen(node, node->b) ? node : NULL;
    }
    node->kind = JINJA_SET_BLOCK;
    if (sterna_jinja_at_op(parser, '|')) {
        node->b = sterna_jinja_parse_filters(
            parser, sterna_jinja_new_node(parser, JINJA_CAPTURED, node->line), false);
        if (!node->b || !deepen(node, node->b)) return NULL;
    }
    bool soft = parser->soft;
    parser->soft = false;
    if (!sterna_jinja_parse_body(parser, node, &node->items, ends, true)) return NULL;
    parser->soft = soft;
    return node;
}

static bool parse_signature(jinja_parser *parser, jinja_signature *signature)
{
    if (!sterna_jinja_expect_op(parser, '(')) return false;
    while (!sterna_jinja_at_op(parser, ')')) {
        if (signature->parameters.count && !sterna_jinja_expect_op(parser, ',')) return false;
        jinja_node *name = sterna_jinja_parse_target(parser, true, false, NULL);
        if (!sterna_jinja_add_node(parser, NULL, &signature->parameters, name)) return false;
        for (size_t i = 0; i + 1 < signature->parameters.count; i++)
            if (signature->parameters.items[i]->symbol == name->symbol)
                return sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, name->line,
                                               "a macro has two parameters of one name");
        if (sterna_jinja_skip_op(parser, '=')) {
            if (!sterna_jinja_add_node(parser, NULL, &signature->defaults,
                                       sterna_jinja_parse_expression(parser, true)))
                return false;
        } else if (signature->defaults.count) {
            return sterna_jinja_parse_fail(
                parser, STERNA_ERROR_FORMAT, name->line,
                "a parameter without default follows one with a default");
        }
    }
    parser->at++;
    return true;
}

/* A body that is a function of its own: macro, call, generation. */
static bool parse_function_body(jinja_parser *parser, jinja_node *node, const char *const *ends)
{
    struct jinja_function_frame frame = {node->signature, parser->function};
    bool soft = parser->soft;
    unsigned loops = parser->loop_depth;
    parser->function = &frame;
    parser->soft = false;
    parser->loop_depth = 0;
    bool fine = sterna_jinja_parse_body(parser, node, &node->items, ends, true);
    parser->function = frame.outer;
    parser->soft = soft;
    parser->loop_depth = loops;
    return fine;
}

static jinja_node *new_signature(jinja_parser *parser, jinja_node *node)
{
    node->signature = sterna_jinja_arena_alloc(&parser->program->arena, 1, sizeof *node->signature);
    if (!node->signature) return out_of_memory(parser);
    memset(node->signature, 0, sizeof *node->signature);
    return node;
}

static jinja_node *parse_macro(jinja_parser *parser, jinja_node *node)
{
    static const char *const ends[] = {"endmacro", NULL};
    jinja_value name = jinja_peek(parser)->value;
    jinja_node *target = sterna_jinja_parse_target(parser, true, false, NULL);
    if (!target || !new_signature(parser, node) || !parse_signature(parser, node->signature) ||
        !parse_function_body(parser, node, ends))
        return NULL;
    node->symbol = target->symbol;
    node->value = name;
    for (size_t i = 0; i < node->signature->parameters.count; i++) {
        int symbol = node->signature->parameters.items[i]->symbol;
        bool has_default = i + node->signature->defaults.count >= node->signature->parameters.count;
        if (symbol == JINJA_SYMBOL_CALLER && node->signature->uses_caller && !has_default) {
            sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, node->line,
                                    "a macro's parameter 'caller' must have a default");
            return NULL;
        }
        if (symbol == JINJA_SYMBOL_KWARGS) node->signature->uses_kwargs = false;
        if (symbol == JINJA_SYMBOL_VARARGS) node->signature->uses_varargs = false;
        if (symbol == JINJA_SYMBOL_CALLER) node->signature->uses_caller = false;
    }
    return node;
}

static jinja_node *parse_call_block(jinja_parser *parser, jinja_node *node)
{
    static const char *const ends[] = {"endcall", NULL};
    if (!new_signature(parser, node)) return NULL;
    if (sterna_jinja_at_op(parser, '(') && !parse_signature(parser, node->signature)) return NULL;
    node->a = sterna_jinja_parse_expression(parser, true);
    if (!node->a || !deepen(node, node->a)) return NULL;
    if (node->a->kind != JINJA_CALL) {
        sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, node->line,
                                "a call block needs a call");
        return NULL;
    }
    return parse_function_body(parser, node, ends) ? node : NULL;
}

static jinja_node *parse_filter_block(jinja_parser *parser, jinja_node *node)
{
    static const char *const ends[] = {"endfilter", NULL};
    bool soft = parser->soft;
    parser->soft = false;
    node->a = sterna_jinja_parse_filters(
        parser, sterna_jinja_new_node(parser, JINJA_CAPTURED, node->line), true);
    if (!node->a || !deepen(node, node->a) ||
        !sterna_jinja_parse_body(parser, node, &node->items, ends, true))
        return NULL;
    parser->soft = soft;
    return node;
}

/* Targets and values alternate in node->else_items. */
static jinja_node *parse_with(jinja_parser *parser, jinja_node *node)
{
    static const char *const ends[] = {"endwith", NULL};
    bool soft = parser->soft;
    while (jinja_peek(parser)->type != JINJA_TOKEN_BLOCK_END) {
        if (node->else_items.count && !sterna_jinja_expect_op(parser, ',')) return NULL;
        unsigned fors = parser->for_depth;
        parser->for_depth = 0; /* `with loop = x` is allowed */
        jinja_node *target = sterna_jinja_parse_target(parser, false, false, NULL);
        parser->for_depth = fors;
        if (!sterna_jinja_add_node(parser, node, &node->else_items, target) ||
            !sterna_jinja_expect_op(parser, '=') ||
            !sterna_jinja_add_node(parser, node, &node->else_items,
                                   sterna_jinja_parse_expression(parser, true)))
            return NULL;
    }
    parser->soft = false;
    if (!sterna_jinja_parse_body(parser, node, &node->items, ends, true)) return NULL;
    parser->soft = soft;
    return node;
}

static jinja_node *parse_generation(jinja_parser *parser, jinja_node *node)
{
    static const char *const ends[] = {"endgeneration", NULL};
    if (!new_signature(parser, node) || !parse_function_body(parser, node, ends)) return NULL;
    return node;
}

static jinja_node *parse_block(jinja_parser *parser, jinja_node *node)
{
    static const char *const ends[] = {"endblock", NULL};
    char name[64];
    if (jinja_peek(parser)->type != JINJA_TOKEN_NAME) {
        sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, node->line, "a block needs a name");
        return NULL;
    }
    snprintf(name, sizeof name, "%.*s", (int)(jinja_peek(parser)->value.as.string->size & 63),
             jinja_peek(parser)->value.as.string->data);
    parser->at++;
    sterna_jinja_skip_name(parser, "scoped");
    if (sterna_jinja_skip_name(parser, "required")) {
        sterna_jinja_parse_fail(parser, STERNA_ERROR_UNSUPPORTED, node->line,
                                "required blocks are not supported");
        return NULL;
    }
    if (!new_signature(parser, node) || !parse_function_body(parser, node, ends)) return NULL;
    sterna_jinja_skip_name(parser, name);
    return node;
}

static jinja_node *parse_autoescape(jinja_parser *parser, jinja_node *node)
{
    static const char *const ends[] = {"endautoescape", NULL};
    bool soft = parser->soft;
    parser->soft = false;
    node->a = sterna_jinja_parse_expression(parser, true);
    if (!node->a || !deepen(node, node->a) ||
        !sterna_jinja_parse_body(parser, node, &node->items, ends, true))
        return NULL;
    parser->soft = soft;
    return node;
}

/* {% print a, b %} */
static jinja_node *parse_print(jinja_parser *parser, jinja_node *node)
{
    while (jinja_peek(parser)->type != JINJA_TOKEN_BLOCK_END) {
        if (node->items.count && !sterna_jinja_expect_op(parser, ',')) return NULL;
        jinja_node *print = sterna_jinja_new_node(parser, JINJA_PRINT, node->line);
        if (!print) return NULL;
        print->a = sterna_jinja_parse_expression(parser, true);
        if (!print->a || !deepen(print, print->a) ||
            !sterna_jinja_add_node(parser, node, &node->items, print))
            return NULL;
    }
    return node;
}

static jinja_node *parse_loop_control(jinja_parser *parser, jinja_node *node)
{
    if (parser->loop_depth) return node;
    sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, node->line,
                            "break and continue work only in a for loop");
    return NULL;
}

/* Tags that need other templates: they fail when they are reached. */
static jinja_node *parse_refused(jinja_parser *parser, jinja_node *node)
{
    node->value = parser->tokens[parser->at - 1].value;
    while (jinja_peek(parser)->type != JINJA_TOKEN_BLOCK_END &&
           jinja_peek(parser)->type != JINJA_TOKEN_END)
        parser->at++;
    return node;
}

static const struct {
    const char *name;
    jinja_kind kind;
    jinja_node *(*parse)(jinja_parser *parser, jinja_node *node);
} tags[] = {
    {"for", JINJA_FOR, parse_for},
    {"if", JINJA_IF, parse_if},
    {"set", JINJA_SET, parse_set},
    {"macro", JINJA_MACRO_BLOCK, parse_macro},
    {"call", JINJA_CALL_BLOCK, parse_call_block},
    {"filter", JINJA_FILTER_BLOCK, parse_filter_block},
    {"with", JINJA_WITH, parse_with},
    {"generation", JINJA_SCOPE, parse_generation},
    {"block", JINJA_BLOCK, parse_block},
    {"autoescape", JINJA_ESCAPE_BLOCK, parse_autoescape},
    {"print", JINJA_SCOPE, parse_print},
    {"break", JINJA_BREAK, parse_loop_control},
    {"continue", JINJA_CONTINUE, parse_loop_control},
    {"include", JINJA_REFUSED, parse_refused},
    {"import", JINJA_REFUSED, parse_refused},
    {"from", JINJA_REFUSED, parse_refused},
    {"extends", JINJA_REFUSED, parse_refused},
};

static jinja_node *parse_statement(jinja_parser *parser)
{
    char buffer[64];
    const jinja_token *token = jinja_peek(parser);
    for (size_t i = 0; token->type == JINJA_TOKEN_NAME && i < sizeof tags / sizeof *tags; i++) {
        if (!sterna_jinja_string_is(token->value.as.string, tags[i].name)) continue;
        if (++parser->depth > JINJA_MAX_NESTING) {
            sterna_jinja_parse_fail(parser, STERNA_ERROR_LIMIT, token->line,
                                    "blocks are nested more than %d levels deep",
                                    JINJA_MAX_NESTING);
            return NULL;
        }
        parser->at++;
        jinja_node *node = sterna_jinja_new_node(parser, tags[i].kind, token->line);
        node = node ? tags[i].parse(parser, node) : NULL;
        parser->depth--;
        return node;
    }
    sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, token->line,
                            "unknown or misplaced tag '%s'", sterna_jinja_describe(token, buffer));
    return NULL;
}

static bool at_end(const jinja_parser *parser, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (sterna_jinja_at_name(parser, *ends)) return true;
    return false;
}

/* Statements up to one of the end tags (NULL: to the end of the template). */
static bool parse_statements(jinja_parser *parser, jinja_node *parent, jinja_nodes *body,
                             const char *const *ends)
{
    char buffer[64];
    for (;;) {
        const jinja_token *token = jinja_peek(parser);
        jinja_node *node = NULL;
        if (token->type == JINJA_TOKEN_END) {
            return !ends ||
                   sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, token->line,
                                           "the template ends where {%% %s %%} is expected", *ends);
        }
        parser->at++;
        if (token->type == JINJA_TOKEN_DATA) {
            node = sterna_jinja_new_node(parser, JINJA_DATA, token->line);
            if (node) node->value = token->value;
        } else if (token->type == JINJA_TOKEN_PRINT_BEGIN) {
            node = sterna_jinja_new_node(parser, JINJA_PRINT, token->line);
            if (node) node->a = sterna_jinja_parse_tuple(parser, true, false, NULL);
            if (!node || !deepen(node, node->a)) return false;
            if (jinja_peek(parser)->type != JINJA_TOKEN_PRINT_END)
                return sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, token->line,
                                               "expected }}, found '%s'",
                                               sterna_jinja_describe(jinja_peek(parser), buffer));
            parser->at++;
        } else {
            if (at_end(parser, ends)) return true;
            node = parse_statement(parser);
            if (!node || !expect_end(parser)) return false;
        }
        if (!sterna_jinja_add_node(parser, parent, body, node)) return false;
    }
}

bool sterna_jinja_parse_body(jinja_parser *parser, jinja_node *parent, jinja_nodes *body,
                             const char *const *ends, bool drop_end)
{
    sterna_jinja_skip_op(parser, ':');
    if (!expect_end(parser) || !parse_statements(parser, parent, body, ends)) return false;
    if (drop_end) parser->at++;
    return true;
}

static bool parse_all(jinja_parser *parser)
{
    static const jinja_string fixed[] = {{"loop", 4, 4, NULL},
                                         {"caller", 6, 6, NULL},
                                         {"varargs", 7, 7, NULL},
                                         {"kwargs", 6, 6, NULL}};
    for (size_t i = 0; i < JINJA_SYMBOL_FIXED; i++)
        if (sterna_jinja_symbol(parser, &fixed[i]) < 0) return false;
    if (!parse_statements(parser, NULL, &parser->program->body, NULL)) return false;
    if (!parser->unknown_count) return true;
    const jinja_node *node = parser->unknown[0];
    const jinja_string *name = node->value.as.string;
    return sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, node->line,
                                   "there is no %s named '%.*s'",
                                   node->kind == JINJA_FILTER ? "filter" : "test",
                                   name->size < 60 ? (int)name->size : 60, name->data);
}

sterna_status sterna_jinja_parse(sterna_jinja_program *program, jinja_token *tokens, size_t count,
                                 sterna_error *err)
{
    (void)count;
    jinja_parser parser = {.program = program, .tokens = tokens, .err = err};
    parser.symbols = sterna_map_new(64);
    if (!parser.symbols) return sterna_fail_memory(err, "a chat template");
    if (!parse_all(&parser) && parser.status == STERNA_OK)
        parser.status = sterna_fail(err, STERNA_ERROR_INTERNAL, "a chat template cannot be parsed");
    sterna_map_free(parser.symbols);
    return parser.status;
}
