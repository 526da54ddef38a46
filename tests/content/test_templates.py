"""Templates: their output, their errors, and that every text either renders or raises a ContentError."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import each
from hookkeeper.content import templates
from hookkeeper.content.errors import BadTemplate
from hookkeeper.content.templates import Escape, render

CONTEXT = {
    "event": {
        "id": "evt_1",
        "type": "order.created",
        "tenant": "acme",
        "timestamp": "2026-01-02T23:04:05.678Z",
        "data": {
            "name": "Ann & <Bob>",
            "amount": 100.5,
            "count": 3,
            "paid": True,
            "note": None,
            "items": [{"sku": "a", "n": 2}, {"sku": "b", "n": 1}],
        },
    },
    "webhook": {"id": "wh_1", "name": "", "metadata": {}},
}
FUEL = "takes too many steps or too much memory (line 1)"
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@each(
    ("template", "text"),
    [
        ("{{ event.id }} of {{ event['tenant'] }}", "evt_1 of acme"),
        ("{{ event.data.name }}", "Ann & <Bob>"),
        ("{{ event.data.amount }} {{ event.data.count }}", "100.5 3"),
        ("{{ event.data.paid }} {{ event.data.note }}", "true null"),
        ("{{ event.data['items'] }}", '[{"sku": "a", "n": 2}, {"sku": "b", "n": 1}]'),
        ("{{ event.data.nothing|default('-') }}", "-"),
        ("{% if event.data.nothing %}x{% else %}y{% endif %}", "y"),
        ("{{ event.data.nothing is defined }}", "false"),
        ("{{ event.data.nothing or 'none' }}", "none"),
        ("{% for i in event.data['items'] %}{{ loop.index }}{{ i.sku }} {% endfor %}", "1a 2b "),
        ("{% for k, v in event.data.items[0]|items %}{{ k }}={{ v }};{% endfor %}", "sku=a;n=2;"),
        ("{{ event.data.items|map(attribute='sku')|join(', ') }}", "a, b"),
        ("{{ event.data.items|sum(attribute='n') }}", "3"),
        ("{{ event.data.items|tojson }}", '[{"sku": "a", "n": 2}, {"sku": "b", "n": 1}]'),
        ("{{ event.type|upper }} {{ 'a-b'|replace('-', '+') }}", "ORDER.CREATED a+b"),
        ("{{ event.type.split('.')[0] }}", "order"),
        ("{{ 2.567|round(1) }} {{ 2.567|int }} {{ '%.2f'|format(event.data.amount) }}", "2.6 2 100.50"),
        ("{{ 'a b&c'|urlencode }} {{ {'q': 'a b'}|urlencode }}", "a%20b%26c q=a%20b"),
        ("{{ event.data.name|truncate(length=3) }}", "..."),
        ("{{ event.timestamp[:10] }}", "2026-01-02"),
        ("{{ event.timestamp|datetimeformat }}", "2026-01-02 23:04"),
        ("{{ event.timestamp|datetimeformat('%-d %B %Y, %H:%M', tz='Europe/Rome') }}", "3 January 2026, 00:04"),
        ("{{ 0|datetimeformat('%Y') }} {{ '2026-05-06T07:08:09'|datetimeformat('%H') }}", "1970 07"),
        ("{% set n = 2 %}{{ n * event.data.count }}", "6"),
        ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(1) }}", "<1>"),
        ("{# a remark #}{% raw %}{{ x }}{% endraw %}\n", "{{ x }}\n"),
    ],
)
def test_a_template_renders_its_text(template: str, text: str) -> None:
    templates.check(template)
    assert render(template, CONTEXT) == text


@each(
    ("template", "sentence"),
    [
        ("a\n{{ event.data.amuont }}", "`event.data.amuont` is undefined (line 2)"),
        ("{{ evnt.id }}", "`evnt` is undefined (line 1)"),
        ("{{ event.data.amuont|upper }}", "`event.data.amuont` is undefined (line 1)"),
        ("{% for i in event.data.itmes %}{% endfor %}", "`event.data.itmes` is undefined (line 1)"),
        ("{{ event.data.customer.name|default('-') }}", "`event.data.customer` is undefined (line 1)"),
        ("{{ event.id|uper }}", "filter uper is unknown (line 1)"),
        ("{{ now() }}", "now is unknown (line 1)"),
        ("{{ event.data.paid + 'x' }}", "tried to use + operator on unsupported types bool and string (line 1)"),
        ("{{ 1 / 0 }}", "unable to calculate 1 / 0 (line 1)"),
        ("{{ event.id|truncate(1, 2, 3, 4, 5) }}", "too many arguments (line 1)"),
        ("{{ event.pop('x') }}", "KeyError: 'x'"),
        ("{{ 'soon'|datetimeformat }}", "datetimeformat needs an RFC 3339 time or Unix seconds"),
        ("{{ 0|datetimeformat(tz='America') }}", "datetimeformat knows no time zone 'America'"),
        ("{{ 0|datetimeformat(tz='../../etc/passwd') }}", "datetimeformat knows no time zone '../../etc/passwd'"),
        ("{% include 'x' %}", "cannot load another template (line 1)"),
        ("{% import 'x' as x %}", "cannot load another template (line 1)"),
        ("{% extends '/etc/passwd' %}", "cannot load another template (line 1)"),
        ("{% for i in range(10**9) %}{% endfor %}", "range has too many elements (line 1)"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", FUEL),
        ("{{ 'a' * 10**9 }}", FUEL),
        ("{% set x = 'x' %}" + "{% set x = x ~ x %}" * 40, FUEL),
        ("{{ event.id" + "|replace('e', 'eeeeeeeeee')" * 40 + " }}", FUEL),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion limit exceeded (line 1)"),
        ("{{ 'a' * 1100000 }}", "writes more than 1024 KiB"),
    ],
)
def test_a_template_fails_with_a_content_error(template: str, sentence: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        render(template, CONTEXT)
    assert re.sub(r", column \d+", "", str(caught.value)) == sentence


@each(
    ("template", "position"),
    [
        ("a\n{{ event.data.amuont }}", "(line 2, column 4)"),
        ("{{ event.id }}\n\n é {{ evnt }}", "(line 3, column 7)"),
        ("é{% if %}", "(line 1, column 8)"),
    ],
)
@each("escape", ["none", "html", "json"])
def test_an_error_says_line_and_column(template: str, position: str, escape: Escape) -> None:
    with pytest.raises(BadTemplate) as caught:
        render(template, CONTEXT, escape)
    assert str(caught.value).endswith(position)


@each(
    ("template", "line", "sentence"),
    [
        ("{{ event.id", 1, "unexpected end of input, expected end of variable block"),
        ("\n{% if event.id %}", 2, "unexpected end of input, expected end of block"),
        ("\n\n{% fro x in y %}", 3, "unknown statement fro"),
        ("{% break %}", 1, "'break' must be placed inside a loop"),
        ("{{ " + "(" * 500 + "1" + ")" * 500 + " }}", 1, "template exceeds maximum recursion limits"),
        ("x" * (templates.SOURCE_LIMIT + 1), None, "has more than 64 KiB"),
    ],
)
def test_a_syntax_error_is_found_when_a_template_is_saved(template: str, line: int | None, sentence: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        templates.check(template)
    assert (caught.value.message, caught.value.line) == (sentence, line)
    with pytest.raises(BadTemplate):
        render(template, CONTEXT)


@each("method", ["__class__", "__init__.__globals__", "get.__self__", "get.__func__"])
def test_nothing_leads_from_data_into_python(method: str) -> None:
    for template in (f"{{{{ event.{method} }}}}", f"{{{{ event|attr('{method}') }}}}", f"{{{{ event.{method}() }}}}"):
        with pytest.raises(BadTemplate):
            render(template, CONTEXT)


@each(
    ("escape", "template", "text"),
    [
        ("none", "{{ event.data.name }}", "Ann & <Bob>"),
        ("html", "<b>{{ event.data.name }}</b>", "<b>Ann &amp; &lt;Bob&gt;</b>"),
        ("html", "{{ event.data.name|safe }} {{ event.data.paid }}", "Ann & <Bob> true"),
        ("html", "{{ {'a': '<'} }}", "{&quot;a&quot;: &quot;&lt;&quot;}"),
        ("json", '{"name": {{ event.data.name }}}', '{"name": "Ann & <Bob>"}'),
        ("json", "[{{ event.data.paid }}, {{ event.data.note }}, {{ 1.5 }}]", "[true, null, 1.5]"),
        ("json", '{"text": {{ "Hi " ~ event.data.name }}}', '{"text": "Hi Ann & <Bob>"}'),
        ("json", '{"text": "{{ event.id|safe }}"}', '{"text": "evt_1"}'),
        ("json", '{"text": "{{ event.type }} {{ event.data.count }}"}', '{"text": "order.created 3"}'),
        ("json", '{"k": {{ event.data.count }}, "t": "n: {{ event.data.count }}"}', '{"k": 3, "t": "n: 3"}'),
        ("json", '["{{ event.id }}", {{ event.id }}, "{{ event.id }}"]', '["evt_1", "evt_1", "evt_1"]'),
        ("json", '"{{ event.data.note }} {{ event.data.paid }}"', '"null true"'),
        ("json", "\"{{ event.data['items'][1] }}\"", r'"{\"sku\":\"b\",\"n\":1}"'),
        ("json", '"{{ event.data.name|tojson }}"', r'"\"Ann \\u0026 \\u003cBob\\u003e\""'),
        ("json", r'"\"{{ event.id }}\\{{ event.id }}"', r'"\"evt_1\\evt_1"'),
        ("json", '"{% for i in event.data["items"] %}{{ i.n }}x {{ i.sku }}, {% endfor %}"', '"2x a, 1x b, "'),
        ("json", '{% if event.data.paid %}"{{ event.id }}"{% else %}{{ none }}{% endif %}', '"evt_1"'),
        ("json", '{% if event.data.paid %}"{% endif %}{{ event.id }}"', '"evt_1"'),
        ("json", '"{% raw %}{{ x }}{% endraw %}{# a " remark #}{{ event.id }}"', '"{{ x }}evt_1"'),
        ("json", '{% macro link(x) %}<{{ x }}>{% endmacro %}"{{ link(event.id) }}"', '"<evt_1>"'),
        ("json", '{% macro pair(x) %}["{{ x }}", {{ x }}]{% endmacro %}{{ pair(event.id) }}', '["evt_1", "evt_1"]'),
        ("json", '{% set who %}Hi "{{ event.id }}"{% endset %}{"a": "{{ who }}"}', r'{"a": "Hi \"evt_1\""}'),
        ("json", "{% set x %}{{ event.id }}{% endset %}{{ [x] }}", '["evt_1"]'),
        ("json", '"{{ [1, "a"] }}{{ \'\' }}"', r'"[1,\"a\"]"'),
    ],
)
def test_a_value_is_escaped_for_its_format(escape: Escape, template: str, text: str) -> None:
    assert render(template, CONTEXT, escape) == text


@given(JSON)
def test_html_in_data_is_escaped(data: Any) -> None:
    everywhere = (
        "{{ data }}{{ data ~ '' }}{{ [data] }}{% for item in list %}{{ item }}{% endfor %}"
        "{% set x %}{{ data }}{% endset %}{{ x }}{% macro f(y) %}{{ y }}{% endmacro %}{{ f(data) }}"
    )
    assert "<" not in render(everywhere, {"data": data, "list": [data]}, "html")


@given(JSON)
def test_json_in_data_is_kept(data: Any) -> None:
    assert json.loads(render('{"data": {{ data }}, "more": [{{ data }}]}', {"data": data}, "json")) == {
        "data": data,
        "more": [data],
    }


@given(JSON)
def test_data_inside_a_string_is_its_text(data: Any) -> None:
    template = (
        '{"a": "<{{ data }}>", "b": {{ data }}, "c": ["{% for d in [data] %}{{ d }}{% endfor %}"],'
        '{% macro f(x) %}"{{ x }}"{% endmacro %} "d": {{ f(data) }},'
        '{% set x %}{{ data }}{% endset %} "e": "{{ x }}", "f": "{{ data|safe }}"}'
    )
    written = json.loads(render(template, {"data": data}, "json"))
    text = written["d"]
    assert (text if isinstance(data, str) else json.loads(text)) == data
    assert written == {"a": f"<{text}>", "b": data, "c": [text], "d": text, "e": text, "f": written["f"]}


@each(
    "template",
    [
        r'"\{{ event.id }}"',
        '{% set x %}{{ event.id }}{% endset %}"{{ x|upper }}"',
        '{% set x %}{{ event.id }}{% endset %}"{{ x|lower }}"',
        '{% set x %}{{ event.id }}{% endset %}"{{ x|truncate(length=9, leeway=0) }}"',
        '{% set x %}{{ event.id }}{% endset %}"{{ x|urlencode }}"',
        '{% filter upper %}"{{ event.id }}"{% endfilter %}',
    ],
)
def test_an_expression_that_would_break_a_string_is_refused(template: str) -> None:
    with pytest.raises(BadTemplate, match=r"inside a string|a filter cannot be applied"):
        render(template, CONTEXT, "json")


WORDS = """
{{ }} {% %} {# #} {%- -%} event .data .x ['x'] | upper join default tojson map( attribute= ) ( [ ] { } : , ' " for if
in endfor endif set = ~ + * ** range(3) 10**9 1 -1 1e400 none macro f() endmacro call include is not loop .index block
raw autoescape do .pop(0) .clear() .items() datetimeformat urlencode \\ \0 %
"""
TEXTS = st.text(max_size=60) | st.lists(st.sampled_from(WORDS.split()) | st.text(max_size=3), max_size=25).map(" ".join)


@given(TEXTS, st.sampled_from(["none", "html", "json"]))
def test_no_text_brings_anything_but_a_content_error(template: str, escape: Escape) -> None:
    try:
        text = render(template, {"event": {"data": {"x": [1]}}}, escape)
    except BadTemplate as error:
        text = str(error)
        assert text
    assert len(text) <= templates.OUTPUT_LIMIT


# What is wrong for every event


@each(
    ("template", "sentence"),
    [
        ("a\n{{ evnt.type }}", "unknown variable evnt: use event, webhook or static (line 2, column 4)"),
        ("{{ event.type | uper }}", "filter uper is unknown (line 1, column 17)"),
        ("{% if event.data.n is evn %}{% endif %}", "test evn is unknown (line 1, column 23)"),
        ("{{ rnge(3) }}", "unknown variable rnge: use event, webhook or static (line 1, column 4)"),
    ],
)
def test_a_template_that_fails_for_every_event_is_refused_when_saved(template: str, sentence: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        templates.check(template)
    assert str(caught.value) == sentence


@each(
    "template",
    [
        "{{ event.data.a.b.c }}",
        "{{ event.data.n | round }}",
        "{{ event.data.name.upper() }}",
        "{{ event.data.at | datetimeformat }}",
        "{% for line in event.data.lines %}{{ line.n + 1 }}{% endfor %}",
        "{% set total = event.data.a %}{{ total }}{{ range(3) }}",
        "{{ static.source }} {{ alert.kind }} {{ webhook.metadata.team }}",
    ],
)
def test_a_template_that_fails_for_some_events_is_accepted(template: str) -> None:
    templates.check(template)


@each(
    ("template", "text"),
    [
        ('{"a": {{ event.data.n }}, "b": "{{ event.type }}"}', '{"a": null, "b": "example.type"}'),
        ('{"a": ', '{"a": '),
        ('{"a": {% if event.data.n %}1{% endif %}}', None),
        ('{"a": {{ event.data.json | safe }}}', None),
        ('{"a": {{ event.data.n | round }}}', None),
    ],
)
def test_the_text_of_a_trial_is_given_where_every_event_has_its_shape(template: str, text: str | None) -> None:
    assert templates.check(template, "json") == text
