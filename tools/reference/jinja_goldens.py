#!/usr/bin/env python3
"""Goldens for the Jinja interpreter, made by jinja2 in the environment of transformers.

    python tools/reference/jinja_goldens.py                       writes tests/data/jinja_cases.json
    python tools/reference/jinja_goldens.py --folder DIR --out F  renders every DIR/*.jinja over many
        conversations into F; then run:  build/tests/test_jinja F
    python tools/reference/jinja_goldens.py --fuzz N --out F      N random expressions and templates

Needs transformers and jinja2; run by developers, not by CI. A case is {template, vars} or {template,
messages, tools, extra, generation}, with "out", or "error" where Python raises.
"""
import argparse
import datetime
import glob
import json
import os
import random

import transformers.utils.chat_template_utils as chat_utils

HERE = os.path.dirname(os.path.abspath(__file__))


class FixedClock(datetime.datetime):
    """2024-07-26 13:04:05, which the C test injects too."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 13, 4, 5)


chat_utils.datetime = FixedClock


def outcome(make):
    try:
        text = make()
        text.encode("utf-8")
        return {"out": text}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}


def render(template, variables):
    variables = json.loads(json.dumps(variables))
    return outcome(lambda: chat_utils._compile_jinja_template(template).render(**variables))


def render_chat(template, messages, tools, extra, generation):
    messages = json.loads(json.dumps(messages))
    return outcome(lambda: chat_utils.render_jinja_template(
        [messages], tools=tools, chat_template=template, add_generation_prompt=generation, **extra)[0][0])


V = {
    "s": "Hello World", "e": "", "u": "Grüße, 世界 🎉", "n": 7, "z": 0, "neg": -3, "f": 2.5, "t": True, "no": False,
    "nil": None, "l": [3, 1, 2], "w": ["b", "A", "c", "a"], "el": [], "ed": {},
    "d": {"b": 1, "a": 2, "C": 3}, "nest": {"x": {"y": [10, 20, {"z": "deep"}]}},
    "users": [{"name": "Bob", "age": 30, "on": True}, {"name": "alice", "age": 25, "on": False},
              {"name": "Carol", "age": 30, "on": True}, {"name": "dave", "age": 25}],
    "tree": [{"v": 1, "c": [{"v": 2, "c": [{"v": 3, "c": []}]}, {"v": 4, "c": []}]}, {"v": 5, "c": []}],
    "html": "<a href=\"x\">it's & more</a>", "lines": "one\ntwo\r\n\nthree", "items": [1, 2], "big": 9007199254740993,
}

EXPRESSIONS = r"""
1 + 2 * 3 | (1 + 2) * 3 | 7 // 2 | -7 // 2 | 7 % 3 | -7 % 3 | 7 % -3 | 7 / 2 | 6 / 2 | 2 ** 10 | 2 ** -1 | 2 ** 3 ** 2 | -2 ** 2
7.5 // 2 | -7.5 // 2 | 7.5 % 2 | -7.5 % 2 | 5 % 0 | 5 // 0 | 5 / 0 | 1.0 % 0 | 0 ** -1 | 0.1 + 0.2 | 1e16 | 1e15 | 1e-5 | 0.0001 | 123456789.123
1e22 | 1.5e300 * 1e10 | -0.0 | 3.0 | 100 * 1.1 | 1_000 | 0x1F | 0b101 | 0o17 | 1_0.5_0 | 1e3 | 00 | big | big + 0.0 | big == 9007199254740992.0
true + 1 | True | none | None | false | not true | not 0 | - true | +5 | +s | -s | --5 | 5 - -5 | 1 if true else 2 | 1 if false | (1 if false) is defined
1 if no else 2 if no else 3 | s and n | e and n | e or n | z or e or nil | nil and x.y | 1 < 2 < 3 | 1 < 3 < 2 | 3 > 2 >= 2 != 1 | 1 == 1.0 == true
'a' < 'b' | 'Z' < 'a' | 'a' < 1 | [1,2] < [1,3] | [1] < [1,2] | (1,2) == (1,2) | [1] == (1,) | {'a':1} == {'a':1.0} | nil < 1 | 'a' == 1 | 1 != '1'
1 in l | 9 in l | 9 not in l | 'a' in d | 'x' not in d | 'ell' in s | 1 in s | '' in s | 3 in range(5) | 2.0 in range(5) | 5 in nil | 1 in undef | not 1 in l
'a' ~ 1 ~ none ~ true ~ 1.5 | 'a' ~ undef ~ 'b' | 1 ~ 2 + 3 | 'a' + 'b' | 'a' + 1 | [1] + [2] | (1,) + (2,) | [1] + (2,) | 'ab' * 3 | 3 * 'ab' | [0] * 2 | 'ab' * -1 | 'a' * 'b'
s[0] | s[-1] | s[20] | s[1:4] | s[::-1] | s[::2] | s[-3:] | s[:-3] | s[5:2] | s[10:2:-3] | s[::0] | u[7] | u[::-1] | u[8:] | u[-1] | u[2:4] | u|length
l[0] | l[-1] | l[5] | l[1:] | l[::-1] | l[:-1] | l['x'] | l[1.0] | l[true] | l.0 | l.1.x | l[nil:2] | l['a':] | n[1:] | undef[1:] | range(10)[2:8:3] | range(10)[::-1]|list | range(5)[-1]
(1, 2)[0] | (1,) | () | (1, 2,) | [] | [1, 2,] | {} | {'a': 1, 'b': [1, {'c': none}],} | [1, 'a', 1.5, true, none, ['b'], ('c',)] | {1: 2, 'x': 'it\'s'} | {'a':1}['a'] | {[1]: 2} | {(1,2): 3}[(1,2)]
nest.x.y[2].z | nest['x']['y'][1] | nest.q | nest.q.r | nest.x.y.0 | undef | undef.x | undef['x'] | undef() | undef + 1 | 1 + undef | -undef | undef == undef2 | undef == none | undef < 1 | undef is defined
d.items | d.b | d['items'] | d.items() | d.keys() | d.values() | d.items()|list | d.keys()|list | d.values()|list|sum | d.get('a') | d.get('q') | d.get('q', 5) | d.get([]) | d.copy() | d.items()[0] | (d.items()|list)[0]
'a' in d.keys() | d.items()|first | d.keys()|last | d|list | d|length | d.keys()|length | d.pop | d.pop('a') | d.update is defined | l.append(1) | l.append is defined | l.index(1) | l.index(9) | l.count(3) | (1,2,1).count(1) | l.copy()
s.__class__ | s.__class__.__mro__ | s.__len__() | d.__class__ is defined | n.__class__ | l._x | ''.__class__ is undefined | s.nosuch | s.nosuch() | s.nosuch.x | n.x | nil.x | nil['x'] | none.x.y | items | items.x
'it\'s' | "say \"hi\"" | 'tab\tnew\\n' | 'a' 'b' "c" | 'é' | '\u00e9\x41\101' | '\q' | 'nl\nx' | ["it's", 'a"b', "both'\"", 'n\nl', 'é', '\x00\x7f\u200b'] | '\é' | '\U0001F389' | '\x4'
s|upper | s|lower | u|upper | u|lower | 'ß ﬁ İ ΑΣ'|upper | 'ß İ ΑΣ ΑΣΑ'|lower | 'hELLO wORLD'|capitalize | 'hello-world foo(bar) <x> [y'|title | 'ǆ'|capitalize | 'they\'re bill\'s'|title | 'they\'re'.title()
s|length | e|length | undef|length | n|length | nil|length | l|count | range(7)|length | s|first | e|first | l|first | l|last | el|first | el|last is defined | undef|first | undef|last | d|first | nil|first | (x for)
s|reverse | l|reverse|list | l|reverse|first | d|reverse|list | range(3)|reverse|list | undef|reverse|list | n|reverse | l|list | s|list | u|list | d|list | nil|list | n|list | undef|list
l|join | l|join(', ') | w|join('-') | users|join(', ', attribute='name') | undef|join | nil|join | [1,none,true,'x',undef]|join('|') | s|join('.') | d|join(',') | l|join(1) | [[1],[2]]|join
l|sort | l|sort(reverse=true) | w|sort | w|sort(case_sensitive=true) | users|sort(attribute='age')|map(attribute='name')|join(',') | users|sort(attribute='age,name')|map(attribute='name')|join(',') | [1,'a']|sort | users|sort | users|sort(attribute='nope')|length | [true, 0, 2.5]|sort | d|sort | [none, 1]|sort
d|dictsort | d|dictsort(true) | d|dictsort(false, 'value') | d|dictsort(by='value', reverse=true) | d|dictsort(by='x') | l|dictsort | undef|dictsort | ed|dictsort | d|items|list | l|items | undef|items|list | nest|items|list
l|min | l|max | el|min | el|max is defined | w|min | w|max(case_sensitive=true) | users|max(attribute='age') | users|min(attribute='age') | [1,'a']|min | l|sum | el|sum | users|sum(attribute='age') | l|sum(start=10) | [1.5,2]|sum | w|sum | [[1],[2]]|sum(start=[])
w|map('upper')|list | w|map('upper')|join | l|map('string')|join('+') | users|map(attribute='name')|list | users|map(attribute='on', default='?')|list | users|map(attribute='on')|list | nest.x.y|map(attribute='z')|list | l|map('nosuch')|list | el|map('nosuch')|list | l|map|list | [[1,2],[3]]|map(attribute=0)|list | [[1,2],[3]]|map('sum')|list | ['1','x']|map('int', default=-1)|list | l|map(attribute='a', x=1)|list | undef|map('upper')|list
l|select('odd')|list | l|reject('odd')|list | [0,1,'',none,'x']|select|list | [0,1,'']|reject|list | l|select('gt', 1)|list | l|select('>', 1)|list | l|select('in', [1,2])|list | users|selectattr('on')|map(attribute='name')|list | users|rejectattr('on')|map(attribute='name')|list | users|selectattr('age','equalto',30)|list|length | users|selectattr('on','defined')|list|length | users|selectattr|list | l|select('nosuch')|list | users|selectattr('age','>',26)|map(attribute='name')|join
[1,1.0,true,2,'a','A']|unique|list | w|unique(case_sensitive=true)|list | users|unique(attribute='age')|map(attribute='name')|list | [[1]]|unique|list | s|unique|join | l|batch(2)|list | l|batch(2,'x')|list | range(7)|batch(3,0)|list | range(7)|slice(3)|list | range(7)|slice(3,'x')|list | l|slice(0)|list | el|slice(2)|list | el|batch(2)|list
users|groupby('age')|length | users|groupby('age')|map(attribute='grouper')|list | (users|groupby('age')|first).list|length | (users|groupby('age'))[0].grouper | users|groupby('on', default=false)|map('first')|list | w|groupby(0)|map('first')|list | [{'a':'X'},{'a':'x'}]|groupby('a')|list | [{'a':'X'},{'a':'x'}]|groupby('a',case_sensitive=true)|length | users|groupby('nope')|length
undef|default('d') | e|default('d') | e|default('d', true) | nil|default('d') | nil|d('d', boolean=true) | undef|default | undef.x|default(1) | nest.q|default('n') | 5|default(1) | z|default(1,true) | undef|default(default_value=3) | undef|default(1,2,3)
'42'|int | '42.9'|int | 'x'|int | 'x'|int(5) | ' 12 '|int | '0x1f'|int(base=16) | '1f'|int(0,16) | '0b11'|int(0,0) | 3.99|int | -3.99|int | true|int | none|int | none|int('n') | [1]|int(2) | undef|int | '1_000'|int | '1e3'|int | 'inf'|int | '-5'|int | '+5'|int | '５'|int | ''|int
'3.5'|float | 'x'|float | 'x'|float(1.5) | 3|float | none|float | 'inf'|float | '-nan'|float | '1e5'|float | ' 2 '|float | '1_0.5'|float | '.5'|float | '5.'|float | '.'|float | '1e'|float | undef|float | true|float
2.5|round | 3.5|round | 2.567|round(2) | 2.5|round(method='ceil') | 2.45|round(1) | 2.45|round(1,'floor') | -2.5|round | 42|round | 42|round(-1) | 1234.5|round(-2) | 2.5|round(method='x') | 's'|round | 2.675|round(2) | 1e300|round(2) | 0.5|round|int | true|round | 7|round(method='ceil') | 25|round(-1)
-5|abs | neg|abs | -2.5|abs | 's'|abs | undef|abs | true|abs | s|trim | '  x  '|trim | 'xxhixx'|trim('x') | '\n\t x \n'|trim | '\u00a0x\u3000'|trim | n|trim | nil|trim | s|replace('o','0') | s|replace('o','0',1) | s|replace('','-') | n|replace(7,8) | s|replace('zz','') | s|replace('l','') | 'aaa'|replace('a','b',count=2) | s|replace('o')
s|string | n|string | nil|string | l|string | undef|string | s|center(20) | s|center(21)~'|' | 'ab'|center(5)~'|' | 'abc'|center(6)~'|' | s|center|length | html|escape | html|e | html|safe | html|safe|escape | html|forceescape | html|safe|forceescape | (html|safe) + '<b>' | '<i>' + (html|safe) | (html|e) is escaped | html is escaped | ['<'|e] | (html|safe|upper) + '<' | ('<'|e) ~ '<'
html|striptags | '<!-- c --> a  <b>b</b>\n &lt;x&gt; &#65; &#x42;'|striptags | '< a > b < c'|striptags | lines|indent | lines|indent(2, true) | lines|indent(2, first=true, blank=true) | lines|indent('> ') | 'x'|indent | ''|indent | n|indent | 'a\n'|indent | lines|wordcount | 'it\'s a é-b_c 1.5'|wordcount | n|wordcount
'foo bar baz qux'|truncate(9) | 'foo bar baz qux'|truncate(9, true) | 'foo bar baz qux'|truncate(11) | 'foo bar baz qux'|truncate(11, false, '...', 0) | 'foobarbazquxquux'|truncate(8, end='…', leeway=0) | s|truncate(2) | s|truncate | undef|truncate | u|truncate(6,true,'',0) | s|truncate(5, leeway=-1)
'The quick brown fox jumps'|wordwrap(10) | 'aaaaaaaaaaaaaaaaaaaa bb'|wordwrap(8) | 'aaaaaaaaaaaa'|wordwrap(5, false) | 'well-known self-made'|wordwrap(7) | 'well-known self-made'|wordwrap(7, break_on_hyphens=false) | 'a b\n\nc d'|wordwrap(3) | 'a  b   c'|wordwrap(3, wrapstring='|') | 'x -- y--z'|wordwrap(4) | ''|wordwrap | 'ab cd'|wordwrap(0) | '   lead'|wordwrap(4) | 'tést wörds hére'|wordwrap(5)
1|filesizeformat | 0|filesizeformat | 999|filesizeformat | 1000|filesizeformat | 1234567|filesizeformat | 1024|filesizeformat(true) | 1048576|filesizeformat(binary=true) | '12345'|filesizeformat | 1.5e15|filesizeformat | 1e27|filesizeformat | 'x'|filesizeformat | -5|filesizeformat | 2.5|filesizeformat
'a b/c?d=é&'|urlencode | {'a b': 'c&d', 'e': 1}|urlencode | [['k','v w'],(1,2)]|urlencode | n|urlencode | undef|urlencode | [1]|urlencode | {'a': 1, 'b<': '"x"', 'n': none}|xmlattr | {'a': 1}|xmlattr(false) | {'a b': 1}|xmlattr | ed|xmlattr | l|xmlattr
d|tojson | users|tojson | nest|tojson(indent=2) | d|tojson(indent=4, sort_keys=true) | u|tojson | u|tojson(ensure_ascii=true) | [1.0, 1e100, true, none, 'a"b\\c\n\t\u0001\u007f</script>']|tojson | d|tojson(separators=(',',':')) | d|tojson(separators=[';','=']) | el|tojson(indent=2) | [[],{},[1]]|tojson(indent=1) | undef|tojson | {1: 2, none: 3, true: 4, 1.5: 5}|tojson | {(1,2): 3}|tojson | (1,2)|tojson | range(3)|tojson | d.items()|tojson | s|tojson | n|tojson | l|tojson(indent='--') | l|tojson(indent=0) | 'inf'|float|tojson | d|tojson(true) | {'b':1,'a':{'d':1,'c':2}}|tojson(sort_keys=true) | d|tojson(separators=(',')) | {1:1,'a':2}|tojson(sort_keys=true) | html|safe|tojson | d|tojson(indent=true) | d|tojson(x=1)
'%s is %d years, %5.2f%%'|format('Bob', 30, 1.5) | '%(a)s-%(b)05d'|format(a='x', b=42) | '%s %s' % ('a', 1) | '%s' % 5 | '%s' % l | '%r' % 'x' | '%5s|%-5s|' % ('a','b') | '%x %X %o %#x' % (255,255,8,255) | '%e %g %G' % (12345.678, 0.00001, 1e20) | '%c%c' % ('a', 98) | '%s %s' % ('a',) | '%s' % ('a','b') | '%d' % 'x' | '%+d % d' % (5, 5) | '%*d' % (5, 42) | '%.3s' % 'abcdef' | '%z' % 1 | '%' % 1 | '%%' % () | '%(a)s' % {'a': 1} | '%(q)s' % {'a': 1} | '%d' % 3.9 | '%05d' % -42 | '%s' % undef | 'x' % d | 'x' % 5 | '%i' % true | '%.0f' % 2.5 | '%#.3g' % 1.0 | '%s'|format(l)
'{} {}'.format(1, 'b') | '{1} {0}'.format('a', 'b') | '{a} {b}'.format(a=1, b=2) | '{0.x}'.format(nest) | '{0[b]}'.format(d) | '{:>8}|{:<8}|{:^8}|'.format('a','b','c') | '{:*^9}'.format('mid') | '{:05d} {:+d} {:x} {:#b} {:,}'.format(42, 7, 255, 5, 1234567) | '{:.2f} {:8.3f} {:e} {:g} {:%}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.25) | '{!r} {!s}'.format('a', 'b') | '{{}} {}'.format(1) | '{} {1}'.format(1,2) | '{'.format(1) | '}'.format(1) | '{}'.format() | '{a}'.format(1) | '{:{}}'.format('x', 5) | '{:.3}'.format('abcdef') | '{:d}'.format('x') | '{:s}'.format(5) | '{:_}'.format(1234567) | '{:010,.2f}'.format(1234.5) | '{}'.format(l) | '{:5}'.format(l) | '{:5}'.format(true) | '{:.3}'.format(1234.5) | '{:n}'.format(5.5) | '{0.__class__}'.format(s) | '{a[b]}'.format_map({'a': {'b': 3}}) | '{:c}'.format(97) | '{:.1f}'.format(5) | '{:=+6}'.format(5) | '{:é>5}'.format('x') | '{!x}'.format(1) | '{:}'.format(1.0) | '{:.2}'.format(0.5) | '{:10.1%}'.format(0.1234)
'a,b,c'.split(',') | 'a,b,c'.split(',', 1) | ' a  b '.split() | 'a b c'.split(none, 1) | 'a  b  '.split(maxsplit=1) | 'abc'.split('') | 'a,b,c'.rsplit(',', 1) | ' a b  c '.rsplit(none, 1) | ' a b '.rsplit() | 'abc'.rsplit('x') | ''.split() | ''.split(',') | 'a--b--c'.split('--')[-1] | 'a,b'.split(sep=',') | lines.splitlines() | lines.splitlines(true) | 'a\x0bb\u2028c'.splitlines() | ''.splitlines() | 'a\n'.splitlines(keepends=true) | 'x'.split(1)
' x '.strip()~'|' | 'xxax'.strip('x') | ' x '.lstrip()~'|' | ' x '.rstrip()~'|' | 'abcba'.lstrip('ab') | 'abcba'.rstrip('ab') | 'éxé'.strip('é') | 'x'.strip(1) | 'x'.strip(none) | s.startswith('Hell') | s.startswith(('x','H')) | s.startswith(['H']) | s.startswith('W', 6) | s.startswith('o', 4, 5) | s.endswith('ld') | s.endswith('') | s.endswith(('a','ld')) | s.startswith(1) | u.endswith('🎉') | s.endswith('o', 0, 5)
s.upper() | s.lower() | 'straße'.upper() | 'hello world'.title() | 'HELLO'.capitalize() | 'aBc'.swapcase() | 'Straße'.casefold() | 'x'.upper(1) | s.replace('o','0') | s.replace('o','0',1) | s.replace('','.') | s.replace(old='o',new='x') | 'abc'.replace('', '-', 2) | s.find('o') | s.find('o', 5) | s.find('zz') | s.rfind('o') | s.rfind('o', 0, 6) | s.index('W') | s.index('q') | s.rindex('o') | u.find('世') | u.index('🎉') | s.find('', 20) | s.count('l') | s.count('') | u.count('') | s.count('l', 3) | s.count('l', -3, -1) | s.find('o', -4)
','.join(w) | ','.join([1]) | ''.join('abc') | ','.join(d) | ','.join(w|map('upper')) | ','.join(5) | '12'.isdigit() | '1a'.isdigit() | ''.isdigit() | '²'.isdigit() | '²'.isdecimal() | '½'.isnumeric() | 'abc'.isalpha() | 'é'.isalpha() | 'a1'.isalnum() | ' \t'.isspace() | 'ABC'.isupper() | 'ABC1'.isupper() | '1'.isupper() | 'abc'.islower() | 'Abc Def'.istitle() | 'AbC'.istitle() | 'a_1'.isidentifier() | '1a'.isidentifier() | 'aé'.isascii() | 'a\n'.isprintable() | 'ab'.isnumeric() | '一二'.isnumeric()
'a=b=c'.partition('=') | 'a=b=c'.rpartition('=') | 'abc'.partition('=') | 'abc'.rpartition('=') | 'abc'.partition('') | 'foobar'.removeprefix('foo') | 'foobar'.removesuffix('bar') | 'foobar'.removeprefix('x') | '42'.zfill(5) | '-42'.zfill(5) | 'x'.center(6,'*') | 'ab'.center(5) ~ '|' | 'x'.ljust(4)~'|' | 'x'.rjust(4,'.') | 'x'.ljust(4,'ab') | 'a\tb'.expandtabs() | 'a\tb'.expandtabs(4) | 'a\tb'.expandtabs(tabsize=2) | 'é'.center(4)~'|'
n is odd | n is even | n is divisibleby 7 | n is divisibleby(2) | 2.0 is even | s is odd | n is defined | undef is undefined | nil is none | nil is not none | s is string | l is sequence | s is sequence | n is sequence | d is mapping | l is mapping | s is iterable | n is iterable | undef is iterable | undef is sequence | n is number | true is number | true is integer | 1.5 is float | 1 is float | true is boolean | 1 is boolean | true is true | 1 is true | no is false | 'a' is lower | 'A' is upper | 'aB' is lower | 1 is lower | 5 is eq 5 | 5 is equalto 6 | 5 is ne 6 | 5 is lt 6 | 5 is lessthan(6) | 5 is gt 4 | 5 is greaterthan 4 | 5 is ge 5 | 5 is le 4 | 1 is in l | 9 is not in l | 'upper' is filter | 'nope' is filter | 'odd' is test | 5 is sameas 5 | nil is sameas none | s.upper is callable | s is callable | range is callable | range(3) is sequence | range(3) is iterable | d.items() is sequence | 5 is nosuch | 5 is odd is even | n is odd and s is string | not n is odd | n is not odd | 1 + 1 is odd | 5 is sameas 5.0
range(5)|list | range(2,5)|list | range(5,0,-2)|list | range(0) | range(3) | range(0,10,3) | range(100000)|length | range(100001) | range(1,2,0) | range('a') | range(1.5) | range() | range(0,10)[3] | range(10)|sum | range(3) == range(0,3) | range(3)[5] | range(-3)|list | range(4).count('a') | range(0,9,3).count(3) | range(0,9,3).index(6) | range(3).index(7) | range(3).index(2.0) | range(1,5).stop | range(4).step
dict(a=1, b=2) | dict(d, x=9) | dict([['a', 1]]) | dict([[1]]) | dict(1) | dict() | namespace(a=1).a | namespace(a=1) | namespace(_a=1) | namespace(d).b | cycler('a','b').next() | cycler() | joiner('x')() | strftime_now('%Y-%m-%d %H:%M:%S') | strftime_now('%d %b %Y, %A') | strftime_now('') | raise_exception('boom') | raise_exception() | raise_exception(1,2) | strftime_now() | dict(**d) | dict(*[[['a',1]]]) | range(*[1,4])|list | dict(**l) | range(**d) | s.split(*[' ']) | undef(1) | n(1) | s() | {'f': 1}.f | true.x | 'a'.b.c | 'a  b  '.split(maxsplit=1) | (html|e)|first | (html|e)|list|first ~ '<' | l|truncate | '{:*^09}'.format(5) | '{:>012_}'.format(97) | '%#.3f' % 2 | 1234567|round(-3) | 35|round(-1) | 1e300|round(-2) | -7.5 // 0.5 | 'a--b well-known-x e-f'|wordwrap(5) | 'a-b-c'|wordwrap(2)
"a" in ["a", "b"] and "c" not in ["d"] | ("a" if n > 5 else "b") ~ "c" | [1,2,3][n - 7] | l[l|length - 1] | (l|sort)[0] | s|length > 5 and s|upper == 'HELLO WORLD' | 'x' if undef is defined and undef.y else 'n' | nest.x.y|length | {'a': [1,2]}.a[1] | l|map('string')|list|join(',')|length | -5|abs ~ 'x' | 2 * 3|string | (2 * 3)|string * 2 | [l, w]|sum(start=[])|length | s.split()|map('length')|list | s.split(' ')[0].lower()[1:3] | 'abc'[1] ~ 'def'[-1] | d['a'] + d.b * 2 | x.y if x is defined else 'none' | users[0].name.upper() | users[-1]['name'][0]
1 | 2 +  | ( | [1 | {'a' | 'abc | a b | 1 2 | s| | s|nosuch | s.| | s.5.x | if | not | in | 1 in | {{ | a = 1 | *l | f(a=1, 2) | f(**d, *l) | f(a=1, a=2) | @ | $ | a ? b | 1 === 1 | 'a' is | s|upper( | 'x'|default(,) | range(3,) | lambda | l[ | l[] | l[1,2] | l[1:2:3:4] | 5.upper | 5 .x | !true | a && b | 1 <> 2 | true = 1
"""

TEMPLATES = [
    # whitespace, comments, raw
    "a\n", "a\n\n", "a\r\nb\rc\n", "", "\n", "  {% if t %}\n  x\n  {% endif %}\n  y", "  {%- if t -%}\n  x\n  {%- endif -%}\n  y",
    "  {%+ if t %}\n  x\n  {%+ endif %}\n  y", "{% if t +%}\n x{% endif %}", "a {{- s -}} b", "a\n  {{- s }}\n  {{ s -}}\n b", "x {# c #} y\n{# c #}\nz",
    "  {# c #}\nz", "a\n {#- c -#} \n b", "{#+ c +#}\nz", "{# {{ x }} {% y %} #}ok", "{# unclosed", "{{ s", "{% if t", "{% raw %}{{ x }}{% endraw %}",
    "  {% raw %}\n  {{ x }}\n  {% endraw %}\nz", "{%- raw -%}\n {% if %} {%- endraw -%}\n x", "{% raw %}", "{%raw%}a{%endraw%}b", "{% raw -%}\n  a\n{%- endraw +%}\nb",
    "{{ '{{' }} {{ '%}' }} {{ \"}}\" }}", "{ {% } %", "{{ {'a': {'b': 1}} }}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{}}", "{{ }}", "{%%}", "{% %}",
    "{{ s }}{# c #}{% if t %}{% endif %}\n\n\nend\n", "\t {% if t %}\t\nx\n\t{% endif %}\t\ny", "a{% if t %}\n{% endif %}\nb", "{{ s }}\n{{ s }}\n", "{% set x = 1 %}\n{{ x }}\n",
    "{{ s -}}   \n\n  x", "{%- set a = 1 -%}   {%- set b = 2 -%}  {{ a + b }}", "x\u00a0{%- if t %}y{% endif %}", "{{-1}}", "{{+1}}", "{{- -1 -}}", "{%if t%}x{%endif%}",
    "line {% if t %} mid {% endif %} end", "   {{ s }}", "{% for i in l %}\n  {{ i }}\n{% endfor %}\n", "{% for i in l -%}\n  {{ i }}\n{%- endfor %}\n", "é{% if t %}ü{% endif %}世",
    # if
    "{% if t %}a{% elif no %}b{% else %}c{% endif %}", "{% if no %}a{% elif t %}b{% else %}c{% endif %}", "{% if no %}a{% elif no %}b{% else %}c{% endif %}", "{% if undef %}a{% endif %}", "{% if undef.x %}a{% endif %}",
    "{% if l, w %}tuple{% endif %}", "{% if t %}{% if no %}a{% else %}b{% endif %}c{% endif %}", "{% if t: %}x{% endif %}", "{% if %}{% endif %}", "{% if t %}", "{% endif %}", "{% if t %}{% endfor %}", "{% if t %}{% else %}{% elif t %}{% endif %}",
    "{% if no %}{{ 1|nosuch }}{% endif %}ok", "{% if t %}{{ 1|nosuch }}{% endif %}ok", "{{ 1|nosuch if no else 2 }}", "{{ 1|nosuch if t else 2 }}", "{% for i in [] %}{{ 1|nosuch }}{% endfor %}", "{% if no %}{{ 1 is nosuch }}{% endif %}ok", "{% if no %}{% for i in l %}{{ 1|nosuch }}{% endfor %}{% endif %}",
    # for
    "{% for i in l %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/{{ loop.last }}/{{ loop.length }}/{{ loop.depth }}/{{ loop.depth0 }};{% endfor %}",
    "{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }};{% endfor %}", "{% for i in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}", "{% for i in l %}{{ loop.cycle('a','b') }}{% endfor %}", "{% for i in [1,1,2,2,1] %}{{ loop.changed(i) }} {% endfor %}",
    "{% for i in el %}x{% else %}empty{% endfor %}", "{% for i in l %}x{% else %}empty{% endfor %}", "{% for i in undef %}x{% else %}empty{% endfor %}", "{% for i in nil %}x{% endfor %}", "{% for i in n %}x{% endfor %}", "{% for c in u %}[{{ c }}]{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }};{% endfor %}", "{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}", "{% for a, b in [[1,2],[3,4]] %}{{ a + b }} {% endfor %}", "{% for a, b in [[1,2,3]] %}{% endfor %}", "{% for a, b in [[1]] %}{% endfor %}",
    "{% for a, (b, c) in [[1,[2,3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for (a, b) in [[1,2]] %}{{ a }}{{ b }}{% endfor %}", "{% for i in l if i > 1 %}{{ i }}{{ loop.index }}{{ loop.length }}{{ loop.last }};{% endfor %}", "{% for i in l if i > 9 %}{{ i }}{% else %}none{% endfor %}", "{% for i in 1, 2, 3 %}{{ i }}{% endfor %}", "{% for i in (1,2) if i %}{{ i }}{% endfor %}",
    "{% for x in tree recursive %}{{ x.v }}({{ loop(x.c) }}){% if not loop.last %},{% endif %}{% endfor %}", "{% for x in tree recursive %}{{ loop.depth }}{{ x.v }}{{ loop(x.c) }}{% else %}-{% endfor %}", "{% for x in l %}{{ loop(l) }}{% endfor %}", "{% for i in range(5) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in l %}{% break %}{% else %}E{% endfor %}", "{% for i in l %}{% continue %}{% else %}E{% endfor %}", "{% for i in l %}{{ i }}{% if loop.last %}{% break %}{% endif %}{% else %}E{% endfor %}", "{% break %}", "{% for i in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "{% for i in l %}{% else %}{% break %}{% endfor %}", "{% for j in l %}{{ j }}{% for i in el %}{% else %}{% break %}{% endfor %}{% endfor %}",
    "{% for i in l %}{% set x = i %}{% endfor %}{{ x }}", "{% set x = 0 %}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}", "{% for i in l %}{% if x is defined %}D{% endif %}{% set x = i %}{% endfor %}", "{% for i in l %}{% endfor %}{{ i }}", "{% for i in l %}{% for j in w %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}", "{% for loop in l %}{% endfor %}", "{% for i in l %}{% set loop = 1 %}{% endfor %}", "{{ loop }}", "{{ loop.index }}", "{% for i in l %}{{ loop }}{% endfor %}", "{% for i in l %}{% set outer = loop %}{% for j in el %}{% else %}{{ outer.index }}{{ loop.index }}{% endfor %}{% endfor %}",
    "{% for i in l|map('string') %}{{ loop.length }}{{ i }}{% endfor %}", "{% for i in w|select('lower') %}{{ i }}{{ loop.last }}{% endfor %}", "{% for i in range(3) if loop.index %}{% endfor %}", "{% for i in l|reverse %}{{ i }}{% endfor %}", "{% for m in users|selectattr('on') %}{{ m.name }}{% if not loop.last %}, {% endif %}{% endfor %}", "{% set g = w|map('upper') %}{{ g|list }}{{ g|list }}", "{% set g = [1]|map('nosuch') %}ok", "{% set g = w|map('upper') %}{{ g|first }}{{ g|first }}", "{% for a in l if a != ns.x %}{% endfor %}", "{% set ns = namespace(last=0) %}{% for i in [1,1,2,2,3] if i != ns.last %}{{ i }}{% set ns.last = i %}{% endfor %}",
    "{% for i in [1,2,3] %}{% for j in [1,2] %}{% if j == 2 %}{% continue %}{% endif %}{{ i }}{{ j }} {% endfor %}{% if i == 2 %}{% break %}{% endif %}{% endfor %}", "{% for i in l %}{{ loop.nosuch }}{{ loop['index'] }}{% endfor %}", "{% for i in l %}{{ loop.length }}{% endfor %}", "{% for k, v in users[0]|items %}{{ k }}:{{ v }} {% endfor %}", "{% for a.b in l %}{% endfor %}", "{% for 1 in l %}{% endfor %}", "{% for x in %}{% endfor %}", "{% for x l %}{% endfor %}", "{% for x in l recursive if x %}{% endfor %}", "{% for x in l if x else y %}{% endfor %}", "{% for x in l if t else w %}{{ x }}{% endfor %}", "{% for x in (l if t else w) %}{{ x }}{% endfor %}",
    # set, namespace, with
    "{% set a = 1 %}{% set b = a + 1 %}{{ a }}{{ b }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = [1] %}", "{% set (a, b), c = [1,2],3 %}{{ a }}{{ b }}{{ c }}", "{% set t1 = 1, 2 %}{{ t1 }}", "{% set x %}block {{ s }}{% endset %}{{ x|upper }}", "{% set x | upper %}block {{ s }}{% endset %}{{ x }}", "{% set x | replace('b', 'B') | trim %}  bob {% endset %}[{{ x }}]", "{% set x %}{% set y = 1 %}{{ y }}{% endset %}{{ x }}{{ y }}",
    "{% set ns = namespace(a=1, b='x') %}{% set ns.a = ns.a + 1 %}{{ ns.a }}{{ ns.b }}{{ ns.c }}", "{% set ns = namespace() %}{% for i in l %}{% set ns.sum = (ns.sum or 0) + i %}{% endfor %}{{ ns.sum }}", "{% set ns = {} %}{% set ns.a = 1 %}", "{% set undefd.a = 1 %}", "{% set ns = namespace() %}{% set ns._a = 1 %}", "{% set ns = namespace(a=1) %}{{ ns['a'] }}{{ ns.a is defined }}{{ ns.q is defined }}", "{% set ns = namespace(x=0) %}{% macro m() %}{% set ns.x = ns.x + 1 %}{% endmacro %}{{ m() }}{{ m() }}{{ ns.x }}", "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}", "{% set ns = namespace() %}{% set ns.t %}txt{% endset %}{{ ns.t }}", "{% set ns = namespace(items=3) %}{{ ns.items }}",
    "{% set x = 1 %}{% if t %}{% set x = 2 %}{% endif %}{{ x }}", "{% set x = 1 %}{% with %}{% set x = 2 %}{{ x }}{% endwith %}{{ x }}", "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}", "{% set a = 5 %}{% with a = 1, b = a %}{{ b }}{% endwith %}", "{% with (a, b) = (1, 2) %}{{ a }}{{ b }}{% endwith %}", "{% with a %}{% endwith %}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{% set x = %}", "{% set x == 1 %}", "{% set %}", "{% set s = s ~ '!' %}{{ s }}", "{% set x = undef %}{{ x is defined }}{{ x }}", "{% set x = y = 1 %}", "{% set x = 1 if no %}{{ x }}", "{% set d2 = dict(d) %}{{ d2.b }}", "{% set x %}{% endset %}[{{ x }}]",
    "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter replace('a','b')|upper %}banana{% endfilter %}", "{% filter indent(2) %}a\nb{% endfilter %}", "{% filter nosuch %}{% endfilter %}", "{% filter join %}abc{% endfilter %}",
    # macros and calls
    "{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=5, a=4) }} {{ m() }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(a) %}{{ varargs|length }}{% endmacro %}{{ m(1, 2, 3) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}", "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(7) }}", "{% macro m(a=x) %}{{ a }}{% endmacro %}{% set x = 9 %}{{ m() }}",
    "{% macro fact(k) %}{{ 1 if k < 2 else k * fact(k - 1)|int }}{% endmacro %}{{ fact(5) }}", "{% macro a() %}A{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{% set x = 2 %}{{ m() }}", "{% macro m() %}{% set x = 5 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}", "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}inner {{ s }}{% endcall %}", "{% macro m(l) %}{% for i in l %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(x) m(l) %}<{{ x }}>{% endcall %}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% macro m() %}{{ caller is defined }}{{ caller }}{% endmacro %}{{ m() }}", "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b=5, c=6) m() %}{{ a }}{{ b }}{{ c }}{% endcall %}", "{% call undef() %}{% endcall %}", "{% call s %}{% endcall %}",
    "{{ m }}{% macro m() %}{% endmacro %}{{ m }}{{ m.name }}", "{% macro m(a, b) %}{% endmacro %}{{ m.arguments }}{{ m.catch_kwargs }}", "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m(a, a) %}{% endmacro %}", "{% macro %}{% endmacro %}", "{% macro m %}{% endmacro %}", "{% if t %}{% macro m() %}M{% endmacro %}{% endif %}{{ m() }}", "{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}{{ m is defined }}", "{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}", "{% macro m() %} a {% endmacro %}[{{ m()|trim }}]", "{% macro m(x) -%}\n  {{ x }}\n{%- endmacro %}[{{ m(1) }}]", "{% macro m() %}{{ loop }}{% endmacro %}{% for i in l %}{{ m() }}{% endfor %}", "{{ m() }}{% macro m() %}x{% endmacro %}", "{% macro m(message) %}{{ message.caller }}{{ message['varargs'] }}{% endmacro %}{{ m({'caller': 1}, 2) }}", "{% macro m(x, **kw) %}{% endmacro %}", "{% macro m() %}{{ kwargs.items()|list }}{% endmacro %}{{ m(a=1) }}", "{% set f = range %}{{ f(3)|list }}", "{% macro m(f) %}{{ f('x') }}{% endmacro %}{% macro g(a) %}[{{ a }}]{% endmacro %}{{ m(g) }}",
    # other tags
    "{% generation %}a{{ s }}{% endgeneration %}", "{% generation %}{% set x = 1 %}{% endgeneration %}{{ x }}", "{% for i in l %}{%- generation -%} {{ i }} {%- endgeneration -%}{% endfor %}", "{% for i in l %}{% generation %}{% break %}{% endgeneration %}{% endfor %}", "{% block b %}x{{ s }}{% endblock %}", "{% block b %}{% set q = 1 %}{% endblock b %}{{ q }}", "{% for i in l %}{% block b %}{{ i }}{% endblock %}{% endfor %}", "{% autoescape false %}{{ html }}{% endautoescape %}", "{% print s %}", "{% print s, n %}", "{% do l.append(1) %}", "{% include 'x' %}", "{% if no %}{% include 'x' %}{% endif %}ok", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% extends 'x' %}", "{% nosuch %}", "{% trans %}{% endtrans %}", "{% debug %}",
    "{% set c = cycler('a','b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.next() }}", "{% set j = joiner(', ') %}{% for i in l %}{{ j() }}{{ i }}{% endfor %}", "{% set j = joiner() %}{{ j() }}a{{ j() }}b", "{{ raise_exception('no ' ~ s) }}", "{% if no %}{{ raise_exception('x') }}{% endif %}ok", "{% set x = [s] %}{% set x = x + [n] %}{{ x }}", "{% set x = x + 'a' if x is defined else 'b' %}{{ x }}",
    # what chat templates do
    "{% for m in users %}{{ '<|' ~ m['name'] ~ '|>\n' ~ m.age|string ~ '<|end|>\n' }}{% endfor %}", "{{ (users|selectattr('age', 'gt', 26)|list|first).name }}", "{% if users[0]['name'] == 'Bob' %}{% set sys = users[0]['name'] %}{% set rest = users[1:] %}{% else %}{% set rest = users %}{% endif %}{{ rest|length }}{{ sys }}", "{% set content = 'a</think>b' %}{{ content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') }}|{{ content.split('</think>')[-1].lstrip('\\n') }}", "{%- set ns = namespace(multi=true, last=users|length - 1) %}{%- for m in users[::-1] %}{%- set index = (users|length - 1) - loop.index0 %}{%- if ns.multi and m.name == 'Carol' %}{%- set ns.multi = false %}{%- set ns.last = index %}{%- endif %}{%- endfor %}{{ ns.last }}", "{% if (users[0].name == 'Bob') != (0 % 2 == 0) %}bad{% else %}good{% endif %}", "{{ users | tojson(indent=4) }}", "{{ users[0] | tojson }}", "{%- if users is string %}S{%- elif users is iterable and users is not mapping %}L{%- endif %}", "{{ ('a' if t else 'b') + ('c' if no else 'd') }}", "{{ users[0].get('on', 'x') }}{{ users[3].get('on', 'x') }}", "{% for m in users -%}\n    {%- if m.on is defined and m.on -%}\n        {{ m.name + '\\n' }}\n    {%- endif -%}\n{%- endfor %}", "{{- s }}\n{{- '\\n' }}", "{% set o = {'a': 1} %}{{ o.a }}{{ o['b'] is defined }}{{ o.get('b') is none }}", "{% for m in users %}{% if loop.index0 == 0 and m.name == 'Bob' %}{{ bos_token }}{% endif %}{{ m.name }}{% endfor %}",
]


def expression_cases():
    """Every expression of the list above: a line holds several, cut at ' | ' (with blanks: filters are
    written without)."""
    for line in EXPRESSIONS.strip().split("\n"):
        for expression in line.split(" | "):
            yield "{{ " + expression.strip() + " }}"


SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
USER = {"role": "user", "content": "Hello, wörld! 你好 🎉 <b>&</b> \"quote\" 'x'"}
AGAIN = {"role": "user", "content": "  And again?\n"}
ANSWER = {"role": "assistant", "content": "Hi there."}
THOUGHT = {"role": "assistant", "content": "<think>\nI ponder.\n</think>\n\nAnswer é."}
REASONED = {"role": "assistant", "content": "Answer", "reasoning_content": "deep thought\n"}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "abcdefghi", "function": {
    "name": "get_weather", "arguments": {"city": "Paris", "days": 2, "f": 1.5, "b": True, "n": None}}}]}
TWO_CALLS = {"role": "assistant", "content": "Let me see", "tool_calls": [
    {"type": "function", "id": "abcdefghi", "function": {"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}},
    {"type": "function", "id": "123456789", "function": {"name": "noop", "arguments": {}}}]}
REPLY = {"role": "tool", "name": "get_weather", "content": "22 C", "tool_call_id": "abcdefghi"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "image"}, {"type": "text", "text": "this?"}]}
TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Get the weather\nin a place",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "City é", "enum": ["Paris", "Rome"]},
            "days": {"type": "integer", "description": "How many", "default": 3},
            "list": {"type": "array", "description": "L", "items": {"type": "string"}},
            "inner": {"type": "object", "description": "O", "properties": {"x": {"type": "number"}}}},
            "required": ["city"]},
        "return": {"type": "string", "description": "the weather"}}},
    {"type": "function", "function": {"name": "noop", "description": "Nothing",
                                      "parameters": {"type": "object", "properties": {}}}}]
UNION = [{"type": "function", "function": {"name": "any", "description": "Any", "parameters": {
    "type": "object", "properties": {"x": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                                     "n": {"type": ["string", "null"]}}}}}]
CONVERSATIONS = [
    [USER], [SYSTEM, USER], [SYSTEM, USER, ANSWER, AGAIN], [USER, ANSWER, AGAIN, ANSWER], [USER, THOUGHT, AGAIN],
    [USER, REASONED, AGAIN, REASONED], [SYSTEM, USER, {**ANSWER, "thinking": "gpt thought"}, AGAIN], [PARTS],
    [SYSTEM, PARTS, ANSWER, USER], [USER, CALL, REPLY], [SYSTEM, USER, CALL, REPLY, ANSWER, AGAIN],
    [USER, {**CALL, "content": None}, REPLY, ANSWER], [USER, TWO_CALLS, REPLY, REPLY],
    [USER, TWO_CALLS, {**REPLY, "content": {"temp": 22, "unit": "C"}}],
    [USER, {"role": "assistant", "tool_calls": [{"name": "get_weather", "arguments": {"city": "Rome"}}]}, REPLY],
    [USER, CALL, {**REPLY, "content": [{"type": "text", "text": "22"}]}, REASONED],
    [USER, {**CALL, "reasoning_content": "why"}, REPLY], [SYSTEM], [ANSWER], [USER, AGAIN], [],
    [{**SYSTEM, "content": "/no_think be brief"}, USER], [{"role": "developer", "content": "dev"}, USER],
    [SYSTEM, ANSWER, USER], [USER, {**ANSWER, "content": ""}], [{"role": "user", "content": None}], [{"role": "user"}],
    [SYSTEM, USER, THOUGHT, AGAIN, THOUGHT, AGAIN, CALL, REPLY, REPLY, THOUGHT],
    [{**SYSTEM, "content": "  pad  "}, {**USER, "content": "\t"}, {**ANSWER, "content": "</think>x"}, USER],
    [{"role": "wrong", "content": "x"}], [{**USER, "content": 5}], [{**USER, "content": []}],
    [USER, {**ANSWER, "tool_calls": []}, AGAIN],
]
EXTRAS = [
    {}, {"bos_token": "<s>", "eos_token": "</s>", "date_string": "1 Jan 2025"},
    {"bos_token": "<|begin|>", "eos_token": "<|end|>", "enable_thinking": True, "date_string": "1 Jan 2025"},
    {"bos_token": "B", "eos_token": "E", "enable_thinking": False, "thinking": True, "date_string": "1 Jan 2025",
     "tools_in_user_message": False, "reasoning_effort": "high", "xml_tools": None, "python_tools": ["f"],
     "keep_past_thinking": True, "builtin_tools": ["browser", "python"], "model_identity": "I am X",
     "documents": [{"doc_id": 1, "title": "T", "text": "doc text"}], "add_vision_id": True},
]


def chat_cases(folder):
    for path in sorted(glob.glob(os.path.join(folder, "*.jinja"))):
        template = open(path, newline="", encoding="utf-8").read()
        for messages in CONVERSATIONS:
            for tools in (None, TOOLS, UNION):
                for extra in EXTRAS:
                    for generation in (True, False):
                        case = {"name": os.path.basename(path), "template": template, "messages": messages,
                                "tools": tools, "extra": extra, "generation": generation}
                        case.update(render_chat(template, messages, tools, extra, generation))
                        yield case


# ---- random expressions ----

ATOMS = ["s", "e", "u", "n", "z", "neg", "f", "t", "no", "nil", "l", "w", "el", "d", "ed", "nest", "users", "undef", "1",
         "-2", "3.5", "'ab'", "''", "' x '", "'A b,c'", "[]", "[1, 'a', none]", "{'k': 1}", "(1, 2)", "true", "none",
         "range(4)", "lines", "html", "big", "'é世'", "0.1", "1e20", "users[0]", "d.items()", "nest.x.y", "['b','A']"]
BINARY = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "and", "or", "in", "not in", "**"]
FILTERS = """abs capitalize center(9) count default('D') default('D',true) dictsort escape first float int int(5) items|list join
join(',') last length list lower map('upper')|list map(attribute='name')|list max min reverse|list round round(1) select|list
reject|list select('string')|list sort sort(reverse=true) string striptags sum title tojson tojson(indent=1) trim truncate(5)
unique|list upper urlencode wordcount wordwrap(4) batch(2)|list slice(2)|list indent replace('a','b') map('string')|join('/')
selectattr('on')|list groupby('age')|length format(1) filesizeformat safe e forceescape attr('x') xmlattr pprint
map('length')|list map('int')|list map('first')|list reverse|string|length map(attribute=0)|list string|reverse""".split()
TESTS = """defined undefined none string mapping iterable sequence number integer float boolean true false odd even callable
lower upper divisibleby(2) eq(1) ne(1) lt(2) gt(0) in([1,2]) sameas(none) escaped""".split()
METHODS = """upper() lower() strip() split() split(',') title() capitalize() startswith('a') endswith('b') replace('a','xx')
find('b') count('a') join(['p','q']) isdigit() isalpha() items() keys() values() get('k') get('q',1) index(1) copy() zfill(5)
center(6) partition(',') swapcase() splitlines() format(1,2) rsplit(' ',1) removeprefix('A') lstrip('a') append(1) x name 0
islower() isupper() casefold() rfind('a') ljust(4) expandtabs()""".split()


def random_expression(depth):
    kind = random.random()
    if depth <= 0 or kind < 0.1:
        return random.choice(ATOMS)
    inner = random_expression(depth - 1)
    if kind < 0.32:
        return f"({inner} {random.choice(BINARY)} {random_expression(depth - 1)})"
    if kind < 0.55:
        return f"({inner})|{random.choice(FILTERS)}"
    if kind < 0.65:
        return f"(({inner}) is {random.choice(['', 'not '])}{random.choice(TESTS)})"
    if kind < 0.8:
        return f"({inner}).{random.choice(METHODS)}"
    if kind < 0.88:
        return f"({inner})[{random.choice(['0', '-1', '1:', ':-1', '::-1', '1:3', '::2', 'n', '5', repr('a'), '-2::-1', ':n', 'nil:', '9:'])}]"
    if kind < 0.94:
        return f"({inner} if {random_expression(depth - 1)} else {random_expression(depth - 1)})"
    if kind < 0.97:
        return f"[{inner}, {random_expression(depth - 1)}]"
    return f"(not {inner})"


SPACES = ["", " ", "\n", "  \n", "\n\n ", "x", "x\n", "\tx ", "é\n"]


def random_template(depth):
    parts = []
    for _ in range(random.randint(1, 4)):
        sign = lambda: random.choice(["", "", "-", "+"])
        b = lambda body: "{%" + sign() + " " + body + " " + sign() + "%}"
        gap = random.choice(SPACES)
        kind = random.random()
        inner = random_template(depth - 1) if depth > 0 else random.choice(SPACES)
        if depth <= 0 or kind < 0.25:
            parts.append("{{" + random.choice(["", "-"]) + " " + random_expression(1) + "|string " + random.choice(["", "-"]) + "}}")
        elif kind < 0.45:
            parts.append(b("if " + random_expression(1)) + inner + b("else") + gap + b("endif"))
        elif kind < 0.65:
            body = inner + "{{ " + random.choice(["loop.index", "x", "loop.last", "loop.nextitem", "loop.length", "loop.previtem"]) + " }}"
            if random.random() < 0.3:
                body += b("if loop.index > 2") + b(random.choice(["break", "continue"])) + b("endif")
            parts.append(b("for x in " + random.choice(["l", "w", "u", "d", "users", "el", "range(4)", "l|map('string')", "l if x > 1"])) + body + b("else") + gap + b("endfor"))
        elif kind < 0.75:
            parts.append(b("set q = " + random_expression(1)) + gap + "{{ q is defined }}")
        elif kind < 0.82:
            parts.append(b("set q") + inner + b("endset") + gap + "{{ q }}")
        elif kind < 0.9:
            parts.append(b("macro m(a, b=n)") + inner + "{{ a }}{{ b }}" + b("endmacro") + "{{ m(1) }}{{ m(b=2) }}")
        elif kind < 0.95:
            parts.append("{#" + sign() + gap + sign() + "#}" + gap + b("filter upper") + inner + b("endfilter"))
        else:
            parts.append(b("with q = 5") + inner + b("endwith"))
        parts.append(gap)
    return random.choice(SPACES) + "".join(parts)


def fuzz_cases(count, seed):
    random.seed(seed)
    for index in range(count):
        template = "{{ " + random_expression(3) + " }}" if index % 3 else random_template(3)
        yield {"template": template, "vars": V, **render(template, V)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder")
    parser.add_argument("--fuzz", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default=os.path.join(HERE, "..", "..", "tests", "data", "jinja_cases.json"))
    args = parser.parse_args()
    if args.folder:
        cases = list(chat_cases(args.folder))
    elif args.fuzz:
        cases = list(fuzz_cases(args.fuzz, args.seed))
    else:
        cases = [{"template": t, **render(t, V)} for t in [*expression_cases(), *TEMPLATES]]
        unstable = [c for c in cases if " at 0x" in c.get("out", "") or "object at" in c.get("out", "")]
        cases = [c for c in cases if c not in unstable]
    with open(args.out, "w", encoding="utf-8") as file:
        head = {"vars": V, "cases": cases}
        if args.folder or args.fuzz:
            json.dump(head, file, ensure_ascii=False)
        else:
            rows = ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)
            file.write('{"vars": ' + json.dumps(V, ensure_ascii=False) + ',\n"cases": [\n' + rows + "\n]}\n")
    errors = sum("error" in c for c in cases)
    print(f"{len(cases)} cases, {errors} of them errors -> {os.path.normpath(args.out)}")


if __name__ == "__main__":
    main()
