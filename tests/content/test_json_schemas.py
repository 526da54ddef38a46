"""Schemas of event types: checked when saved, never fetched, never slow."""

import time
from typing import Any

import pytest

from cases import each
from hookkeeper.content.json_schemas import MAX_ERRORS, MAX_STEP, check, errors, text_of

ORDER = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}},
    "required": ["id"],
    "$defs": {"line": {"type": "object", "properties": {"a/b": {"type": "string"}}}},
}


@each(
    ("data", "expected"),
    [
        ({"id": 1}, []),
        ({"id": "secret-value"}, ["/id"]),
        ({}, [""]),
        ([], [""]),
        ({"id": 1, "lines": [{}, {"a/b": 3}]}, ["/lines/1/a~1b"]),
    ],
)
def test_errors_are_named_by_json_pointers(data: Any, expected: list[str]) -> None:
    found = errors(data, text_of(ORDER))
    assert [pointer for pointer, _ in found] == expected
    assert all("secret-value" not in sentence for _, sentence in found)


def test_only_the_first_errors_are_returned() -> None:
    schema = {"items": {"type": "string"}}
    assert len(errors(list(range(1000)), text_of(schema))) == MAX_ERRORS


@each(
    "schema",
    [
        {"$ref": "http://schemas.example/order.json"},
        {"$ref": "file:///etc/passwd"},
        {"properties": {"a": {"$ref": "https://schemas.example/a"}}},
        {"$dynamicRef": "http://schemas.example/a#b"},
        {"$ref": "#/nowhere"},
        {"type": "nothing"},
        {"pattern": "("},
        {"minimum": "three"},
        {"$schema": "http://json-schema.org/draft-07/schema#"},
        {"$schema": "http://evil.example/dialect"},
    ],
)
def test_an_invalid_schema_or_a_remote_reference_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"JSON Schema"):
        check(schema)


def test_the_invalid_part_of_a_schema_is_named() -> None:
    with pytest.raises(ValueError, match=r"^is not a valid JSON Schema at /properties/order/type: "):
        check({"type": "object", "properties": {"order": {"type": "int"}}})


def test_a_schema_is_accepted() -> None:
    check(ORDER)


def test_a_pattern_cannot_be_made_to_run_for_ever() -> None:
    schema = {"pattern": "^(a+)+$"}
    began = time.thread_time()
    assert errors("a" * 50_000 + "b", text_of(schema))
    assert time.thread_time() - began < 1


def test_long_keys_are_shortened_in_pointers() -> None:
    """Twenty errors below 60 keys of a kilobyte each made an answer of more than a megabyte."""
    schema = {"additionalProperties": {"$ref": "#"}, "type": "object"}
    data: Any = dict.fromkeys("abcdefghijklmnopqrst", 1)
    for _ in range(60):
        data = {"k" * 1_000: data}
    found = errors(data, text_of(schema))
    assert len(found) == MAX_ERRORS
    assert all(len(pointer) <= 61 * (MAX_STEP + 1) for pointer, _ in found)
