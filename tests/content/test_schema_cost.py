"""Schemas that would take exponential time are refused when saved; those that people write are not."""

import time
from typing import Any

import pytest

from hookkeeper.content import json_schemas
from hookkeeper.content.errors import ContentError

ROOT = {"$ref": "#"}


def operation(name: str, **operands: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"op": {"const": name}, **operands}, "required": ["op"]}


EXPONENTIAL = {
    "anyOf": {"anyOf": [{"properties": {"a": ROOT}, "required": [name]} for name in "bc"]},
    "oneOf": {"oneOf": [{"properties": {"a": ROOT}, "required": [name]} for name in "bc"]},
    "allOf": {"allOf": [{"properties": {"a": ROOT}}, {"properties": {"a": ROOT}}]},
    "the same definition twice": {
        "allOf": [{"$ref": "#/$defs/node"}, {"$ref": "#/$defs/node"}],
        "$defs": {"node": {"properties": {"a": ROOT}}},
    },
    "if and then": {"if": {"properties": {"a": ROOT}}, "then": {"properties": {"a": ROOT}}},
    "not": {"properties": {"a": ROOT}, "not": {"properties": {"a": ROOT}, "required": ["b"]}},
    "items and contains": {"items": ROOT, "contains": ROOT},
    "a name and any name": {"properties": {"a": ROOT}, "anyOf": [{"additionalProperties": ROOT}]},
    "over two levels": {
        "anyOf": [{"properties": {"a": {"$ref": f"#/$defs/{name}"}}} for name in "xy"],
        "$defs": {name: {"properties": {"b": ROOT}} for name in "xy"},
    },
    "by anchor": {"$anchor": "n", "anyOf": [{"items": {"$ref": "#n"}}, {"items": {"$ref": "#n"}}]},
    "by id": {"$id": "urn:n", "anyOf": [{"items": {"$ref": "urn:n"}}, {"items": {"$ref": "urn:n"}}]},
    "by dynamic anchor": {
        "$dynamicAnchor": "n",
        "anyOf": [{"items": {"$dynamicRef": "#n"}}, {"items": {"$dynamicRef": "#n"}}],
    },
}
USUAL = {
    "a list": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"next": ROOT}}]},
    "a nullable reference": {"properties": {"parent": {"anyOf": [ROOT, {"type": "null"}]}}},
    "a tree": {"properties": {"left": ROOT, "right": ROOT}},
    "comments": {"properties": {"text": {"type": "string"}, "replies": {"type": "array", "items": ROOT}}},
    "any JSON": {"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": ROOT}]},
    "an expression": {
        "oneOf": [
            operation("and", args={"items": ROOT}),
            operation("or", args={"items": ROOT}),
            operation("not", arg=ROOT),
            {"type": "string"},
        ]
    },
    "a name and other names": {"properties": {"a": ROOT}, "additionalProperties": ROOT},
    "patterns and other names": {"patternProperties": {"^x-": ROOT}, "additionalProperties": ROOT},
    "the first item and others": {"prefixItems": [ROOT], "items": ROOT},
    "alternatives that do not recur": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "strict inheritance": {"allOf": [{"properties": {"a": ROOT}}], "unevaluatedProperties": False},
}


@pytest.mark.parametrize("schema", EXPONENTIAL.values(), ids=EXPONENTIAL)
def test_exponential_schemas_are_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ContentError, match="refers to itself in several ways for the same part of the data"):
        json_schemas.check(schema)


@pytest.mark.parametrize("schema", USUAL.values(), ids=USUAL)
def test_usual_schemas_are_accepted(schema: dict[str, Any]) -> None:
    json_schemas.check(schema)


def test_a_schema_without_end_is_refused() -> None:
    for schema in ({"$ref": "#"}, {"allOf": [{"anyOf": [ROOT]}]}):
        with pytest.raises(ContentError, match="without descending into the data"):
            json_schemas.check(schema)


def test_a_chain_of_doublings_is_refused() -> None:
    """No recursion at all, and 2^60 subschemas to check."""
    chain = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(60)}
    with pytest.raises(ContentError, match="more than 5000 subschemas"):
        json_schemas.check({"$ref": "#/$defs/d0", "$defs": {**chain, "d60": {"type": "string"}}})


def check_seconds(schema: dict[str, Any]) -> float:
    """Return the least CPU time of five checks: a garbage collection of the test process takes longer than one."""

    def once() -> float:
        began = time.thread_time()
        json_schemas.check(schema)
        return time.thread_time() - began

    return min(once() for _ in range(5))


def test_a_large_schema_is_checked_soon() -> None:
    """It has to be, within the 0.1 s of computing that a call of the sandbox may take."""
    names = [f"p{n}" for n in range(300)]
    schema: dict[str, Any] = {"properties": {name: {"$ref": f"#/$defs/{name}"} for name in names}}
    schema["$defs"] = {name: {"properties": {"root": ROOT, "text": {"type": "string"}}} for name in names}
    assert check_seconds(schema) < 0.1


def test_a_schema_of_many_properties_is_checked_soon() -> None:
    """Each pair of properties was compared: a schema of 600 took longer than the sandbox allows."""
    assert check_seconds({"properties": {f"p{n}": {"type": "string"} for n in range(2_000)}}) < 0.5
