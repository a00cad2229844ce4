/* What the files of the Jinja interpreter share: values, the syntax tree, the state of one run.
 *
 * jinja_lex.c, jinja_parse.c and jinja_statement.c make the tree; jinja_eval.c and jinja_exec.c
 * walk it; jinja_value.c, jinja_operate.c, jinja_text.c, jinja_format.c and jinja_unicode.c give
 * values their Python meaning; jinja_filters.c, jinja_sequence.c, jinja_wrap.c, jinja_tests.c,
 * jinja_methods.c and jinja_globals.c are tables of what templates call.
 *
 * Functions that can fail return false after sterna_jinja_fail has kept the sentence in the run.
 * All memory of a run comes from its arena and goes when the run ends.
 */
#ifndef STERNA_TEXT_JINJA_INTERNAL_H
#define STERNA_TEXT_JINJA_INTERNAL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/jinja.h"

/* Nesting of the template's syntax: brackets, operators, blocks, each. Python itself stops at
 * 200 brackets. */
#define JINJA_MAX_NESTING 200
/* The longest range, as jinja2's sandbox has it. */
#define JINJA_MAX_RANGE 100000
/* Arguments that a built-in callable can take by name. */
#define JINJA_MAX_ARGUMENTS 8
#define JINJA_UNKNOWN       SIZE_MAX

/* ---- memory ---- */

typedef struct jinja_chunk {
    struct jinja_chunk *next;
    size_t size, used; /* of the bytes behind this header */
} jinja_chunk;

typedef struct jinja_arena {
    jinja_chunk *chunks;
    size_t total, limit; /* bytes in all chunks; 0 = no limit */
    bool past_limit;     /* why the last allocation failed */
} jinja_arena;

/* 16-byte aligned, undefined bytes; NULL when out of memory or past the limit. */
void *sterna_jinja_arena_alloc(jinja_arena *arena, size_t count, size_t size);
/* Grows a block, in place where it is the last of its chunk. */
void *sterna_jinja_arena_grow(jinja_arena *arena, void *block, size_t old_size, size_t new_size);
void sterna_jinja_arena_free(jinja_arena *arena);

/* ---- values ---- */

typedef enum jinja_type {
    JINJA_MISSING, /* no value: an argument not given, the end of an iterator */
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_STRING,
    JINJA_LIST,
    JINJA_TUPLE,
    JINJA_DICT,
    JINJA_VIEW, /* keys, values or items of a dict */
    JINJA_RANGE,
    JINJA_ITERATOR,
    JINJA_NAMESPACE,
    JINJA_MACRO,
    JINJA_LOOP,
    JINJA_CYCLER,
    JINJA_JOINER,
    JINJA_METHOD,  /* a method bound to its value */
    JINJA_FUNCTION /* a global function */
} jinja_type;

/* `extra` of a value, by type. */
enum { JINJA_SAFE = 1 };    /* STRING: markup that came out of `escape` or `safe` */
enum { JINJA_GROUP = 1 };   /* TUPLE: (grouper, list) with these names */
enum { JINJA_HINT = 0xff }; /* UNDEFINED: the string is the whole reason */
enum { JINJA_KEYS, JINJA_VALUES, JINJA_ITEMS };

/* Growing bytes that strings may share: appending to the string that ends where the storage ends
 * costs only the new bytes, so a template that builds a text piece by piece runs in linear time. */
typedef struct jinja_storage {
    char *data;
    size_t used, capacity;
} jinja_storage;

typedef struct jinja_string {
    const char *data; /* UTF-8, not NUL-terminated */
    size_t size;
    size_t length; /* code points, JINJA_UNKNOWN until asked */
    jinja_storage *storage;
} jinja_string;

typedef struct jinja_list jinja_list;
typedef struct jinja_dict jinja_dict;
typedef struct jinja_range jinja_range;
typedef struct jinja_iterator jinja_iterator;
typedef struct jinja_macro jinja_macro;
typedef struct jinja_loop jinja_loop;
typedef struct jinja_cycler jinja_cycler;
typedef struct jinja_method jinja_method;
typedef struct jinja_callable jinja_callable;
typedef struct jinja_node jinja_node;
typedef struct jinja_run jinja_run;

typedef struct jinja_value {
    jinja_type type;
    unsigned extra; /* UNDEFINED: 0 a name, JINJA_HINT, or the type that lacks the attribute */
    union {
        bool boolean;
        int64_t integer;
        double real;
        jinja_string *string; /* also the name of what is UNDEFINED */
        jinja_list *list;     /* LIST, TUPLE */
        jinja_dict *dict;     /* DICT, VIEW, NAMESPACE */
        jinja_range *range;
        jinja_iterator *iterator;
        jinja_macro *macro;
        jinja_loop *loop;
        jinja_cycler *cycler; /* CYCLER, JOINER */
        jinja_method *method;
        const jinja_callable *function;
    } as;
} jinja_value;

struct jinja_list {
    jinja_value *items;
    size_t count, capacity;
};

typedef struct jinja_entry {
    jinja_value key, value;
    uint64_t hash;
} jinja_entry;

struct jinja_dict {
    jinja_entry *entries; /* in order of insertion */
    size_t count, capacity;
    uint32_t *slots; /* entry + 1, open addressing; NULL while small */
    size_t slot_count;
};

struct jinja_range {
    int64_t start, stop, step;
    int64_t length;
};

typedef struct jinja_arguments {
    jinja_value *values; /* by position */
    size_t count;
    const jinja_string **names; /* by name */
    jinja_value *named;
    size_t named_count;
} jinja_arguments;

/* A built-in. `self` is the filtered or tested value, or the method's receiver. `bound` holds one
 * value for each word of `parameters` (JINJA_MISSING where not given); with NULL parameters the
 * callable looks into `all` itself. */
typedef bool jinja_native(jinja_run *run, jinja_value self, const jinja_value *bound,
                          const jinja_arguments *all, jinja_value *out);

struct jinja_callable {
    const char *name;
    jinja_native *call;
    const char *parameters; /* "a b c"; NULL = anything */
    unsigned char required;
    unsigned char by_name; /* parameters may be named by the caller */
};

struct jinja_method {
    jinja_value self;
    const jinja_callable *callable;
};

struct jinja_cycler {
    jinja_value *items; /* of a joiner: one separator */
    size_t count, at;
};

typedef enum jinja_iterator_kind {
    JINJA_ITERATE_SEQUENCE, /* list, tuple, string, dict, view, range, backwards or not */
    JINJA_ITERATE_MAP,      /* a filter over each item */
    JINJA_ITERATE_ATTRIBUTE,
    JINJA_ITERATE_SELECT, /* items that pass a test */
    JINJA_ITERATE_LOOP    /* items that pass the `if` of a for statement */
} jinja_iterator_kind;

struct jinja_iterator {
    jinja_iterator_kind kind;
    bool reversed;
    bool wanted;        /* SELECT: the outcome that passes */
    bool checked;       /* MAP ...: the source has been looked at */
    bool unknown;       /* MAP, SELECT: there is no such filter or test */
    jinja_value source; /* what is iterated */
    size_t at;          /* next item; of a string: byte offset */
    jinja_iterator *inner;
    const jinja_callable *callable; /* filter or test; NULL = truth */
    jinja_arguments arguments;
    jinja_value attribute; /* path, MISSING = the item itself */
    jinja_value fallback;
    const jinja_node *node; /* LOOP: the for statement */
    struct jinja_scope *scope;
};

/* ---- the syntax tree ---- */

typedef enum jinja_kind {
    /* expressions */
    JINJA_CONSTANT, /* value */
    JINJA_NAME,     /* symbol */
    JINJA_MEMBER,   /* symbol.value, only as a target of set */
    JINJA_TUPLE_OF, /* items */
    JINJA_LIST_OF,  /* items */
    JINJA_DICT_OF,  /* items: key, value, key, value ... */
    JINJA_NEGATE,
    JINJA_PLUS,
    JINJA_NOT,
    JINJA_AND,
    JINJA_OR,
    JINJA_BINARY,    /* a op b */
    JINJA_CONCAT,    /* items */
    JINJA_COMPARE,   /* a, then items with ops */
    JINJA_CONDITION, /* b if a else c */
    JINJA_ATTRIBUTE, /* a.value */
    JINJA_ITEM,      /* a[b] */
    JINJA_SLICE,     /* a[b:c:d] */
    JINJA_CALL,      /* a(arguments) */
    JINJA_FILTER,    /* a | callable(arguments) */
    JINJA_TEST,      /* a is callable(arguments) */
    JINJA_CAPTURED,  /* the text of the block around a filter or set block */
    /* statements */
    JINJA_DATA,         /* value */
    JINJA_PRINT,        /* a */
    JINJA_FOR,          /* for a in b if c: items, else_items */
    JINJA_IF,           /* if a: items, else_items */
    JINJA_SET,          /* a = b */
    JINJA_SET_BLOCK,    /* a = b (a filter over JINJA_CAPTURED, or NULL) of items */
    JINJA_MACRO_BLOCK,  /* symbol, value (name), signature, items */
    JINJA_CALL_BLOCK,   /* a (a call), signature, items */
    JINJA_FILTER_BLOCK, /* a, items */
    JINJA_WITH,         /* targets and values by turns in else_items; items */
    JINJA_SCOPE,        /* items in a scope of their own */
    JINJA_BLOCK,        /* items in a scope that sees only the globals */
    JINJA_ESCAPE_BLOCK, /* autoescape a: items */
    JINJA_BREAK,
    JINJA_CONTINUE,
    JINJA_REFUSED /* value: the tag that is not supported */
} jinja_kind;

typedef enum jinja_operator {
    JINJA_ADD,
    JINJA_SUBTRACT,
    JINJA_MULTIPLY,
    JINJA_DIVIDE,
    JINJA_FLOOR_DIVIDE,
    JINJA_MODULO,
    JINJA_POWER,
    JINJA_EQUAL,
    JINJA_NOT_EQUAL,
    JINJA_LESS,
    JINJA_LESS_EQUAL,
    JINJA_GREATER,
    JINJA_GREATER_EQUAL,
    JINJA_IN,
    JINJA_NOT_IN
} jinja_operator;

typedef struct jinja_nodes {
    jinja_node **items;
    size_t count, capacity;
} jinja_nodes;

typedef struct jinja_keyword {
    const jinja_string *name;
    jinja_node *value;
} jinja_keyword;

typedef struct jinja_call {
    jinja_nodes positional;
    jinja_keyword *keywords;
    size_t keyword_count, keyword_capacity;
    jinja_node *star, *double_star;
} jinja_call;

typedef struct jinja_signature {
    jinja_nodes parameters; /* names */
    jinja_nodes defaults;   /* of the last parameters */
    bool uses_caller, uses_varargs, uses_kwargs;
} jinja_signature;

struct jinja_node {
    jinja_kind kind;
    jinja_operator op;
    int line;
    int symbol;
    unsigned depth; /* levels below */
    bool recursive; /* for */
    jinja_value value;
    jinja_node *a, *b, *c, *d;
    jinja_nodes items, else_items;
    jinja_operator *ops;
    jinja_call *call;
    jinja_signature *signature;
    const jinja_callable *callable;
};

/* Symbols with fixed numbers. */
enum {
    JINJA_SYMBOL_LOOP,
    JINJA_SYMBOL_CALLER,
    JINJA_SYMBOL_VARARGS,
    JINJA_SYMBOL_KWARGS,
    JINJA_SYMBOL_FIXED
};

struct sterna_jinja_program {
    jinja_arena arena;
    jinja_nodes body;
    jinja_string **symbols; /* [symbol_count] */
    size_t symbol_count;
};

typedef enum jinja_token_type {
    JINJA_TOKEN_DATA,
    JINJA_TOKEN_PRINT_BEGIN,
    JINJA_TOKEN_PRINT_END,
    JINJA_TOKEN_BLOCK_BEGIN,
    JINJA_TOKEN_BLOCK_END,
    JINJA_TOKEN_NAME,
    JINJA_TOKEN_CONSTANT, /* string, integer or float */
    JINJA_TOKEN_OPERATOR,
    JINJA_TOKEN_END
} jinja_token_type;

typedef struct jinja_token {
    jinja_token_type type;
    int line;
    int op;            /* OPERATOR: its character, or two as first << 8 | second */
    jinja_value value; /* NAME and DATA: a string */
} jinja_token;

/* Cuts a template (already copied into the arena of the program) into tokens, the last of type
 * END. */
sterna_status sterna_jinja_lex(jinja_arena *arena, const char *text, size_t size,
                               jinja_token **tokens, size_t *count, sterna_error *err);
sterna_status sterna_jinja_parse(sterna_jinja_program *program, jinja_token *tokens, size_t count,
                                 sterna_error *err);

typedef struct jinja_parser {
    sterna_jinja_program *program;
    const jinja_token *tokens; /* ends with END */
    size_t at;
    struct sterna_map *symbols;
    size_t symbol_capacity;
    unsigned depth;
    unsigned loop_depth; /* for statements around, within this function */
    unsigned for_depth;  /* for statements around at all */
    bool soft;           /* an unknown filter or test here fails only when it is called */
    struct jinja_function_frame {
        jinja_signature *signature;
        struct jinja_function_frame *outer;
    } * function;            /* macros and call blocks around */
    jinja_node *unknown[16]; /* first unknown filters and tests that must fail at once */
    size_t unknown_count;
    sterna_status status;
    sterna_error *err;
} jinja_parser;

/* The cursor over the tokens, and the nodes of the tree (jinja_cursor.c). Functions that can fail
 * note the sentence in the parser and return false or NULL. */
static inline const jinja_token *jinja_peek(const jinja_parser *parser)
{
    return &parser->tokens[parser->at];
}
bool sterna_jinja_parse_fail(jinja_parser *parser, sterna_status status, int line,
                             const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Fails with what stands at the cursor. */
bool sterna_jinja_unexpected(jinja_parser *parser, const char *wanted);
jinja_node *sterna_jinja_new_node(jinja_parser *parser, jinja_kind kind, int line);
/* Counts the levels below a node, which evaluation descends by recursion. */
bool sterna_jinja_deepen(jinja_parser *parser, jinja_node *parent, const jinja_node *child);
bool sterna_jinja_add_node(jinja_parser *parser, jinja_node *parent, jinja_nodes *list,
                           jinja_node *node);
int sterna_jinja_symbol(jinja_parser *parser, const jinja_string *name);
const char *sterna_jinja_describe(const jinja_token *token, char buffer[64]);
/* Operator and name tokens at the cursor. */
bool sterna_jinja_at_op(const jinja_parser *parser, int op);
bool sterna_jinja_skip_op(jinja_parser *parser, int op);
bool sterna_jinja_expect_op(jinja_parser *parser, int op);
bool sterna_jinja_at_name(const jinja_parser *parser, const char *name);
bool sterna_jinja_skip_name(jinja_parser *parser, const char *name);
/* The grammar (jinja_parse.c; parse_body is jinja_statement.c). NULL after a failure. */
jinja_node *sterna_jinja_parse_expression(jinja_parser *parser, bool with_condition);
/* An expression, or a tuple of them without brackets; stops in front of the name `end` too. */
jinja_node *sterna_jinja_parse_tuple(jinja_parser *parser, bool with_condition, bool brackets,
                                     const char *end);
jinja_node *sterna_jinja_parse_filters(jinja_parser *parser, jinja_node *node, bool inline_start);
jinja_node *sterna_jinja_parse_target(jinja_parser *parser, bool name_only, bool with_members,
                                      const char *end);
bool sterna_jinja_parse_body(jinja_parser *parser, jinja_node *parent, jinja_nodes *body,
                             const char *const *ends, bool drop_end);
bool sterna_jinja_string_is(const jinja_string *string, const char *text);

/* ---- one run ---- */

typedef struct jinja_binding {
    int symbol;
    jinja_value value;
} jinja_binding;

typedef struct jinja_scope {
    struct jinja_scope *outer; /* NULL: the globals, in run->globals */
    jinja_binding *bindings;
    unsigned count, capacity;
} jinja_scope;

/* Text under construction, in the arena. */
typedef struct jinja_text {
    jinja_run *run;
    char *data;
    size_t size, capacity;
    size_t limit; /* 0 = only the arena's */
    bool failed;
} jinja_text;

struct jinja_macro {
    const jinja_node *node; /* MACRO_BLOCK or CALL_BLOCK */
    jinja_scope *scope;     /* where it was defined */
};

struct jinja_loop {
    jinja_iterator *iterator;
    jinja_value iterable;
    int64_t index0, length; /* length: -1 until asked */
    int64_t depth0;
    jinja_value after, current, before; /* MISSING where there is none */
    jinja_value changed;                /* what loop.changed() saw last */
    const jinja_node *recurse;
    jinja_scope *scope; /* around the statement */
};

struct jinja_run {
    const sterna_jinja_program *program;
    const sterna_jinja_options *options;
    jinja_arena arena;
    uint64_t steps_left;
    unsigned depth, max_depth;
    jinja_value *globals; /* [symbol_count] */
    jinja_scope root;
    jinja_text *out;
    jinja_value captured;
    int line;
    sterna_status status;
    sterna_error error;
};

bool sterna_jinja_fail(jinja_run *run, sterna_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Counts steps; false past the limit. */
bool sterna_jinja_step(jinja_run *run, uint64_t steps);
/* Counts the moving of bytes. */
bool sterna_jinja_charge(jinja_run *run, size_t bytes);
bool sterna_jinja_enter(jinja_run *run);
void sterna_jinja_leave(jinja_run *run);
void *sterna_jinja_alloc(jinja_run *run, size_t count, size_t size);

/* jinja_value.c */
jinja_value sterna_jinja_none(void);
jinja_value sterna_jinja_bool(bool boolean);
jinja_value sterna_jinja_int(int64_t integer);
jinja_value sterna_jinja_float(double real);
jinja_value sterna_jinja_missing(void);
/* Copies the bytes. */
bool sterna_jinja_string(jinja_run *run, const char *data, size_t size, jinja_value *out);
/* Bytes that live as long as the run. */
bool sterna_jinja_borrow(jinja_run *run, const char *data, size_t size, jinja_value *out);
bool sterna_jinja_literal(jinja_run *run, const char *text, jinja_value *out);
bool sterna_jinja_substring(jinja_run *run, jinja_value string, size_t from, size_t to,
                            jinja_value *out);
bool sterna_jinja_undefined_name(jinja_run *run, const jinja_string *name, jinja_value *out);
bool sterna_jinja_undefined_hint(jinja_run *run, const char *hint, jinja_value *out);
/* Fails with the reason why a value is undefined. */
bool sterna_jinja_fail_undefined(jinja_run *run, jinja_value value);
bool sterna_jinja_new_list(jinja_run *run, jinja_type type, size_t capacity, jinja_value *out);
bool sterna_jinja_list_add(jinja_run *run, jinja_list *list, jinja_value value);
bool sterna_jinja_new_dict(jinja_run *run, jinja_value *out);
bool sterna_jinja_dict_put(jinja_run *run, jinja_dict *dict, jinja_value key, jinja_value value);
/* *out is NULL when the key is absent; fails for a key that cannot be hashed. */
bool sterna_jinja_dict_find(jinja_run *run, const jinja_dict *dict, jinja_value key,
                            jinja_value **out);
jinja_value *sterna_jinja_dict_find_text(const jinja_dict *dict, const char *text, size_t size);
bool sterna_jinja_from_json(jinja_run *run, json_t *json, jinja_value *out);
bool sterna_jinja_truth(jinja_run *run, jinja_value value, bool *out);
bool sterna_jinja_equal(jinja_run *run, jinja_value a, jinja_value b, bool *out);
/* LESS, LESS_EQUAL, GREATER, GREATER_EQUAL. */
bool sterna_jinja_order(jinja_run *run, jinja_operator op, jinja_value a, jinja_value b, bool *out);
bool sterna_jinja_is(jinja_value a, jinja_value b); /* Python's `is` */
const char *sterna_jinja_type_name(jinja_value value);
size_t sterna_jinja_string_length(jinja_string *string);
int64_t sterna_jinja_range_item(const jinja_range *range, int64_t index);
bool sterna_jinja_is_number(jinja_value value);  /* int or bool or float */
bool sterna_jinja_is_integer(jinja_value value); /* int or bool */
int64_t sterna_jinja_as_integer(jinja_value value);
double sterna_jinja_as_float(jinja_value value);

/* jinja_operate.c */
bool sterna_jinja_binary(jinja_run *run, jinja_operator op, jinja_value a, jinja_value b,
                         jinja_value *out);
bool sterna_jinja_negate(jinja_run *run, bool minus, jinja_value a, jinja_value *out);
bool sterna_jinja_contains(jinja_run *run, jinja_value item, jinja_value container, bool *out);
/* a.name and a[key], falling back on each other as jinja2 does. */
bool sterna_jinja_attribute(jinja_run *run, jinja_value a, const jinja_string *name,
                            jinja_value *out);
bool sterna_jinja_item(jinja_run *run, jinja_value a, jinja_value key, jinja_value *out);
/* Bounds are MISSING or NONE where not given. */
bool sterna_jinja_slice(jinja_run *run, jinja_value a, jinja_value start, jinja_value stop,
                        jinja_value step, jinja_value *out);
bool sterna_jinja_length(jinja_run *run, jinja_value value, int64_t *out); /* Python's len() */
bool sterna_jinja_has_length(jinja_value value);
bool sterna_jinja_iterable(jinja_value value);
bool sterna_jinja_iterate(jinja_run *run, jinja_value value, bool reversed, jinja_iterator **out);
/* *out is MISSING at the end. */
bool sterna_jinja_next(jinja_run *run, jinja_iterator *iterator, jinja_value *out);
/* A new list of what an iterable yields. */
bool sterna_jinja_collect(jinja_run *run, jinja_value iterable, jinja_value *out);
/* Follows a path such as "a.b.0" (a string or an integer; MISSING or NONE: the value itself). */
bool sterna_jinja_follow(jinja_run *run, jinja_value value, jinja_value path, jinja_value fallback,
                         jinja_value *out);

/* Orders the indices 0..count-1 in `order` by their keys, stable, as Python's sorted(). */
bool sterna_jinja_sort(jinja_run *run, const jinja_value *keys, size_t *order, size_t count,
                       bool reverse);

/* jinja_text.c */
void sterna_jinja_text_start(jinja_text *text, jinja_run *run);
bool sterna_jinja_text_add(jinja_text *text, const char *data, size_t size);
bool sterna_jinja_text_add_string(jinja_text *text, const char *string);
bool sterna_jinja_text_add_char(jinja_text *text, char c);
bool sterna_jinja_text_add_code(jinja_text *text, uint32_t code_point);
bool sterna_jinja_text_repeat(jinja_text *text, const char *data, size_t size, int64_t times);
bool sterna_jinja_text_value(jinja_text *text, jinja_value value); /* as str() */
bool sterna_jinja_text_repr(jinja_text *text, jinja_value value);
bool sterna_jinja_text_finish(jinja_text *text, jinja_value *out);
/* str(value); markup stays markup when `keep_safe`. */
bool sterna_jinja_to_string(jinja_run *run, jinja_value value, bool keep_safe, jinja_value *out);
bool sterna_jinja_escape(jinja_text *text, const char *data, size_t size);
typedef struct jinja_json_style {
    bool ascii, sort_keys, indented;
    const char *indent, *item_separator, *key_separator;
    size_t indent_size, item_separator_size, key_separator_size;
} jinja_json_style;
bool sterna_jinja_text_json(jinja_text *text, jinja_value value, const jinja_json_style *style,
                            unsigned level);
/* Python's repr of a float; `buffer` takes 40 bytes. */
void sterna_jinja_float_repr(double value, char *buffer);
double sterna_jinja_parse_double(const char *text, size_t size);
/* Python's float(text) and int(text, base); false when it would raise ValueError. */
bool sterna_jinja_text_to_float(const char *text, size_t size, double *out);
bool sterna_jinja_text_to_int(const char *text, size_t size, int64_t base, int64_t *out,
                              bool *overflow);

/* jinja_format.c, jinja_spec.c */
bool sterna_jinja_percent(jinja_run *run, jinja_value format, jinja_value values, jinja_value *out);
bool sterna_jinja_format(jinja_run *run, jinja_value format, const jinja_arguments *arguments,
                         jinja_value *out);
bool sterna_jinja_format_spec(jinja_run *run, jinja_value value, const char *spec, size_t size,
                              jinja_text *out);
/* "%.{precision}f" and its like with a dot whatever the locale. */
bool sterna_jinja_float_digits(jinja_text *text, double value, char conversion, int precision,
                               bool alternate);

/* jinja_unicode.c */
size_t sterna_jinja_decode(const char *data, const char *end, uint32_t *code_point);
size_t sterna_jinja_encode(uint32_t code_point, char out[4]);
bool sterna_jinja_is_space(uint32_t c);
bool sterna_jinja_is_alpha(uint32_t c);
bool sterna_jinja_is_decimal(uint32_t c);
bool sterna_jinja_is_digit(uint32_t c);
bool sterna_jinja_is_numeric(uint32_t c);
bool sterna_jinja_is_word(uint32_t c); /* \w */
bool sterna_jinja_is_lower(uint32_t c);
bool sterna_jinja_is_upper(uint32_t c);
bool sterna_jinja_is_title(uint32_t c);
bool sterna_jinja_is_printable(uint32_t c);
typedef enum jinja_case {
    JINJA_CASE_UPPER,
    JINJA_CASE_LOWER,
    JINJA_CASE_FOLD,
    JINJA_CASE_SWAP,
    JINJA_CASE_CAPITAL, /* first upper, the rest lower */
    JINJA_CASE_TITLE    /* str.title() */
} jinja_case;
bool sterna_jinja_change_case(jinja_text *text, const char *data, size_t size, jinja_case to);
/* Bytes of the next line without and with its end, as str.splitlines() sees lines. */
void sterna_jinja_line(const char *data, size_t size, size_t *without, size_t *with);
/* Finds the first (or last) place of a byte string; JINJA_UNKNOWN where there is none. */
size_t sterna_jinja_find(const char *data, size_t size, const char *part, size_t part_size,
                         bool last);
/* Lists of the parts of a string (jinja_split.c): split at `separator` (none = at spaces) at most
 * `most` times from the left or the right; lines with or without their ends; (before, separator,
 * after) around its first or last occurrence. */
bool sterna_jinja_split(jinja_run *run, jinja_value self, jinja_value separator, jinja_value most,
                        bool right, jinja_value *out);
bool sterna_jinja_split_lines(jinja_run *run, jinja_value self, bool keep, jinja_value *out);
bool sterna_jinja_partition(jinja_run *run, jinja_value self, jinja_value separator, bool last,
                            jinja_value *out);

/* jinja_eval.c, jinja_exec.c */
bool sterna_jinja_eval(jinja_run *run, const jinja_node *node, jinja_scope *scope,
                       jinja_value *out);
bool sterna_jinja_eval_call(jinja_run *run, const jinja_call *call, jinja_scope *scope,
                            const jinja_value *caller, jinja_arguments *out);
bool sterna_jinja_call_value(jinja_run *run, jinja_value callee, const jinja_arguments *arguments,
                             jinja_value *out);
bool sterna_jinja_call_builtin(jinja_run *run, const jinja_callable *callable, jinja_value self,
                               const jinja_arguments *arguments, jinja_value *out);
bool sterna_jinja_assign(jinja_run *run, const jinja_node *target, jinja_value value,
                         jinja_scope *scope);
bool sterna_jinja_bind(jinja_run *run, jinja_scope *scope, int symbol, jinja_value value);
jinja_scope *sterna_jinja_new_scope(jinja_run *run, jinja_scope *outer);
/* Runs statements; *flow gets JINJA_BREAK or JINJA_CONTINUE when one of them ran, else 0. */
bool sterna_jinja_exec(jinja_run *run, const jinja_nodes *body, jinja_scope *scope, int *flow);
bool sterna_jinja_run_loop(jinja_run *run, const jinja_node *node, jinja_value iterable,
                           jinja_scope *scope, int64_t depth0, int *flow);
/* Runs statements into a string. */
bool sterna_jinja_capture(jinja_run *run, const jinja_nodes *body, jinja_scope *scope, int *flow,
                          jinja_value *out);

/* The tables; NULL when there is no such name. */
const jinja_callable *sterna_jinja_filter(const jinja_string *name);
const jinja_callable *sterna_jinja_sequence_filter(const jinja_string *name);
const jinja_callable *sterna_jinja_text_filter(const jinja_string *name);
const jinja_callable *sterna_jinja_test(const jinja_string *name);
const jinja_callable *sterna_jinja_global(const jinja_string *name);
const jinja_callable *sterna_jinja_string_method(const jinja_string *name);
/* Attributes of values other than dict members; *out is MISSING where there is none. */
bool sterna_jinja_member(jinja_run *run, jinja_value value, const jinja_string *name,
                         jinja_value *out);
const jinja_callable *sterna_jinja_lookup(const jinja_callable *table, size_t count,
                                          const jinja_string *name);
/* Arguments of built-ins: fails with a sentence that names the callable and the parameter. */
bool sterna_jinja_want_int(jinja_run *run, jinja_value value, const char *what, int64_t *out);
bool sterna_jinja_want_string(jinja_run *run, jinja_value value, const char *what,
                              jinja_string **out);
bool sterna_jinja_wrap_words(jinja_run *run, jinja_string *text, int64_t width, bool break_long,
                             bool break_hyphens, const char *separator, size_t separator_size,
                             jinja_value *out);
bool sterna_jinja_strip_tags(jinja_run *run, jinja_string *text, jinja_value *out);

#endif
