"""Requests made up from the OpenAPI document: most of them sensible, each with something strange now and then."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from hypothesis import strategies as st
from values import USUAL, Strategy, anything, seldom, text, times

NOTHING = object()
NO_KEYS = ("", "wrong", "é")


class Call(NamedTuple):
    """One request."""

    method: str
    path: str
    """As the document has it, with braces."""
    operation: dict[str, Any]
    parameters: dict[str, Any]
    """By name; a value of any kind."""
    body: Any
    """NOTHING, bytes as they are sent, or a value that is sent as JSON."""
    content_type: str
    key: str
    """One that the pool fills in, or none."""


class Pool:
    """Ids, cursors and keys that the API gave: `<webhook 0>` is the latest webhook."""

    def __init__(self) -> None:
        self.known = defaultdict[str, list[str]](list)

    def learn(self, kind: str, name: object) -> None:
        if isinstance(name, str) and name not in self.known[kind]:
            self.known[kind].append(name)

    def filled(self, text: str) -> str:
        """Put what is known in the place of each token; what is not known stays."""

        def name(match: re.Match[str]) -> str:
            names = self.known[match[1]][-10:]
            return names[-1 - int(match[2]) % len(names)] if names else "nothing"

        return re.sub(r"<(\w+) (\d)>", name, text)


@dataclass(frozen=True)
class MadeUp:
    """Strategies for the requests of one OpenAPI document."""

    document: dict[str, Any]

    def calls(self) -> st.SearchStrategy[Call]:
        operations = [
            (method, path, operation)
            for path, methods in self.document["paths"].items()
            for method, operation in methods.items()
        ]
        return st.sampled_from(operations).flatmap(lambda each: self._call(*each))

    def _call(self, method: str, path: str, operation: dict[str, Any]) -> st.SearchStrategy[Call]:
        required: dict[str, Strategy] = {}
        optional: dict[str, Strategy] = {}
        for each in operation.get("parameters", ()):
            chosen = required if each.get("required") or "event_id" in path else optional
            kinds = [kind for kind in each["schema"].get("anyOf", [each["schema"]]) if kind.get("type") != "null"]
            chosen[each["name"]] = self._value({"anyOf": kinds}, each["name"])
        if "key" not in path and path.startswith("/v1"):
            optional["unknown"] = text
        return st.builds(
            Call,
            st.just(method.upper()),
            st.just(path),
            st.just(operation),
            st.fixed_dictionaries(required, optional=optional),
            self._body(operation),
            seldom(
                st.sampled_from(["text/plain", "application/json; charset=utf-8", ";", ""]), st.just("application/json")
            ),
            seldom(st.sampled_from([*NO_KEYS, "<text 0>", "<text 1>"]), st.just("admin")),
        )

    def _body(self, operation: dict[str, Any]) -> Strategy:
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" not in content:
            return seldom(st.binary(max_size=50) | st.just({}), st.just(NOTHING))
        value = self._value(content["application/json"]["schema"], "body")
        broken = st.builds(lambda made, at: written(made)[: -1 - at], value, st.integers(0, 9))
        return seldom(st.binary(max_size=50) | broken | st.just(NOTHING), value)

    def _value(self, schema: dict[str, Any], name: str) -> Strategy:
        usual = USUAL[name] if name in USUAL and _is_bare(schema) else self._of_schema(schema, name)
        return seldom(anything | usual.map(str) | usual.map(lambda made: [made]), usual)

    def _of_schema(self, schema: dict[str, Any], name: str) -> Strategy:
        """Make values as the schema has them."""
        if "$ref" in schema:
            referred = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            return st.deferred(lambda: self._of_schema(referred, name))
        if "anyOf" in schema:
            return st.one_of([self._value(each, name) for each in schema["anyOf"]])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        make: dict[str, Callable[[dict[str, Any], str], Strategy]] = {
            "null": lambda *_: st.none(),
            "boolean": lambda *_: st.booleans(),
            "integer": _number,
            "number": _number,
            "string": _string,
            "array": self._array,
            "object": self._object,
        }
        return make[schema["type"]](schema, name) if "type" in schema else anything

    def _array(self, schema: dict[str, Any], name: str) -> Strategy:
        item = schema.get("items", {})
        if name == "events" and not item:  # of a batch
            item = {"$ref": "#/components/schemas/NewEvent"}
        most = min(schema.get("maxItems", 4), 4)
        edges = st.lists(self._value(item, f"{name}[]"), min_size=schema.get("minItems", 0), max_size=most)
        full = edges.map(lambda made: (made * (schema.get("maxItems", 0) + 1))[: schema.get("maxItems", 0) + 1])
        return seldom(full, edges)

    def _object(self, schema: dict[str, Any], name: str) -> Strategy:
        fields = {field: self._value(each, field) for field, each in schema.get("properties", {}).items()}
        if not fields:
            more = schema.get("additionalProperties")
            value = self._value(more, f"{name}{{}}") if isinstance(more, dict) else anything
            return st.dictionaries(text | st.sampled_from(["a", "x-a", "content-type"]), value, max_size=4)
        required = {field: fields.pop(field) for field in schema.get("required", ())}
        if name == "body" and "tenant" in fields:
            required["tenant"] = fields.pop("tenant")
        few = st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True) if fields else st.just([])
        made = few.flatmap(lambda chosen: st.fixed_dictionaries(required | {name: fields[name] for name in chosen}))
        extra = st.dictionaries(text, anything, max_size=1)
        return seldom(st.builds(lambda one, other: one | other, made, extra), made)


def _is_bare(schema: dict[str, Any]) -> bool:
    """Tell whether a schema says little of what its values mean."""
    return schema.get("type") == "string" or ("type" in schema and schema.get("additionalProperties") is True)


def _number(schema: dict[str, Any], _: str) -> Strategy:
    least, most = schema.get("minimum", -10), schema.get("maximum", 1e6)
    if schema["type"] == "integer":
        return st.integers(int(least), int(most)) | st.sampled_from([int(least) - 1, int(most) + 1])
    return st.floats(least, most) | st.integers(int(least), int(most)) | st.sampled_from([least - 1, most + 1])


def _string(schema: dict[str, Any], _: str) -> Strategy:
    if schema.get("format") == "date-time":
        return times
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True).map(lambda made: made[: schema.get("maxLength", 999)])
    most = schema.get("maxLength", 40)
    return st.text(max_size=min(most, 20)) | st.sampled_from(["a" * min(most, 5000), "a" * min(most + 1, 5000)])


def written(body: Any) -> bytes:
    """Write JSON as Python does: also NaN, infinities and half surrogates, which are none."""
    return json.dumps(body).encode()


def url_of(call: Call, pool: Pool) -> str:
    """Give path and query, everything filled in."""
    path = call.path
    query: list[str] = []
    for place in call.operation.get("parameters", ()):
        if place["in"] == "path":
            given = as_text(call.parameters[place["name"]], pool) or "-"  # else it would be another path
            path = path.replace(f"{{{place['name']}}}", quote(given, safe=""))
    for name, value in call.parameters.items():
        if {"name": name, "in": "query"}.items() <= _declared(call, name).items():
            query.append(f"{name}={quote(as_text(value, pool), safe='')}")
    return path + ("?" + "&".join(query) if query else "")


def headers_of(call: Call, pool: Pool, admin: str) -> Iterator[tuple[bytes, bytes]]:
    """Give the headers. What cannot stand in one is left out."""
    if call.key:
        key = admin if call.key == "admin" else pool.filled(call.key)
        yield b"authorization", f"Bearer {key}".encode()
    if call.body is not NOTHING and call.content_type:
        yield b"content-type", call.content_type.encode()
    for name, value in call.parameters.items():
        if _declared(call, name)["in"] == "header":
            yield name.encode(), re.sub(rb"[\0\r\n]", b"", as_text(value, pool).encode()).strip()


def as_text(value: Any, pool: Pool) -> str:
    """Write a parameter."""
    shown = pool.filled(value) if isinstance(value, str) else json.dumps(value)
    return shown.encode(errors="replace").decode()


def _declared(call: Call, name: str) -> dict[str, Any]:
    found = (each for each in call.operation.get("parameters", ()) if each["name"] == name)
    return next(found, {"name": name, "in": "query"})
