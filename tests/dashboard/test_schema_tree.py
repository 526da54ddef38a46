"""Schemas as trees of fields."""

import time
from typing import Any

import pytest

from dashboard.event_types import MAX_FIELDS, Field, tree


def lines(schema: dict[str, Any]) -> list[str]:
    """Write a tree, one line for each field: path, `*` if it is required, type and notes."""

    def write(field: Field) -> list[str]:
        line = f"{field.path}{'*' if field.required else ''}: {field.kind}"
        if field.notes:
            line += f", {'; '.join(field.notes)}"
        return [line, *(inner for part in field.fields for inner in write(part))]

    return [line for field in tree(schema).fields for line in write(field)]


ORDER: dict[str, Any] = {
    "type": "object",
    "required": ["id", "lines"],
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 64},
        "currency": {"enum": ["eur", "usd"], "default": "eur"},
        "paid_at": {"type": ["string", "null"], "format": "date-time"},
        "customer": {"$ref": "#/$defs/customer", "description": "Who pays."},
        "lines": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}},
        },
    },
    "$defs": {"customer": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def test_an_object_is_a_tree_of_its_fields() -> None:
    assert lines(ORDER) == [
        "id*: string, 1 to 64 characters",
        'currency: string, one of: "eur", "usd"; default "eur"',
        "paid_at: string (date-time) or null",
        "customer: object",
        "customer.city: string",
        "lines*: array of object, at least 1 items",
        "lines.sku*: string",
    ]
    assert tree(ORDER).fields[3].description == "Who pays."


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"minimum": 0, "maximum": 9}, ["0 to 9"]),
        ({"minLength": 3}, ["at least 3 characters"]),
        ({"maxItems": 3}, ["at most 3 items"]),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 1}, ["more than 0", "less than 1"]),
        ({"const": "é"}, ['always "é"']),
        ({"enum": list(range(12))}, ["one of: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"]),
        ({"pattern": "^a", "multipleOf": 2, "deprecated": True}, ["a multiple of 2", "matches ^a", "deprecated"]),
    ],
)
def test_a_field_shows_the_values_that_it_can_have(schema: dict[str, Any], expected: list[str]) -> None:
    assert list(tree({"properties": {"a": schema}}).fields[0].notes) == expected


def test_the_alternatives_of_a_field_are_shown() -> None:
    card = {"type": "object", "properties": {"number": {"type": "string"}}}
    schema = {"properties": {"by": {"oneOf": [card, {"type": "null"}]}}, "allOf": [{"properties": {"n": {}}}]}
    assert lines(schema) == ["by: object or null", "by|1: object", "by|1.number: string", "n: any"]


def test_a_recursive_schema_is_followed_once() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#"}, "all": {"type": "array", "items": {"$ref": "#"}}}}
    assert lines(node) == [
        "next: object",
        "next.next: any, as above",
        "next.all: array",
        "all: array of object",
        "all.next: any, as above",
        "all.all: array",
    ]


@pytest.mark.parametrize("keyword", ["properties", "allOf", "anyOf", "items"])
def test_a_schema_that_branches_without_end_is_cut_off(keyword: str) -> None:
    """Each definition names the next one twice: 2^60 fields."""

    def branch(n: int) -> dict[str, Any]:
        inner = {"$ref": f"#/$defs/d{n + 1}"}
        if keyword == "properties":
            return {"properties": {"a": inner, "b": inner}}
        return {"items": inner} if keyword == "items" else {keyword: [inner, inner]}

    schema = branch(0) | {"$defs": {f"d{n}": branch(n) for n in range(1, 60)}}
    begin = time.thread_time()
    assert len(lines(schema)) <= MAX_FIELDS
    assert time.thread_time() - begin < 1


@pytest.mark.parametrize(
    "schema", [{"properties": []}, {"properties": {"a": True}}, {"$ref": "#/no/such"}, {"$ref": "https://else.where/"}]
)
def test_a_field_without_constraints_is_any(schema: dict[str, Any]) -> None:
    assert all(line.endswith(": any") for line in lines(schema))
