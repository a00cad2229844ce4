/* What parsing stands on: the cursor over a template's tokens, nodes of its tree, the numbers of
 * its symbols. The grammar is in jinja_parse.c and jinja_statement.c. */
#include "text/jinja_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"

/* Levels of the tree that evaluation may have to descend in one expression or block. */
#define TREE_DEPTH 1000

bool sterna_jinja_parse_fail(jinja_parser *parser, sterna_status status, int line,
                             const char *format, ...)
{
    char sentence[512];
    va_list arguments;
    if (parser->status != STERNA_OK) return false;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    parser->status = sterna_fail(parser->err, status, "template line %d: %s", line, sentence);
    return false;
}

const char *sterna_jinja_describe(const jinja_token *token, char buffer[64])
{
    switch (token->type) {
    case JINJA_TOKEN_DATA: return "text";
    case JINJA_TOKEN_PRINT_BEGIN: return "{{";
    case JINJA_TOKEN_PRINT_END: return "}}";
    case JINJA_TOKEN_BLOCK_BEGIN: return "{%";
    case JINJA_TOKEN_BLOCK_END: return "%}";
    case JINJA_TOKEN_CONSTANT: return "a literal";
    case JINJA_TOKEN_END: return "the end of the template";
    case JINJA_TOKEN_NAME:
        snprintf(buffer, 64, "%.*s",
                 token->value.as.string->size < 60 ? (int)token->value.as.string->size : 60,
                 token->value.as.string->data);
        return buffer;
    default:
        if (token->op > 0xff)
            snprintf(buffer, 64, "%c%c", token->op >> 8, token->op & 0xff);
        else
            snprintf(buffer, 64, "%c", token->op);
        return buffer;
    }
}

bool sterna_jinja_unexpected(jinja_parser *parser, const char *wanted)
{
    char buffer[64];
    return sterna_jinja_parse_fail(parser, STERNA_ERROR_FORMAT, jinja_peek(parser)->line,
                                   "expected %s, found '%s'", wanted,
                                   sterna_jinja_describe(jinja_peek(parser), buffer));
}

bool sterna_jinja_at_op(const jinja_parser *parser, int op)
{
    return jinja_peek(parser)->type == JINJA_TOKEN_OPERATOR && jinja_peek(parser)->op == op;
}

bool sterna_jinja_skip_op(jinja_parser *parser, int op)
{
    if (!sterna_jinja_at_op(parser, op)) return false;
    parser->at++;
    return true;
}

bool sterna_jinja_expect_op(jinja_parser *parser, int op)
{
    char wanted[4] = {(char)op, 0};
    return sterna_jinja_skip_op(parser, op) || sterna_jinja_unexpected(parser, wanted);
}

bool sterna_jinja_at_name(const jinja_parser *parser, const char *name)
{
    return jinja_peek(parser)->type == JINJA_TOKEN_NAME &&
           sterna_jinja_string_is(jinja_peek(parser)->value.as.string, name);
}

bool sterna_jinja_skip_name(jinja_parser *parser, const char *name)
{
    if (!sterna_jinja_at_name(parser, name)) return false;
    parser->at++;
    return true;
}

jinja_node *sterna_jinja_new_node(jinja_parser *parser, jinja_kind kind, int line)
{
    jinja_node *node = sterna_jinja_arena_alloc(&parser->program->arena, 1, sizeof *node);
    if (!node) {
        if (parser->status == STERNA_OK)
            parser->status = sterna_fail_memory(parser->err, "a chat template");
        return NULL;
    }
    memset(node, 0, sizeof *node);
    node->kind = kind;
    node->line = line;
    return node;
}

bool sterna_jinja_deepen(jinja_parser *parser, jinja_node *parent, const jinja_node *child)
{
    if (!child) return false;
    if (child->depth + 1 > parent->depth) parent->depth = child->depth + 1;
    return parent->depth <= TREE_DEPTH ||
           sterna_jinja_parse_fail(parser, STERNA_ERROR_LIMIT, parent->line,
                                   "an expression or block has more than %d levels", TREE_DEPTH);
}

bool sterna_jinja_add_node(jinja_parser *parser, jinja_node *parent, jinja_nodes *list,
                           jinja_node *node)
{
    if (!node || (parent && !sterna_jinja_deepen(parser, parent, node))) return false;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 4;
        jinja_node **items =
            sterna_jinja_arena_grow(&parser->program->arena, list->items,
                                    list->count * sizeof *items, capacity * sizeof *items);
        if (!items) {
            parser->status = sterna_fail_memory(parser->err, "a chat template");
            return false;
        }
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = node;
    return true;
}

int sterna_jinja_symbol(jinja_parser *parser, const jinja_string *name)
{
    sterna_jinja_program *program = parser->program;
    int32_t existing;
    sterna_status status = sterna_map_put(parser->symbols, name->data, name->size,
                                          (int32_t)program->symbol_count, &existing, parser->err);
    if (status == STERNA_OK && existing >= 0) return existing;
    if (status == STERNA_OK && program->symbol_count == parser->symbol_capacity) {
        size_t capacity = parser->symbol_capacity ? parser->symbol_capacity * 2 : 32;
        jinja_string **symbols = sterna_jinja_arena_grow(&program->arena, program->symbols,
                                                         program->symbol_count * sizeof *symbols,
                                                         capacity * sizeof *symbols);
        if (!symbols) status = sterna_fail_memory(parser->err, "a chat template");
        if (symbols) program->symbols = symbols;
        if (symbols) parser->symbol_capacity = capacity;
    }
    if (status != STERNA_OK) {
        parser->status = status;
        return -1;
    }
    program->symbols[program->symbol_count] = (jinja_string *)name;
    return (int)program->symbol_count++;
}
