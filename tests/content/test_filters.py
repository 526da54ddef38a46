"""Filters: what passes, what is found when a filter is saved and what only an event shows."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import each
from hookkeeper.content import filters
from hookkeeper.content.errors import BadFilter
from hookkeeper.content.filters import matches

DATA = {
    "amount": 100,
    "price": 9.5,
    "hundred": 100.0,
    "big": 2**63,
    "huge": 2**70,
    "paid": True,
    "vip": None,
    "name": "Zoë",
    "nul": "a\0b",
    "items": [{"sku": "x", "n": 2}, {"sku": "y"}],
}


def event(data: Any = DATA) -> dict[str, Any]:
    return {
        "id": "e",
        "type": "order.created",
        "tenant": "acme",
        "timestamp": "2026-01-02T03:04:05.678Z",
        "channels": ["eu", "shop"],
        "data": data,
    }


@each(
    ("expression", "passes"),
    [
        ("event.data.amount >= 100", True),
        ("'eu' in event.channels && !('us' in event.channels)", True),
        ("event.channels.exists(channel, channel.startsWith('shop'))", True),
        ("event.data.amount > 100", False),
        ("event.data.amount >= 99.5", True),
        ("event.data.price >= 9", True),
        ("event.data.hundred == 100 && event.data.amount == 100.0", True),
        ("event.data.amount in [100.0] && event.data.hundred in [100]", True),
        ("event.data.price * event.data.amount > 949", True),
        ("event.data.price + 1 == 10.5 && 1 + event.data.price == 10.5", True),
        ("event.data.price - 1 == 8.5 && event.data.price / 2 == 4.75", True),
        ("event.data.amount / 8 == 12 && event.data.amount / 8.0 == 12.5", True),
        ("3 > 2.5 && size(event.data.items) < 2.5 && -event.data.price < 0", True),
        ("event.data.big > 9.0e18 && event.data.huge > 1.0e21", True),
        ('event.type == "order.created" && event.tenant == "acme" && event.id != ""', True),
        ('event.type.startsWith("order.") || event.data.nothing', True),
        ('event.type in ["order.paid", "order.shipped"]', False),
        ('event.data.items.exists(i, i.sku == "x")', True),
        ('event.data.items.all(i, has(i.n)) || event.data["items"][1].sku == "z"', False),
        ('event.data.items.filter(i, has(i.n)).map(i, i.sku) == ["x"]', True),
        ("has(event.data.vip) && event.data.vip == null && !has(event.data.nothing)", True),
        ('"amount" in event.data', True),
        ("event.data.paid", True),
        ("event.data.paid ? event.data.amount > 1000 : true", False),
        ('event.data.name.size() == 3 && event.data.name.matches("^Z.+")', True),
        ('event.data.name.lowerAscii() == "zoë" && "a-b".split("-") == ["a", "b"]', True),
        ('"x" + event.data.name == "xZoë" && [1] + [2] == [1, 2]', True),
        ('event.data.nul == "a"', False),
        ('timestamp(event.timestamp) > timestamp("2026-01-01T00:00:00Z")', True),
        ('timestamp(event.timestamp) - timestamp("2026-01-02T00:00:00Z") > duration("3h")', True),
        ('timestamp(event.timestamp) + duration("1h") < timestamp("2026-01-02T04:00:00Z")', False),
        ('timestamp(event.timestamp).getHours("Europe/Rome") == 4', True),
        ('event.data.amount > 1\n  // a remark\n  && event.type != "x"', True),
    ],
)
def test_a_filter_passes_matching_events(expression: str, passes: bool) -> None:
    filters.check(expression)
    assert matches(expression, event()) is passes


@each(
    ("expression", "sentence"),
    [
        ("event.data.amount >", "Syntax error: mismatched input '<EOF>'"),
        ("event.data.amount >= 1 &&\nevent.tpye == 'x'", "undeclared reference to 'event.tpye' (line 2, column 6)"),
        (
            "evnt.data.amount >= 1",
            "undeclared reference to 'evnt.data.amount' (line 1, column 10): an expression has event.id,",
        ),
        ("now() > timestamp(0)", "undeclared reference to 'now' (line 1, column 4)"),
        ("event.type == 5", "found no matching overload for '_==_' applied to '(string, int)' (line 1, column 12)"),
        ("event.type > 1.5", "found no matching overload for '_>_' applied to '(string, double)' (line 1, column 12)"),
        ("1 + 'a' == 2", "found no matching overload for '_+_' applied to '(int, string)' (line 1, column 3)"),
        ("event.data.amount + 1.0", "gives double, not true or false"),
        ("event.type", "gives string, not true or false"),
        ("[1, 2]", "gives list<int>, not true or false"),
        ("", "Syntax error: mismatched input '<EOF>'"),
        ("'\ud800' == ''", "'utf-8' codec can't encode character '\\ud800' in position 1: surrogates not allowed"),
        ("(" * 100 + "true" + ")" * 100, "Expression recursion limit exceeded. limit: 32"),
        ("event.data" + ".a" * 100 + " == 1", "Exceeded max recursion depth of 32 when parsing."),
        ("true" + " || true" * 1000, "has more than 4 KiB"),
    ],
)
def test_an_invalid_filter_is_refused_when_saved(expression: str, sentence: str) -> None:
    with pytest.raises(BadFilter) as caught:
        filters.check(expression)
    assert str(caught.value).startswith(sentence)


@each(
    ("expression", "sentence"),
    [
        ("event.data.nothing > 1", '"nothing" is missing; check with has(…) first'),
        ("event.data.items.exists(i, i.n > 5)", '"n" is missing; check with has(…) first'),
        ("event.data.items[5].sku == 'x'", "Index error: index=5 size=2"),
        ("event.data.name > 1", "No matching overloads found : _>_(string, int64)"),
        ("event.data.amount > '1'", "No matching overloads found : _>_(int64, string)"),
        ("event.data.name", "gives string, not true or false"),
        ("event.data.vip", "gives null, not true or false"),
        ("event.data.amount / 0 == 1", "divide by zero"),
        ("event.data.price / 0 == 1.0", "division by zero"),
        ("9223372036854775807 + event.data.amount > 0", "integer overflow"),
        ("event.data.name.matches('(')", "invalid regular expression: missing ): ("),
        ("timestamp(event.data.name) > timestamp(0)", "String to Timestamp conversion failed"),
        (
            "[0,1,2,3,4,5,6,7,8,9].all(a, [0,1,2,3,4,5,6,7,8,9].all(b, [0,1,2,3,4,5,6,7,8,9].all(c,"
            " [0,1,2,3,4,5,6,7,8,9].all(d, [0,1,2,3,4,5,6,7,8,9].all(e, e >= 0)))))",
            "Iteration budget exceeded",
        ),
    ],
)
def test_an_error_that_depends_on_the_event_is_raised_for_it(expression: str, sentence: str) -> None:
    filters.check(expression)
    with pytest.raises(BadFilter) as caught:
        matches(expression, event())
    text = str(caught.value).removeprefix("float ")  # Python before 3.14 says so of a division
    assert text.startswith(sentence)


def test_an_error_does_not_repeat_the_event() -> None:
    with pytest.raises(BadFilter) as caught:
        matches("event.data.a > 1", event({"secret": "s3cr3t", "bad": "\ud800"}))
    assert "s3cr3t" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
WORDS = """
event event.data event.type .x ["x"] .size() .exists(i, .map(i, .all(i, has( i ) ( [ ] { } : , ? && || ! == != < >= + -
* / % in "a" 1 1u 1.5 -1 true null timestamp( duration( matches( .contains( string( int( b"a" r"\\d" 1e400 // dyn(
"""
TEXTS = st.text(max_size=60) | st.lists(st.sampled_from(WORDS.split()), max_size=15).map(" ".join)


@given(JSON)
def test_any_data_can_be_filtered(data: Any) -> None:
    assert matches('event.type == "order.created" && (event.data == event.data)', event(data))


@given(st.integers() | st.floats(-1e15, 1e15))
def test_numbers_compare_as_numbers(number: float) -> None:
    assert matches("event.data >= 100", event(number)) is (number >= 100)
    assert matches("event.data < 100.5", event(number)) is (number < 100.5)


@each("digits", [308, 309, 310, 4000])
@each("sign", [1, -1])
def test_integers_of_any_size_can_be_filtered(digits: int, sign: int) -> None:
    data = event({"n": sign * 10**digits})
    assert matches("event.data.n > 1.7e308", data) is (sign > 0 and digits > 308)
    assert matches("event.data.n < 0 || event.data.n < -1.7e308", data) is (sign < 0)
    assert matches("event.data.n == event.data.n && event.data.n + 1.0 != 0.0", data)


@given(TEXTS, JSON)
def test_no_text_brings_anything_but_a_content_error(expression: str, data: Any) -> None:
    try:
        answer = matches(expression, event(data))
    except BadFilter as error:
        text = str(error)
        assert text
    else:
        assert answer in (True, False)


@each(
    ("expression", "same"),
    [
        ("event.data.customer", '"c 1"'),
        ("event.data.amount", "100.0"),
        ("event.data.nothing", '""'),
        ("event.data.paid", "'true'"),
        ("event.data.items", """'[{"a": [1, null]}]'"""),
        ("{'b': 1, 'a': event.data.customer}", """'{"a": "c 1", "b": 1}'"""),
        ("timestamp(event.timestamp)", "timestamp('2026-01-02T03:04:05Z')"),
    ],
)
def test_a_key_is_a_text_or_the_json_of_another_value(expression: str, same: str) -> None:
    data = {"customer": "c 1", "amount": 100, "nothing": None, "paid": True, "items": [{"a": [1, None]}]}
    shown = {"id": "e", "type": "t", "tenant": "a", "timestamp": "2026-01-02T03:04:05Z", "data": data}
    filters.check_key(expression)
    assert filters.key_of(expression, shown) == filters.key_of(same, shown)
    assert len({filters.key_of(key, shown) for key in ("event.data.customer", "event.data.amount", "''")}) == 3


def test_a_key_that_is_missing_cannot_be_evaluated() -> None:
    shown = {"id": "e", "type": "t", "tenant": "a", "timestamp": "2026-01-02T03:04:05Z", "data": {}}
    with pytest.raises(BadFilter, match="is missing"):
        filters.key_of("event.data.customer", shown)
