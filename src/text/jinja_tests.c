/* The tests behind `is`. */
#include "text/jinja_internal.h"

#define TEST(name)                                                                                 \
    static bool name(jinja_run *run, jinja_value self, const jinja_value *bound,                   \
                     const jinja_arguments *all, jinja_value *out)
#define UNUSED (void)run, (void)self, (void)bound, (void)all
#define IS(name, condition)                                                                        \
    TEST(name)                                                                                     \
    {                                                                                              \
        UNUSED;                                                                                    \
        *out = sterna_jinja_bool(condition);                                                       \
        return true;                                                                               \
    }

IS(defined, self.type != JINJA_UNDEFINED)
IS(undefined, self.type == JINJA_UNDEFINED)
IS(none, self.type == JINJA_NONE)
IS(boolean, self.type == JINJA_BOOL)
IS(is_true, self.type == JINJA_BOOL && self.as.boolean)
IS(is_false, self.type == JINJA_BOOL && !self.as.boolean)
IS(integer, self.type == JINJA_INT)
IS(is_float, self.type == JINJA_FLOAT)
IS(number, sterna_jinja_is_number(self))
IS(string, self.type == JINJA_STRING)
IS(mapping, self.type == JINJA_DICT)
IS(iterable, sterna_jinja_iterable(self))
IS(sequence, self.type == JINJA_STRING || self.type == JINJA_LIST || self.type == JINJA_TUPLE ||
                 self.type == JINJA_DICT || self.type == JINJA_RANGE ||
                 self.type == JINJA_UNDEFINED)
IS(callable, self.type == JINJA_FUNCTION || self.type == JINJA_METHOD || self.type == JINJA_MACRO ||
                 self.type == JINJA_LOOP || self.type == JINJA_JOINER ||
                 self.type == JINJA_UNDEFINED)
IS(escaped, self.type == JINJA_STRING && (self.extra & JINJA_SAFE))
IS(sameas, sterna_jinja_is(self, bound[0]))

/* value % divisor == wanted, with the errors of %. */
static bool remainder_is(jinja_run *run, jinja_value value, jinja_value divisor, int64_t wanted,
                         jinja_value *out)
{
    jinja_value rest;
    bool equal;
    if (!sterna_jinja_binary(run, JINJA_MODULO, value, divisor, &rest) ||
        !sterna_jinja_equal(run, rest, sterna_jinja_int(wanted), &equal))
        return false;
    *out = sterna_jinja_bool(equal);
    return true;
}

TEST(odd)
{
    UNUSED;
    return remainder_is(run, self, sterna_jinja_int(2), 1, out);
}

TEST(even)
{
    UNUSED;
    return remainder_is(run, self, sterna_jinja_int(2), 0, out);
}

TEST(divisibleby)
{
    UNUSED;
    return remainder_is(run, self, bound[0], 0, out);
}

static bool has_case(jinja_run *run, jinja_value self, const char *method, jinja_value *out)
{
    jinja_arguments nothing = {0};
    jinja_string name = {.data = method, .size = 7};
    return sterna_jinja_to_string(run, self, false, &self) &&
           sterna_jinja_call_builtin(run, sterna_jinja_string_method(&name), self, &nothing, out);
}

TEST(lower)
{
    UNUSED;
    return has_case(run, self, "islower", out);
}

TEST(upper)
{
    UNUSED;
    return has_case(run, self, "isupper", out);
}

TEST(in)
{
    UNUSED;
    bool found;
    if (!sterna_jinja_contains(run, self, bound[0], &found)) return false;
    *out = sterna_jinja_bool(found);
    return true;
}

static bool compare(jinja_run *run, jinja_operator op, jinja_value a, jinja_value b,
                    jinja_value *out)
{
    bool holds;
    bool equality = op == JINJA_EQUAL || op == JINJA_NOT_EQUAL;
    if (equality ? !sterna_jinja_equal(run, a, b, &holds)
                 : !sterna_jinja_order(run, op, a, b, &holds))
        return false;
    *out = sterna_jinja_bool(op == JINJA_NOT_EQUAL ? !holds : holds);
    return true;
}

#define COMPARE(name, op)                                                                          \
    TEST(name)                                                                                     \
    {                                                                                              \
        UNUSED;                                                                                    \
        return compare(run, op, self, bound[0], out);                                              \
    }
COMPARE(equal, JINJA_EQUAL)
COMPARE(not_equal, JINJA_NOT_EQUAL)
COMPARE(less, JINJA_LESS)
COMPARE(less_equal, JINJA_LESS_EQUAL)
COMPARE(greater, JINJA_GREATER)
COMPARE(greater_equal, JINJA_GREATER_EQUAL)

/* Whether a filter or test has this name; only strings and other keys can be asked for. */
static bool exists(jinja_run *run, jinja_value self, bool filter, jinja_value *out)
{
    jinja_value *unused, empty;
    if (!sterna_jinja_new_dict(run, &empty) ||
        !sterna_jinja_dict_find(run, empty.as.dict, self, &unused))
        return false;
    bool found = self.type == JINJA_STRING && (filter ? sterna_jinja_filter(self.as.string)
                                                      : sterna_jinja_test(self.as.string)) != NULL;
    *out = sterna_jinja_bool(found);
    return true;
}

TEST(filter)
{
    UNUSED;
    return exists(run, self, true, out);
}

TEST(test)
{
    UNUSED;
    return exists(run, self, false, out);
}

static const jinja_callable tests[] = {
    {"!=", not_equal, "other", 1, 0},
    {"<", less, "other", 1, 0},
    {"<=", less_equal, "other", 1, 0},
    {"==", equal, "other", 1, 0},
    {">", greater, "other", 1, 0},
    {">=", greater_equal, "other", 1, 0},
    {"boolean", boolean, "", 0, 0},
    {"callable", callable, "", 0, 0},
    {"defined", defined, "", 0, 0},
    {"divisibleby", divisibleby, "num", 1, 1},
    {"eq", equal, "other", 1, 0},
    {"equalto", equal, "other", 1, 0},
    {"escaped", escaped, "", 0, 0},
    {"even", even, "", 0, 0},
    {"false", is_false, "", 0, 0},
    {"filter", filter, "", 0, 0},
    {"float", is_float, "", 0, 0},
    {"ge", greater_equal, "other", 1, 0},
    {"greaterthan", greater, "other", 1, 0},
    {"gt", greater, "other", 1, 0},
    {"in", in, "seq", 1, 1},
    {"integer", integer, "", 0, 0},
    {"iterable", iterable, "", 0, 0},
    {"le", less_equal, "other", 1, 0},
    {"lessthan", less, "other", 1, 0},
    {"lower", lower, "", 0, 0},
    {"lt", less, "other", 1, 0},
    {"mapping", mapping, "", 0, 0},
    {"ne", not_equal, "other", 1, 0},
    {"none", none, "", 0, 0},
    {"number", number, "", 0, 0},
    {"odd", odd, "", 0, 0},
    {"sameas", sameas, "other", 1, 1},
    {"sequence", sequence, "", 0, 0},
    {"string", string, "", 0, 0},
    {"test", test, "", 0, 0},
    {"true", is_true, "", 0, 0},
    {"undefined", undefined, "", 0, 0},
    {"upper", upper, "", 0, 0},
};

const jinja_callable *sterna_jinja_test(const jinja_string *name)
{
    return sterna_jinja_lookup(tests, sizeof tests / sizeof *tests, name);
}
