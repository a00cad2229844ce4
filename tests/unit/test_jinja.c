/* The Jinja interpreter against goldens made by jinja2 (tools/reference/jinja_goldens.py), its
 * budgets, failing allocations; chat rendering.
 *
 * With the path of a golden file as argument only that file is checked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "text/chat.h"
#include "text/jinja.h"

/* The clock of the goldens: Friday, 2024-07-26 13:04:05. */
static const struct tm fixed_time = {.tm_year = 124,
                                     .tm_mon = 6,
                                     .tm_mday = 26,
                                     .tm_hour = 13,
                                     .tm_min = 4,
                                     .tm_sec = 5,
                                     .tm_wday = 5,
                                     .tm_yday = 207};

static sterna_status render(const char *text, size_t size, json_t *variables,
                            sterna_jinja_options options, sterna_buffer *out, sterna_error *err)
{
    sterna_jinja_program *program = NULL;
    sterna_status status = sterna_jinja_compile(text, size, &program, err);
    if (!options.now) options.now = &fixed_time;
    if (status == STERNA_OK) status = sterna_jinja_render(program, variables, &options, out, err);
    sterna_jinja_free(program);
    return status;
}

/* Renders one golden case; false, with the difference printed, when it does not agree. */
static bool case_agrees(json_t *golden, json_t *shared)
{
    const char *text = json_string_value(json_object_get(golden, "template"));
    size_t size = json_string_length(json_object_get(golden, "template"));
    json_t *messages = json_object_get(golden, "messages"), *want = json_object_get(golden, "out");
    json_t *own = json_object_get(golden, "vars");
    sterna_buffer out = {0};
    sterna_error err = {0};
    sterna_status status;
    if (messages)
        status = sterna_chat_render_with(text, messages, json_object_get(golden, "tools"),
                                         json_object_get(golden, "extra"),
                                         json_is_true(json_object_get(golden, "generation")),
                                         &(sterna_jinja_options){.now = &fixed_time}, &out, &err);
    else
        status = render(text, size, own ? own : shared, (sterna_jinja_options){0}, &out, &err);
    bool agrees = want ? status == STERNA_OK && out.size == json_string_length(want) &&
                             !memcmp(out.data ? out.data : "", json_string_value(want), out.size)
                       : status != STERNA_OK && err.message[0] && !out.size;
    if (!agrees)
        print_error("template: %.400s\n  wanted: %.600s%s\n  found:  %.600s%s\n", text,
                    want ? json_string_value(want) : "error: ",
                    want ? "" : json_string_value(json_object_get(golden, "error")),
                    status == STERNA_OK ? (out.data ? out.data : "") : "error: ",
                    status == STERNA_OK ? "" : err.message);
    sterna_buffer_free(&out);
    return agrees;
}

static const char *golden_path = TEST_DATA "/jinja_cases.json";

static void goldens_agree(void **state)
{
    (void)state;
    json_error_t error;
    json_t *file = json_load_file(golden_path, JSON_ALLOW_NUL, &error), *golden;
    size_t index, failures = 0;
    if (!file) fail_msg("%s: %s", golden_path, error.text);
    json_t *cases = json_object_get(file, "cases");
    assert_true(json_array_size(cases) > 0);
    json_array_foreach(cases, index, golden) failures +=
        !case_agrees(golden, json_object_get(file, "vars"));
    print_message("%zu cases, %zu disagree\n", json_array_size(cases), failures);
    json_decref(file);
    assert_int_equal(failures, 0);
}

static sterna_status run_text(const char *text, sterna_jinja_options options, sterna_error *err)
{
    sterna_buffer out = {0};
    sterna_status status = render(text, strlen(text), NULL, options, &out, err);
    sterna_buffer_free(&out);
    return status;
}

/* Programs that would run, grow or nest without end stop with a sentence. */
static void budgets_hold(void **state)
{
    (void)state;
    static const char *const bombs[] = {
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for i in range(1000000000) %}x{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% "
        "endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s * 9 %}{% endfor "
        "%}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% "
        "endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% "
        "endfor %}"
        "{{ ns.l }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}",
        "{{ 'x' * 9999999999 }}",
        "{{ [1] * 9999999999 }}",
        "{{ 'x'.center(9999999999) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ 'x'|indent(9999999999, true) }}",
        "{{ [1]|batch(9999999999, 0)|list }}",
        "{{ [1]|slice(9999999999)|list }}",
        "{{ [1]|tojson(indent=9999999999) }}",
        "{{ 'a'.zfill(9999999999) }}",
        "{{ 'a\\tb'.expandtabs(9999999999) }}",
        "{% for i in range(100000) %}{{ "
        "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxx"
        "xxxxxxxxxxxxxxxxxxxxxxx' }}{% endfor %}",
        "{% set x = range(100000)|list %}{% for i in range(1000) %}{% if -1 in x %}{% endif %}{% "
        "endfor %}",
        "{{ range(-9223372036854775807, 9223372036854775807) }}",
    };
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        sterna_error err = {0};
        sterna_status status = run_text(bombs[i], (sterna_jinja_options){0}, &err);
        if (status != STERNA_ERROR_LIMIT)
            fail_msg("%s: status %d, %s", bombs[i], (int)status, err.message);
    }
}

/* Deep syntax of every kind is refused by the parser, not by the stack. */
static void deep_syntax_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *open, *middle, *close;
    } nests[] = {
        {"(", "1", ")"},     {"[", "1", "]"},           {"{1:", "1", "}"},
        {"-", "1", ""},      {"not ", "1", ""},         {"1 if ", "1", " else 1"},
        {"1 + ", "1", ""},   {"a.", "b", ""},           {"a[", "0", "]"},
        {"a(", "", ")"},     {"1|d(", "1", ")"},        {"1 is eq(", "1", ")"},
        {"a ~ (", "1", ")"}, {"1 if 1 else ", "1", ""}, {"x is not ", "none", ""},
        {"'a' ", "'b'", ""}, {"1 < ", "2", ""},         {"a|upper|", "upper", ""},
    };
    for (size_t i = 0; i < sizeof nests / sizeof *nests; i++) {
        sterna_buffer text = {0};
        sterna_error err = {0};
        sterna_buffer_add_text(&text, "{{ ");
        for (int k = 0; k < 20000; k++) sterna_buffer_add_text(&text, nests[i].open);
        sterna_buffer_add_text(&text, nests[i].middle);
        for (int k = 0; k < 20000; k++) sterna_buffer_add_text(&text, nests[i].close);
        sterna_buffer_add_text(&text, " }}");
        run_text(text.data, (sterna_jinja_options){0},
                 &err); /* no crash; strings and chains are fine */
        sterna_buffer_free(&text);
    }
    static const char *const blocks[] = {"{% if 1 %}",      "{% for i in x %}", "{% set x %}",
                                         "{% macro m() %}", "{% with %}",       "{% generation %}"};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        sterna_buffer text = {0};
        sterna_error err = {0};
        for (int k = 0; k < 20000; k++) sterna_buffer_add_text(&text, blocks[i]);
        assert_int_equal(run_text(text.data, (sterna_jinja_options){0}, &err), STERNA_ERROR_LIMIT);
        sterna_buffer_free(&text);
    }
}

static void limits_can_be_set(void **state)
{
    (void)state;
    sterna_error err = {0};
    const char *loop = "{% for i in range(100) %}{{ i }}{% endfor %}";
    assert_int_equal(run_text(loop, (sterna_jinja_options){0}, &err), STERNA_OK);
    assert_int_equal(run_text(loop, (sterna_jinja_options){.max_steps = 100}, &err),
                     STERNA_ERROR_LIMIT);
    assert_int_equal(run_text(loop, (sterna_jinja_options){.max_output = 189}, &err),
                     STERNA_ERROR_LIMIT);
    assert_int_equal(run_text(loop, (sterna_jinja_options){.max_output = 190}, &err), STERNA_OK);
    assert_int_equal(run_text(loop, (sterna_jinja_options){.max_depth = 2}, &err),
                     STERNA_ERROR_LIMIT);
    assert_int_equal(
        run_text("{{ 'x' * 200000 }}", (sterna_jinja_options){.max_memory = 100000}, &err),
        STERNA_ERROR_LIMIT);
    assert_non_null(strstr(err.message, "template line 1"));
}

static void errors_have_kinds_and_lines(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        sterna_status status;
        const char *part;
    } cases[] = {
        {"{{ raise_exception('only two roles') }}", STERNA_ERROR_ARGUMENT, "only two roles"},
        {"a\nb\n{{ x.y }}", STERNA_ERROR_FORMAT, "template line 3: 'x' is undefined"},
        {"a\n{{ 1 + 'a' }}", STERNA_ERROR_FORMAT, "line 2: operator + does not work between 'int'"},
        {"{% if %}", STERNA_ERROR_FORMAT, "line 1: expected an expression"},
        {"{{ 1|nosuch }}", STERNA_ERROR_FORMAT, "no filter named 'nosuch'"},
        {"{% include 'a' %}", STERNA_ERROR_UNSUPPORTED, "'include' is not supported"},
        {"{{ [1]|random }}", STERNA_ERROR_UNSUPPORTED, "random"},
        {"{{ 9223372036854775807 + 1 }}", STERNA_ERROR_LIMIT, "64 bits"},
        {"{{ [].append(1) }}", STERNA_ERROR_FORMAT, "sandbox"},
        {"{{ '\xff' }}", STERNA_ERROR_FORMAT, "UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sterna_error err = {0};
        sterna_status status = run_text(cases[i].text, (sterna_jinja_options){0}, &err);
        if (status != cases[i].status || !strstr(err.message, cases[i].part))
            fail_msg("%s: status %d, %s", cases[i].text, (int)status, err.message);
    }
}

/* A text that grows piece by piece over a long conversation takes linear time and memory. */
static void growing_text_is_cheap(void **state)
{
    (void)state;
    sterna_error err = {0};
    sterna_jinja_options options = {.max_memory = 40u << 20};
    assert_int_equal(run_text("{% set ns = namespace(s='') %}{% for i in range(40000) %}"
                              "{% set ns.s = ns.s ~ 'a line of text that goes on\\n' %}{% endfor %}"
                              "{{ ns.s|length }}",
                              options, &err),
                     STERNA_OK);
}

static const char chat_template[] =
    "{%- macro tool(t) -%}{{ t.function.name }}: {{ t|tojson(indent=1) }}{%- endmacro -%}"
    "{%- if tools %}{% for t in tools %}{{ tool(t) }}\n{% endfor %}{% endif -%}"
    "{%- set ns = namespace(last='') -%}"
    "{%- for m in messages -%}"
    "{{ '<|' + m['role'] + '|>' }}{% if m.thinking is defined %}[{{ m.thinking|upper }}]{% endif %}"
    "{{ m.content|trim if m.content is string else m.content|map(attribute='text')|join('+') }}"
    "{%- set ns.last = m.content|string -%}<|end|>\n{% endfor -%}"
    "{%- if add_generation_prompt %}{{ bos_token|default('-') }}<|assistant|>{% endif %}";

static void chats_render(void **state)
{
    (void)state;
    json_t *messages =
        json_loads("[{\"role\": \"user\", \"content\": \" Hi \"},"
                   "{\"role\": \"assistant\", \"content\": [{\"text\": \"a\"}, {\"text\": "
                   "\"b\"}], \"reasoning\": \"why\"}]",
                   0, NULL);
    json_t *tools =
        json_loads("[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]", 0, NULL);
    json_t *extra = json_loads("{\"bos_token\": \"<s>\", \"messages\": []}", 0, NULL);
    sterna_buffer out = {0};
    sterna_error err = {0};
    assert_int_equal(sterna_chat_render(chat_template, messages, tools, extra, true, &out, &err),
                     STERNA_OK);
    assert_string_equal(
        out.data, "f: {\n \"type\": \"function\",\n \"function\": {\n  \"name\": \"f\"\n }\n}\n"
                  "<|user|>Hi<|end|>\n<|assistant|>[WHY]a+b<|end|>\n<s><|assistant|>");
    sterna_buffer_clear(&out);
    assert_int_equal(sterna_chat_render(chat_template, messages, NULL, NULL, false, &out, &err),
                     STERNA_OK);
    assert_string_equal(out.data, "<|user|>Hi<|end|>\n<|assistant|>[WHY]a+b<|end|>\n");
    assert_int_equal(json_object_size(json_array_get(messages, 1)), 3); /* the caller's stays */
    sterna_buffer_free(&out);
    json_decref(messages);
    json_decref(tools);
    json_decref(extra);
}

static void malformed_chats_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *messages, *tools, *part;
    } cases[] = {
        {"{}", NULL, "not a JSON array"},
        {"[1]", NULL, "message 0 is not"},
        {"[{\"role\": \"user\"}, {\"content\": \"x\"}]", NULL, "message 1 has no \"role\""},
        {"[{\"role\": 5}]", NULL, "message 0 has no \"role\""},
        {"[]", "{}", "tools are not a JSON array"},
        {"[]", "[1]", "tool 0 is not"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *messages = json_loads(cases[i].messages, 0, NULL);
        json_t *tools = cases[i].tools ? json_loads(cases[i].tools, 0, NULL) : NULL;
        sterna_buffer out = {0};
        sterna_error err = {0};
        assert_int_equal(sterna_chat_render("x", messages, tools, NULL, false, &out, &err),
                         STERNA_ERROR_ARGUMENT);
        assert_non_null(strstr(err.message, cases[i].part));
        json_decref(messages);
        json_decref(tools);
    }
    json_t *many = json_array();
    for (int i = 0; i <= STERNA_CHAT_MAX_MESSAGES; i++)
        json_array_append_new(many, json_pack("{s:s}", "role", "user"));
    sterna_error err = {0};
    sterna_buffer out = {0};
    assert_int_equal(sterna_chat_render("x", many, NULL, NULL, false, &out, &err),
                     STERNA_ERROR_LIMIT);
    json_decref(many);
}

/* Every allocation fails once: an error each time, no crash, no leak. */
static void failing_allocations_are_errors(void **state)
{
    (void)state;
    static const char *const texts[] = {
        chat_template,
        "{% set x %}{{ s|upper }}{% endset %}{% for k, v in d|dictsort recursive %}{{ v ~ k }}"
        "{% else %}-{% endfor %}{{ '%s %d'|format(x, 5) }}{{ '{:>9}'.format(x) }}{{ [3,1]|sort }}",
        "{% macro m(a, b=2) %}{{ a }}{{ varargs }}{{ kwargs }}{{ caller() }}{% endmacro %}"
        "{% call m(1, 2, 3, q=4) %}{{ {'a': [1, 2.5]}|tojson }}{% endcall %}{{ 'a b'.split() }}"
        "{{ 'x y z'|wordwrap(2) }}{{ range(300)|list|length }}",
    };
    json_t *variables = json_loads("{\"s\": \"a string\", \"d\": {\"b\": 1, \"a\": [true, null]},"
                                   "\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}",
                                   0, NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        sterna_status status = STERNA_ERROR_MEMORY;
        long n = 0;
        for (; status != STERNA_OK && n < 10000; n++) {
            sterna_buffer out = {0};
            sterna_error err = {0};
            sterna_alloc_fail_after(n);
            status = render(texts[i], strlen(texts[i]), variables, (sterna_jinja_options){0}, &out,
                            &err);
            sterna_alloc_fail_after(-1);
            assert_true(status == STERNA_OK || status == STERNA_ERROR_MEMORY);
            assert_true(status == STERNA_OK || err.message[0]);
            sterna_buffer_free(&out);
        }
        assert_true(n > 3 && n < 10000);
    }
    json_decref(variables);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest golden[] = {cmocka_unit_test(goldens_agree)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_agree),
        cmocka_unit_test(budgets_hold),
        cmocka_unit_test(deep_syntax_is_refused),
        cmocka_unit_test(limits_can_be_set),
        cmocka_unit_test(errors_have_kinds_and_lines),
        cmocka_unit_test(growing_text_is_cheap),
        cmocka_unit_test(chats_render),
        cmocka_unit_test(malformed_chats_are_refused),
        cmocka_unit_test(failing_allocations_are_errors),
    };
    if (argc > 1) {
        golden_path = argv[1];
        return cmocka_run_group_tests(golden, NULL, NULL);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
