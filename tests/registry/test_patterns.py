"""Which patterns match which event types, by a table and by a simple definition."""

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from cases import each
from hookkeeper.registry.webhooks.matching import patterns_for
from hookkeeper.services.fields import EVENT_PATTERN, EVENT_TYPE, MAX_EVENT_TYPE

EVENT_TYPES = TypeAdapter(Annotated[str, Field(pattern=EVENT_TYPE, max_length=MAX_EVENT_TYPE)])
EVENT_PATTERNS = TypeAdapter(Annotated[str, Field(pattern=EVENT_PATTERN, max_length=MAX_EVENT_TYPE)])

# Few characters, so that types and patterns match often.
types = st.lists(st.text("a-", min_size=1, max_size=2), min_size=1, max_size=4).map(".".join)
patterns = types | types.map("{}.*".format) | st.just("*")


def matches(pattern: str, event_type: str) -> bool:
    """Return whether a pattern matches, by definition."""
    return (
        pattern == "*"
        or pattern == event_type
        or (pattern.endswith(".*") and event_type.startswith(pattern.removesuffix("*")))
    )


@each(
    ("event_type", "expected"),
    [
        ("order", ("order", "*")),
        ("order.created", ("order.created", "order.*", "*")),
        ("order.created.eu", ("order.created.eu", "order.created.*", "order.*", "*")),
    ],
)
def test_a_type_has_these_patterns(event_type: str, expected: tuple[str, ...]) -> None:
    assert patterns_for(event_type) == expected


@given(pattern=patterns, event_type=types)
def test_patterns_are_those_that_match(pattern: str, event_type: str) -> None:
    assert (pattern in patterns_for(event_type)) == matches(pattern, event_type)


@given(event_type=types)
def test_no_pattern_twice_and_each_is_valid(event_type: str) -> None:
    found = patterns_for(event_type)
    assert len(set(found)) == len(found)
    assert [EVENT_PATTERNS.validate_python(pattern) for pattern in found] == list(found)


@each("text", ["order", "order.created", "a-b_c.D9", "0", "a" * MAX_EVENT_TYPE])
def test_a_type_is_also_a_pattern(text: str) -> None:
    assert EVENT_TYPES.validate_python(text) == EVENT_PATTERNS.validate_python(text) == text


@each("text", ["*", "order.*", "order.created.*"])
def test_a_wildcard_is_a_pattern_and_no_type(text: str) -> None:
    assert EVENT_PATTERNS.validate_python(text) == text
    with pytest.raises(ValidationError):
        EVENT_TYPES.validate_python(text)


EMPTY_GROUPS = ["", ".", "a.", ".a", "a..b", ".*"]
STRAY_STARS = ["a.**", "*.a", "a.*.b", "**", "a*", "*.*"]
STRAY_CHARACTERS = ["a b", "a\n", "\na", "é", "a/b", "a:b"]


@each("text", [*EMPTY_GROUPS, *STRAY_STARS, *STRAY_CHARACTERS, "a" * (MAX_EVENT_TYPE + 1)])
def test_neither_type_nor_pattern(text: str) -> None:
    for adapter in (EVENT_TYPES, EVENT_PATTERNS):
        with pytest.raises(ValidationError):
            adapter.validate_python(text)
