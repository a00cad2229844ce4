/* The parser, expressions: jinja2's grammar, from the conditional expression down to names and
 * literals. Statements are in jinja_statement.c. */
#include "text/jinja_internal.h"

#include <string.h>

static const jinja_token *peek_next(const jinja_parser *parser)
{
    const jinja_token *token = jinja_peek(parser);
    return token->type == JINJA_TOKEN_END ? token : token + 1;
}

static jinja_node *unary(jinja_parser *parser, jinja_kind kind, int line, jinja_node *a)
{
    jinja_node *node = a ? sterna_jinja_new_node(parser, kind, line) : NULL;
    if (!node || !sterna_jinja_deepen(parser, node, a)) return NULL;
    node->a = a;
    return node;
}

static jinja_node *binary(jinja_parser *parser, jinja_kind kind, jinja_operator op, int line,
                          jinja_node *a, jinja_node *b)
{
    jinja_node *node = b ? unary(parser, kind, line, a) : NULL;
    if (!node || !sterna_jinja_deepen(parser, node, b)) return NULL;
    node->op = op;
    node->b = b;
    return node;
}

/* ---- literals and names ---- */

static jinja_node *parse_string(jinja_parser *parser)
{
    const jinja_token *first = jinja_peek(parser);
    size_t size = 0, count = 0;
    while (parser->tokens[parser->at].type == JINJA_TOKEN_CONSTANT &&
           parser->tokens[parser->at].value.type == JINJA_STRING) {
        size += parser->tokens[parser->at++].value.as.string->size;
        count++;
    }
    jinja_node *node = sterna_jinja_new_node(parser, JINJA_CONSTANT, first->line);
    if (!node) return NULL;
    node->value = first->value;
    if (count == 1) return node;
    jinja_string *string = sterna_jinja_arena_alloc(&parser->program->arena, 1, sizeof *string);
    char *data = string ? sterna_jinja_arena_alloc(&parser->program->arena, size, 1) : NULL;
    if (!data) {
        parser->status = sterna_fail_memory(parser->err, "a chat template");
        return NULL;
    }
    *string = (jinja_string){.data = data, .size = size};
    for (size_t i = 0; i < count; i++) {
        const jinja_string *part = first[i].value.as.string;
        memcpy(data, part->data, part->size);
        data += part->size;
        string->length += part->length;
    }
    node->value.as.string = string;
    return node;
}

/* Names that macros have to know whether their body reads. */
static void note_special(jinja_parser *parser, int symbol)
{
    for (struct jinja_function_frame *frame = parser->function; frame; frame = frame->outer) {
        frame->signature->uses_caller |= symbol == JINJA_SYMBOL_CALLER;
        frame->signature->uses_varargs |= symbol == JINJA_SYMBOL_VARARGS;
        frame->signature->uses_kwargs |= symbol == JINJA_SYMBOL_KWARGS;
    }
}

static jinja_node *parse_name(jinja_parser *parser, bool with_members)
{
    const jinja_token *token = jinja_peek(parser);
    const jinja_string *name = token->value.as.string;
    parser->at++;
    bool truth = sterna_jinja_string_is(name, "true") || sterna_jinja_string_is(name, "True");
    if (truth || sterna_jinja_string_is(name, "false") || sterna_jinja_string_is(name, "False") ||
        sterna_jinja_string_is(name, "none") || sterna_jinja_string_is(name, "None")) {
        jinja_node *node = sterna_jinja_new_node(parser, JINJA_CONSTANT, token->line);
        if (node)
            node->value =
                (name->data[0] | 0x20) == 'n' ? sterna_jinja_none() : sterna_jinja_bool(truth);
        return node;
    }
    jinja_node *node = sterna_jinja_new_node(parser, JINJA_NAME, token->line);
    if (!node) return NULL;
    node->symbol = sterna_jinja_symbol(parser, name);
    if (node->symbol < 0) return NULL;
    if (with_members && sterna_jinja_skip_op(parser, '.')) {
        if (jinja_peek(parser)->type != JINJA_TOKEN_NAME) {
            sterna_jinja_unexpected(parser, "a name behind the dot");
            return NULL;
        }
        node->kind = JINJA_MEMBER;
        node->value = jinja_peek(parser)->value;
        parser->at++;
        return node;
    }
    note_special(parser, node->symbol);
    return node;
}

/* The items of a list or dict up to the closing bracket. */
static jinja_node *parse_display(jinja_parser *parser, bool dict)
{
    int close = dict ? '}' : ']';
    jinja_node *node = sterna_jinja_new_node(parser, dict ? JINJA_DICT_OF : JINJA_LIST_OF,
                                             jinja_peek(parser)->line);
    parser->at++;
    while (node && !sterna_jinja_at_op(parser, close)) {
        if (node->items.count && !sterna_jinja_expect_op(parser, ',')) return NULL;
        if (sterna_jinja_at_op(parser, close)) break;
        if (!sterna_jinja_add_node(parser, node, &node->items,
                                   sterna_jinja_parse_expression(parser, true)))
            return NULL;
        if (!dict) continue;
        if (!sterna_jinja_expect_op(parser, ':') ||
            !sterna_jinja_add_node(parser, node, &node->items,
                                   sterna_jinja_parse_expression(parser, true)))
            return NULL;
    }
    return node && sterna_jinja_expect_op(parser, close) ? node : NULL;
}

static jinja_node *parse_primary(jinja_parser *parser, bool with_members)
{
    const jinja_token *token = jinja_peek(parser);
    if (token->type == JINJA_TOKEN_NAME) return parse_name(parser, with_members);
    if (token->type == JINJA_TOKEN_CONSTANT) {
        if (token->value.type == JINJA_STRING) return parse_string(parser);
        jinja_node *node = sterna_jinja_new_node(parser, JINJA_CONSTANT, token->line);
        if (node) node->value = token->value;
        parser->at++;
        return node;
    }
    if (sterna_jinja_at_op(parser, '[')) return parse_display(parser, false);
    if (sterna_jinja_at_op(parser, '{')) return parse_display(parser, true);
    if (sterna_jinja_skip_op(parser, '(')) {
        jinja_node *node = sterna_jinja_parse_tuple(parser, true, true, NULL);
        return node && sterna_jinja_expect_op(parser, ')') ? node : NULL;
    }
    sterna_jinja_unexpected(parser, "an expression");
    return NULL;
}

/* ---- calls, lookups, filters, tests ---- */

static bool add_keyword(jinja_parser *parser, jinja_call *call, const jinja_string *name,
                        jinja_node *value)
{
    if (!value) return false;
    for (size_t i = 0; i < call->keyword_count; i++)
        if (call->keywords[i].name->size == name->size &&
            !memcmp(call->keywords[i].name->data, name->data, name->size))
            return sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, value->line,
                                           "an argument is given twice by name");
    if (call->keyword_count == call->keyword_capacity) {
        size_t capacity = call->keyword_capacity ? call->keyword_capacity * 2 : 4;
        jinja_keyword *keywords = sterna_jinja_arena_grow(&parser->program->arena, call->keywords,
                                                          call->keyword_count * sizeof *keywords,
                                                          capacity * sizeof *keywords);
        if (!keywords) {
            parser->status = sterna_fail_memory(parser->err, "a chat template");
            return false;
        }
        call->keywords = keywords;
        call->keyword_capacity = capacity;
    }
    call->keywords[call->keyword_count++] = (jinja_keyword){name, value};
    return true;
}

static bool parse_argument(jinja_parser *parser, jinja_node *node, jinja_call *call)
{
    bool ordered = true;
    const jinja_token *token = jinja_peek(parser);
    const jinja_token *next = peek_next(parser);
    if (sterna_jinja_skip_op(parser, '*')) {
        ordered = !call->star && !call->double_star;
        call->star = sterna_jinja_parse_expression(parser, true);
        if (!call->star || !sterna_jinja_deepen(parser, node, call->star)) return false;
    } else if (sterna_jinja_skip_op(parser, '*' << 8 | '*')) {
        ordered = !call->double_star;
        call->double_star = sterna_jinja_parse_expression(parser, true);
        if (!call->double_star || !sterna_jinja_deepen(parser, node, call->double_star))
            return false;
    } else if (token->type == JINJA_TOKEN_NAME && next->type == JINJA_TOKEN_OPERATOR &&
               next->op == '=') {
        parser->at += 2;
        ordered = !call->double_star;
        jinja_node *value = sterna_jinja_parse_expression(parser, true);
        if (!add_keyword(parser, call, token->value.as.string, value) ||
            !sterna_jinja_deepen(parser, node, value))
            return false;
    } else {
        ordered = !call->star && !call->double_star && !call->keyword_count;
        if (!sterna_jinja_add_node(parser, node, &call->positional,
                                   sterna_jinja_parse_expression(parser, true)))
            return false;
    }
    return ordered || sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, token->line,
                                              "invalid syntax for function call expression");
}

/* "(...)" behind a call, filter or test; node->call stays NULL without it. */
static bool parse_arguments(jinja_parser *parser, jinja_node *node)
{
    if (!sterna_jinja_skip_op(parser, '(')) return true;
    jinja_call *call = sterna_jinja_arena_alloc(&parser->program->arena, 1, sizeof *call);
    if (!call) {
        parser->status = sterna_fail_memory(parser->err, "a chat template");
        return false;
    }
    memset(call, 0, sizeof *call);
    node->call = call;
    for (bool more = false; !sterna_jinja_at_op(parser, ')'); more = true) {
        if (more && !sterna_jinja_expect_op(parser, ',')) return false;
        if (more && sterna_jinja_at_op(parser, ')')) break;
        if (!parse_argument(parser, node, call)) return false;
    }
    return sterna_jinja_expect_op(parser, ')');
}

static jinja_node *parse_call(jinja_parser *parser, jinja_node *callee)
{
    jinja_node *node = unary(parser, JINJA_CALL, jinja_peek(parser)->line, callee);
    return node && parse_arguments(parser, node) ? node : NULL;
}

/* The inside of [...]: an index or a slice. */
static jinja_node *parse_item(jinja_parser *parser, jinja_node *owner)
{
    int line = jinja_peek(parser)->line;
    jinja_node *parts[3] = {NULL, NULL, NULL};
    int part = 0;
    parser->at++;
    for (; part < 3; part++) {
        if (!sterna_jinja_at_op(parser, ':') && !sterna_jinja_at_op(parser, ']') &&
            !sterna_jinja_at_op(parser, ',')) {
            parts[part] = sterna_jinja_parse_expression(parser, true);
            if (!parts[part]) return NULL;
        }
        if (part == 2 || !sterna_jinja_skip_op(parser, ':')) break;
    }
    if (part == 0 && sterna_jinja_at_op(parser, ',') && parts[0]) { /* a[1, 2] looks up a tuple */
        jinja_node *tuple = sterna_jinja_new_node(parser, JINJA_TUPLE_OF, line);
        if (!tuple || !sterna_jinja_add_node(parser, tuple, &tuple->items, parts[0])) return NULL;
        while (sterna_jinja_skip_op(parser, ','))
            if (!sterna_jinja_add_node(parser, tuple, &tuple->items,
                                       sterna_jinja_parse_expression(parser, true)))
                return NULL;
        parts[0] = tuple;
    }
    if (!sterna_jinja_expect_op(parser, ']')) return NULL;
    if (part == 0 && !parts[0]) { /* a[] looks up an empty tuple */
        parts[0] = sterna_jinja_new_node(parser, JINJA_TUPLE_OF, line);
        if (!parts[0]) return NULL;
    }
    if (part == 0) return binary(parser, JINJA_ITEM, JINJA_ADD, line, owner, parts[0]);
    jinja_node *node = unary(parser, JINJA_SLICE, line, owner);
    for (int i = 0; i < 3 && node; i++)
        if (parts[i] && !sterna_jinja_deepen(parser, node, parts[i])) return NULL;
    if (!node) return NULL;
    node->b = parts[0];
    node->c = parts[1];
    node->d = parts[2];
    return node;
}

static jinja_node *parse_postfix(jinja_parser *parser, jinja_node *node)
{
    while (node) {
        int line = jinja_peek(parser)->line;
        if (sterna_jinja_skip_op(parser, '.')) {
            const jinja_token *token = jinja_peek(parser);
            bool name = token->type == JINJA_TOKEN_NAME;
            if (!name && !(token->type == JINJA_TOKEN_CONSTANT && token->value.type == JINJA_INT)) {
                sterna_jinja_unexpected(parser, "a name or number behind the dot");
                return NULL;
            }
            if (!name) {
                node =
                    binary(parser, JINJA_ITEM, JINJA_ADD, line, node, parse_primary(parser, false));
            } else {
                parser->at++;
                node = unary(parser, JINJA_ATTRIBUTE, line, node);
                if (node) node->value = token->value;
            }
        } else if (sterna_jinja_at_op(parser, '[')) {
            node = parse_item(parser, node);
        } else if (sterna_jinja_at_op(parser, '(')) {
            node = parse_call(parser, node);
        } else {
            break;
        }
    }
    return node;
}

/* Resolves the name of a filter or test; unknown ones fail at once unless a condition decides
 * whether they are called. */
static bool resolve(jinja_parser *parser, jinja_node *node, const char *what)
{
    jinja_string *name = node->value.as.string;
    node->callable =
        node->kind == JINJA_FILTER ? sterna_jinja_filter(name) : sterna_jinja_test(name);
    if (node->callable || parser->soft) return true;
    if (parser->unknown_count < sizeof parser->unknown / sizeof *parser->unknown) {
        parser->unknown[parser->unknown_count++] = node;
        return true;
    }
    return sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, node->line,
                                   "there is no %s named '%.*s'", what,
                                   name->size < 60 ? (int)name->size : 60, name->data);
}

/* The name of a filter or test, with dots. */
static bool parse_callable_name(jinja_parser *parser, jinja_node *node)
{
    if (jinja_peek(parser)->type != JINJA_TOKEN_NAME)
        return sterna_jinja_unexpected(parser, "the name of a filter or test");
    node->value = jinja_peek(parser)->value;
    parser->at++;
    while (sterna_jinja_skip_op(parser, '.')) {
        if (jinja_peek(parser)->type != JINJA_TOKEN_NAME)
            return sterna_jinja_unexpected(parser, "a name");
        node->value =
            jinja_peek(parser)->value; /* no name with a dot exists: unknown in any case */
        parser->at++;
    }
    return true;
}

jinja_node *sterna_jinja_parse_filters(jinja_parser *parser, jinja_node *node, bool inline_start)
{
    while (node && (inline_start || sterna_jinja_skip_op(parser, '|'))) {
        inline_start = false;
        node = unary(parser, JINJA_FILTER, jinja_peek(parser)->line, node);
        if (!node || !parse_callable_name(parser, node) || !resolve(parser, node, "filter") ||
            !parse_arguments(parser, node))
            return NULL;
    }
    return node;
}

static jinja_node *parse_test(jinja_parser *parser, jinja_node *value)
{
    int line = jinja_peek(parser)->line;
    parser->at++;
    bool negated = sterna_jinja_skip_name(parser, "not");
    jinja_node *node = unary(parser, JINJA_TEST, line, value);
    if (!node || !parse_callable_name(parser, node) || !resolve(parser, node, "test")) return NULL;
    const jinja_token *token = jinja_peek(parser);
    bool operand = token->type == JINJA_TOKEN_NAME || token->type == JINJA_TOKEN_CONSTANT ||
                   sterna_jinja_at_op(parser, '[') || sterna_jinja_at_op(parser, '{');
    if (sterna_jinja_at_op(parser, '(')) {
        if (!parse_arguments(parser, node)) return NULL;
    } else if (operand && !sterna_jinja_at_name(parser, "else") &&
               !sterna_jinja_at_name(parser, "or") && !sterna_jinja_at_name(parser, "and")) {
        if (sterna_jinja_at_name(parser, "is")) {
            sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, line,
                                    "tests cannot be chained with 'is'");
            return NULL;
        }
        jinja_call *call = sterna_jinja_arena_alloc(&parser->program->arena, 1, sizeof *call);
        if (!call) {
            parser->status = sterna_fail_memory(parser->err, "a chat template");
            return NULL;
        }
        memset(call, 0, sizeof *call);
        node->call = call;
        if (!sterna_jinja_add_node(parser, node, &call->positional,
                                   parse_postfix(parser, parse_primary(parser, false))))
            return NULL;
    }
    return negated ? unary(parser, JINJA_NOT, line, node) : node;
}

/* ---- operators ---- */

static jinja_node *parse_unary(jinja_parser *parser, bool with_filters)
{
    jinja_node *node;
    int line = jinja_peek(parser)->line;
    bool minus = sterna_jinja_at_op(parser, '-');
    if (minus || sterna_jinja_at_op(parser, '+')) {
        if (++parser->depth > JINJA_MAX_NESTING) {
            sterna_jinja_parse_fail(parser, STERNA_ERROR_LIMIT, line,
                                    "the expression is nested too deep");
            return NULL;
        }
        parser->at++;
        node = unary(parser, minus ? JINJA_NEGATE : JINJA_PLUS, line, parse_unary(parser, false));
        parser->depth--;
    } else {
        node = parse_primary(parser, false);
    }
    node = parse_postfix(parser, node);
    while (with_filters && node) {
        if (sterna_jinja_at_op(parser, '|'))
            node = sterna_jinja_parse_filters(parser, node, false);
        else if (sterna_jinja_at_name(parser, "is"))
            node = parse_test(parser, node);
        else if (sterna_jinja_at_op(parser, '('))
            node = parse_call(parser, node);
        else
            break;
    }
    return node;
}

static jinja_node *parse_power(jinja_parser *parser)
{
    int line = jinja_peek(parser)->line;
    jinja_node *left = parse_unary(parser, true);
    while (left && sterna_jinja_skip_op(parser, '*' << 8 | '*'))
        left = binary(parser, JINJA_BINARY, JINJA_POWER, line, left, parse_unary(parser, true));
    return left;
}

static jinja_node *parse_product(jinja_parser *parser)
{
    int line = jinja_peek(parser)->line;
    jinja_node *left = parse_power(parser);
    while (left) {
        jinja_operator op = sterna_jinja_skip_op(parser, '*')              ? JINJA_MULTIPLY
                            : sterna_jinja_skip_op(parser, '/')            ? JINJA_DIVIDE
                            : sterna_jinja_skip_op(parser, '/' << 8 | '/') ? JINJA_FLOOR_DIVIDE
                            : sterna_jinja_skip_op(parser, '%')            ? JINJA_MODULO
                                                                           : JINJA_ADD;
        if (op == JINJA_ADD) break;
        left = binary(parser, JINJA_BINARY, op, line, left, parse_power(parser));
    }
    return left;
}

static jinja_node *parse_concat(jinja_parser *parser)
{
    int line = jinja_peek(parser)->line;
    jinja_node *first = parse_product(parser);
    if (!first || !sterna_jinja_at_op(parser, '~')) return first;
    jinja_node *node = sterna_jinja_new_node(parser, JINJA_CONCAT, line);
    if (!node || !sterna_jinja_add_node(parser, node, &node->items, first)) return NULL;
    while (sterna_jinja_skip_op(parser, '~'))
        if (!sterna_jinja_add_node(parser, node, &node->items, parse_product(parser))) return NULL;
    return node;
}

static jinja_node *parse_sum(jinja_parser *parser)
{
    int line = jinja_peek(parser)->line;
    jinja_node *left = parse_concat(parser);
    while (left && (sterna_jinja_at_op(parser, '+') || sterna_jinja_at_op(parser, '-'))) {
        jinja_operator op = sterna_jinja_at_op(parser, '+') ? JINJA_ADD : JINJA_SUBTRACT;
        parser->at++;
        left = binary(parser, JINJA_BINARY, op, line, left, parse_concat(parser));
    }
    return left;
}

static bool skip_comparison(jinja_parser *parser, jinja_operator *op)
{
    static const struct {
        int token;
        jinja_operator op;
    } table[] = {{'=' << 8 | '=', JINJA_EQUAL},
                 {'!' << 8 | '=', JINJA_NOT_EQUAL},
                 {'<', JINJA_LESS},
                 {'<' << 8 | '=', JINJA_LESS_EQUAL},
                 {'>', JINJA_GREATER},
                 {'>' << 8 | '=', JINJA_GREATER_EQUAL}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!sterna_jinja_skip_op(parser, table[i].token)) continue;
        *op = table[i].op;
        return true;
    }
    if (sterna_jinja_skip_name(parser, "in")) {
        *op = JINJA_IN;
        return true;
    }
    const jinja_token *next = peek_next(parser);
    if (!sterna_jinja_at_name(parser, "not") || next->type != JINJA_TOKEN_NAME ||
        !sterna_jinja_string_is(next->value.as.string, "in"))
        return false;
    parser->at += 2;
    *op = JINJA_NOT_IN;
    return true;
}

static jinja_node *parse_comparison(jinja_parser *parser)
{
    int line = jinja_peek(parser)->line;
    jinja_node *first = parse_sum(parser), *node = NULL;
    jinja_operator op;
    size_t capacity = 0;
    while (first && skip_comparison(parser, &op)) {
        if (!node) node = unary(parser, JINJA_COMPARE, line, first);
        if (!node || !sterna_jinja_add_node(parser, node, &node->items, parse_sum(parser)))
            return NULL;
        if (node->items.count > capacity) {
            size_t wanted = capacity ? capacity * 2 : 2;
            jinja_operator *ops = sterna_jinja_arena_grow(
                &parser->program->arena, node->ops, capacity * sizeof *ops, wanted * sizeof *ops);
            if (!ops) {
                parser->status = sterna_fail_memory(parser->err, "a chat template");
                return NULL;
            }
            node->ops = ops;
            capacity = wanted;
        }
        node->ops[node->items.count - 1] = op;
    }
    return node ? node : first;
}

static jinja_node *parse_not(jinja_parser *parser)
{
    int line = jinja_peek(parser)->line;
    if (!sterna_jinja_skip_name(parser, "not")) return parse_comparison(parser);
    if (++parser->depth > JINJA_MAX_NESTING) {
        sterna_jinja_parse_fail(parser, STERNA_ERROR_LIMIT, line,
                                "the expression is nested too deep");
        return NULL;
    }
    jinja_node *node = unary(parser, JINJA_NOT, line, parse_not(parser));
    parser->depth--;
    return node;
}

static jinja_node *parse_and(jinja_parser *parser)
{
    int line = jinja_peek(parser)->line;
    jinja_node *left = parse_not(parser);
    while (left && sterna_jinja_skip_name(parser, "and"))
        left = binary(parser, JINJA_AND, JINJA_ADD, line, left, parse_not(parser));
    return left;
}

static jinja_node *parse_or(jinja_parser *parser)
{
    int line = jinja_peek(parser)->line;
    jinja_node *left = parse_and(parser);
    while (left && sterna_jinja_skip_name(parser, "or"))
        left = binary(parser, JINJA_OR, JINJA_ADD, line, left, parse_and(parser));
    return left;
}

static jinja_node *parse_condition(jinja_parser *parser)
{
    int line = jinja_peek(parser)->line;
    size_t unknown = parser->unknown_count;
    jinja_node *value = parse_or(parser);
    while (value && sterna_jinja_skip_name(parser, "if")) {
        jinja_node *test = parse_or(parser), *otherwise = NULL;
        if (test && sterna_jinja_skip_name(parser, "else")) {
            otherwise = sterna_jinja_parse_expression(parser, true);
            if (!otherwise) return NULL;
        }
        value = binary(parser, JINJA_CONDITION, JINJA_ADD, line, test, value);
        if (!value || (otherwise && !sterna_jinja_deepen(parser, value, otherwise))) return NULL;
        value->c = otherwise;
        parser->unknown_count = unknown; /* what a condition guards may be unknown */
    }
    return value;
}

jinja_node *sterna_jinja_parse_expression(jinja_parser *parser, bool with_condition)
{
    if (++parser->depth > JINJA_MAX_NESTING) {
        sterna_jinja_parse_fail(parser, STERNA_ERROR_LIMIT, jinja_peek(parser)->line,
                                "the expression is nested more than %d levels deep",
                                JINJA_MAX_NESTING);
        return NULL;
    }
    jinja_node *node = with_condition ? parse_condition(parser) : parse_or(parser);
    parser->depth--;
    return node;
}

static bool at_tuple_end(const jinja_parser *parser, const char *end)
{
    const jinja_token *token = jinja_peek(parser);
    return token->type == JINJA_TOKEN_PRINT_END || token->type == JINJA_TOKEN_BLOCK_END ||
           sterna_jinja_at_op(parser, ')') || (end && sterna_jinja_at_name(parser, end));
}

/* `simple`: only names and literals, for targets. */
static jinja_node *parse_tuple(jinja_parser *parser, bool simple, bool with_condition,
                               bool with_members, bool brackets, const char *end)
{
    jinja_node *tuple = sterna_jinja_new_node(parser, JINJA_TUPLE_OF, jinja_peek(parser)->line);
    bool comma = false;
    while (tuple && !at_tuple_end(parser, end)) {
        jinja_node *item = simple ? parse_primary(parser, with_members)
                                  : sterna_jinja_parse_expression(parser, with_condition);
        if (!sterna_jinja_add_node(parser, tuple, &tuple->items, item)) return NULL;
        if (!sterna_jinja_skip_op(parser, ',')) break;
        comma = true;
    }
    if (!tuple || comma) return tuple;
    if (tuple->items.count) return tuple->items.items[0];
    if (brackets) return tuple;
    sterna_jinja_unexpected(parser, "an expression");
    return NULL;
}

jinja_node *sterna_jinja_parse_tuple(jinja_parser *parser, bool with_condition, bool brackets,
                                     const char *end)
{
    return parse_tuple(parser, false, with_condition, false, brackets, end);
}

static bool assignable(jinja_parser *parser, const jinja_node *node)
{
    bool fine =
        node->kind == JINJA_NAME || node->kind == JINJA_MEMBER || node->kind == JINJA_TUPLE_OF;
    if (fine && node->kind == JINJA_NAME && node->symbol == JINJA_SYMBOL_LOOP && parser->for_depth)
        return sterna_jinja_parse_fail(
            parser, STERNA_ERROR_FORMAT, node->line,
            "the special variable 'loop' cannot be assigned in a for statement");
    for (size_t i = 0; fine && node->kind == JINJA_TUPLE_OF && i < node->items.count; i++)
        if (!assignable(parser, node->items.items[i])) return false;
    return fine || sterna_jinja_parse_fail(
                       parser, STERNA_ERROR_FORMAT, node->line,
                       "this cannot be assigned to; use a name, namespace.name or a tuple");
}

jinja_node *sterna_jinja_parse_target(jinja_parser *parser, bool name_only, bool with_members,
                                      const char *end)
{
    if (name_only && jinja_peek(parser)->type != JINJA_TOKEN_NAME) {
        sterna_jinja_unexpected(parser, "a name");
        return NULL;
    }
    jinja_node *node = name_only ? parse_primary(parser, false)
                                 : parse_tuple(parser, true, true, with_members, false, end);
    return node && assignable(parser, node) ? node : NULL;
}
