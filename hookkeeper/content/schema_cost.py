"""Finds JSON Schemas whose validation takes exponential time in the depth of the data.

A schema that refers to itself is checked once more for each level of the data, which is fine: lists and trees are
described so. If it refers to itself in two ways for the same part of the data, the work doubles with each level.
Alternatives that can never hold at the same time count once: those with different types, or different constants in a
required property. What this does not find is still bounded when an event is validated.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from hookkeeper.content.errors import ContentError

MAX_SUBSCHEMAS = 5000
MAX_PAIRS = 20_000
_LISTS, _MAPS, _SINGLE = ("allOf", "anyOf", "oneOf"), ("dependentSchemas",), ("not", "if", "then", "else")
_ALTERNATIVES = ("anyOf", "oneOf")
_ANNOTATIONS = {"$ref", "$comment", "title", "description", "default", "examples", "deprecated"}

_Pairs = dict[tuple[int, int], dict[tuple[int, int], bool]]


class _Part(NamedTuple):
    """Which parts of the data an edge leads to: the named ones, or all others."""

    kind: str
    names: frozenset[str | int]
    others: bool = False

    def overlaps(self, other: "_Part") -> bool:
        if self.kind != other.kind:
            return False
        if self.others and other.others:
            return True
        if self.others or other.others:
            named, rest = (other, self) if self.others else (self, other)
            return bool(named.names - rest.names)
        return bool(self.names & other.names)


class _Edge(NamedTuple):
    """A way from a schema to the schema of a part of the data."""

    number: int
    part: _Part
    target: int
    choices: Mapping[tuple[int, str], int]
    """Which alternative it is in, of each set of alternatives of which only one can hold."""

    def together_with(self, other: "_Edge") -> bool:
        if any(other.choices.get(where, which) != which for where, which in self.choices.items()):
            return False
        return self.part.overlaps(other.part)


class RecursiveSchema:
    """The graph of a schema: which schemas apply to the same data, and which to a part of it."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._root = schema
        self._named = dict(_names(schema))
        self._nodes: dict[int, dict[str, Any]] = {}
        self._edges: dict[int, list[_Edge]] = {}
        self._count = 0

    def check(self) -> None:
        """Raise ContentError for a schema that takes exponential time, or refers to itself without end."""
        start = id(self._root)
        self._nodes[start] = self._root
        pending = [start]
        while pending:
            node = pending.pop()
            if node in self._edges:
                continue
            self._edges[node] = list(self._ways(self._nodes[node], {}, ()))
            pending += [edge.target for edge in self._edges[node]]
        self._check_pairs()

    def _ways(
        self, schema: dict[str, Any], choices: Mapping[tuple[int, str], int], above: tuple[int, ...]
    ) -> Iterator[_Edge]:
        """Return all ways from a schema into the data, through everything that applies to the same data."""
        if id(schema) in above:
            raise ContentError("refers to itself without descending into the data, so it could never be evaluated")
        self._count += 1
        if self._count > MAX_SUBSCHEMAS:
            raise ContentError(f"has more than {MAX_SUBSCHEMAS} subschemas, counted where they are used")
        for part, below in _parts(schema):
            target = self._meant(below)
            self._nodes[id(target)] = target
            self._count += 1
            yield _Edge(self._count, part, id(target), choices)
        above = (*above, id(schema))
        for keyword, inner in self._applied(schema):
            for number, subschema in enumerate(inner):
                chosen = choices
                if keyword in _ALTERNATIVES and self._exclude_each_other(inner):
                    chosen = {**choices, (id(schema), keyword): number}
                yield from self._ways(subschema, chosen, above)

    def _applied(self, schema: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        for keyword in _LISTS:
            yield keyword, _schemas(schema.get(keyword))
        for keyword in _MAPS:
            yield keyword, [subschema for _, subschema in _items(schema.get(keyword))]
        for keyword in _SINGLE:
            yield keyword, _schemas([schema.get(keyword)])
        for keyword in ("$ref", "$dynamicRef"):
            if target := self._target(schema.get(keyword)):
                yield keyword, [target]

    def _target(self, reference: Any) -> dict[str, Any] | None:
        if not isinstance(reference, str):
            return None
        if reference in self._named:
            return self._named[reference]
        found: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:] if reference.startswith("#/") else ["\0"]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict):
                found = found.get(step)
            elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            else:
                return None
        return found if isinstance(found, dict) else None

    def _meant(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Follow a schema that is nothing but a reference."""
        for _ in range(10):
            target = self._target(schema.get("$ref"))
            if target is None or schema.keys() - _ANNOTATIONS:
                break
            schema = target
        return schema

    def _exclude_each_other(self, alternatives: list[dict[str, Any]]) -> bool:
        """Return whether only one of them can hold: by type, or by a constant in a property that all require."""
        resolved = [self._target(schema.get("$ref")) or schema for schema in alternatives]
        by_type = [_types(schema) for schema in resolved]
        if _disjoint(by_type):
            return True
        if any(types and "object" not in types for types in by_type):
            pairs = zip(resolved, by_type, strict=True)
            resolved = [schema for schema, types in pairs if not types or "object" in types]
        required = [set(map(str, schema.get("required") or ())) for schema in resolved]
        shared = set.intersection(*required) if required else set()
        return any(_disjoint([_constants(schema, name) for schema in resolved]) for name in shared)

    def _check_pairs(self) -> None:
        """Raise ContentError if two different ways lead through the same parts of the data back to the same schema.

        Pairs of schemas that apply to the same part are walked through together. The two ways have parted and met
        again where a pair of different ways lies on a cycle with a pair of one schema and itself.
        """
        graph: _Pairs = {}
        pending = [(node, node) for node in self._edges]
        while pending:
            pair = pending.pop()
            if pair in graph:
                continue
            if len(graph) > MAX_PAIRS:
                raise ContentError("refers to itself in too many ways")
            moves: dict[tuple[int, int], bool] = {}
            graph[pair] = moves
            for one, other in self._together(*pair):
                target = (one.target, other.target)
                moves[target] = moves.get(target, False) or (one.number != other.number and pair[0] == pair[1])
            pending += moves
        self._check_cycles(graph)

    def _together(self, first: int, second: int) -> Iterator[tuple[_Edge, _Edge]]:
        """Return the pairs of ways from two schemas that lead to the same part of the data."""
        by_name: dict[tuple[str, str | int], list[_Edge]] = {}
        to_others: list[_Edge] = []
        for edge in self._edges[second]:
            if edge.part.others:
                to_others.append(edge)
            for name in () if edge.part.others else edge.part.names:
                by_name.setdefault((edge.part.kind, name), []).append(edge)
        for one in self._edges[first]:
            named = [by_name.get((one.part.kind, name), []) for name in one.part.names]
            others = self._edges[second] if one.part.others else chain(*named, to_others)
            yield from ((one, other) for other in others if one.together_with(other))

    def _check_cycles(self, graph: _Pairs) -> None:
        components = _components(graph)
        for pair, moves in graph.items():
            for target, parted in moves.items():
                if parted and components[pair] == components[target]:
                    raise ContentError(
                        "refers to itself in several ways for the same part of the data, so each level of the data"
                        " would multiply the validation time: refer to itself once, or distinguish the"
                        " alternatives by type or by a required constant"
                    )


def check(schema: dict[str, Any]) -> None:
    """Raise ContentError for a schema whose validation would take exponential time."""
    RecursiveSchema(schema).check()


def _parts(schema: dict[str, Any]) -> Iterator[tuple[_Part, dict[str, Any]]]:
    known: set[str | int] = set()
    for keyword in ("properties", "patternProperties"):
        for name, target in _items(schema.get(keyword)):
            named = name if keyword == "properties" else f"\0{name}"  # a pattern stands for itself
            known.add(named)
            yield _Part("property", frozenset({named})), target
    for keyword in ("additionalProperties", "unevaluatedProperties"):
        for target in _schemas([schema.get(keyword)]):
            yield _Part("property", frozenset(known), others=True), target
    prefix = schema.get("prefixItems")
    for number, target in enumerate(_schemas(prefix)):
        yield _Part("item", frozenset({number})), target
    first = frozenset[str | int](range(len(prefix) if isinstance(prefix, list) else 0))
    for keyword in ("items", "contains", "unevaluatedItems"):
        for target in _schemas([schema.get(keyword)]):
            yield _Part("item", first if keyword == "items" else frozenset(), others=True), target


def _components(graph: _Pairs) -> dict[tuple[int, int], tuple[int, int]]:
    """Return a representative of the strongly connected component of each pair (Kosaraju's algorithm)."""
    sources: dict[tuple[int, int], list[tuple[int, int]]] = {pair: [] for pair in graph}
    for pair, targets in graph.items():
        for target in targets:
            sources[target].append(pair)
    components: dict[tuple[int, int], tuple[int, int]] = {}
    for root in reversed(_postorder(graph)):
        pending = [root]
        while pending:
            pair = pending.pop()
            if pair not in components:
                components[pair] = root
                pending += sources[pair]
    return components


def _postorder(graph: _Pairs) -> list[tuple[int, int]]:
    """Return all pairs, those that a depth-first search leaves first at the front."""
    order: list[tuple[int, int]] = []
    seen: set[tuple[int, int]] = set()
    pending = [(pair, False) for pair in graph]
    while pending:
        pair, is_left = pending.pop()
        if is_left:
            order.append(pair)
        elif pair not in seen:
            seen.add(pair)
            pending.append((pair, True))
            pending += [(target, False) for target in graph[pair]]
    return order


def _names(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the schemas that have names of their own, by the reference to each."""
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            for keyword, prefix in (("$anchor", "#"), ("$dynamicAnchor", "#"), ("$id", "")):
                if isinstance(part.get(keyword), str):
                    yield prefix + part[keyword], part
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    yield "#", value


def _schemas(value: Any) -> list[dict[str, Any]]:
    return [schema for schema in value if isinstance(schema, dict)] if isinstance(value, list) else []


def _items(value: Any) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(value, dict):
        return []
    return [(name, schema) for name, schema in value.items() if isinstance(schema, dict)]


def _types(schema: dict[str, Any]) -> set[str]:
    given = schema.get("type")
    names = given if isinstance(given, list) else [given]
    return {name for name in names if isinstance(name, str)}


def _constants(schema: dict[str, Any], name: str) -> set[str]:
    found = dict(_items(schema.get("properties"))).get(name, {})
    return {repr(constant) for constant in ([found["const"]] if "const" in found else found.get("enum") or [])}


def _disjoint(sets: list[set[str]]) -> bool:
    """Return whether none is empty and no two share anything."""
    return all(sets) and len(set().union(*sets)) == sum(map(len, sets))
