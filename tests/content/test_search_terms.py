"""Keys of event data, and queries for them."""

from typing import Any

import pytest

from cases import each
from hookkeeper.content.search_terms import BadQuery, Key, Term, keys_of, matches, parse


@each(
    ("data", "path", "values"),
    [
        ({"order_id": "4711"}, "order_id", ["4711"]),
        ({"order_id": 4711}, "order_id", ["4711"]),
        ({"order_id": 4711.0}, "order_id", ["4711"]),
        ({"amount": 12.5}, "amount", ["12.5"]),
        ({"amount": 1e300}, "amount", ["1e+300"]),
        ({"paid": True}, "paid", ["true"]),
        ({"paid": False}, "paid", ["false"]),
        ({"customer": {"id": "a b:c"}}, "customer.id", ["a b:c"]),
        ({"note": "x" * 256}, "note", ["x" * 256]),
        ({"note": "x" * 257}, "note", []),
        ({"note": ""}, "note", []),
        ({"note": "a\0b"}, "note", []),
        ({"note": "\ud800"}, "note", []),
        ({"note": None}, "note", []),
        ({"note": ["a"]}, "note", []),
        ({"note": {"a": 1}}, "note", []),
        ({"a": ["b"]}, "a.0", []),
        ({"a": 1}, "a.b", []),
        ([], "a", []),
        ("text", "a", []),
        ({"a.b": 1}, "a.b", []),
    ],
)
def test_texts_numbers_and_booleans_at_a_path_are_keys(data: Any, path: str, values: list[str]) -> None:
    assert keys_of(data, [path]) == tuple(Key(path, value) for value in values)


def test_a_path_that_is_declared_twice_is_one_key() -> None:
    assert keys_of({"a": 1, "b": 2}, ["a", "b", "a"]) == (Key("a", "1"), Key("b", "2"))


@each(
    ("query", "terms"),
    [
        ("data.order_id:4711", [Term("4711", "order_id")]),
        ("data.order_id: 4711", [Term("4711", "order_id")]),
        ('data.customer.name:"acme gmbh"', [Term("acme gmbh", "customer.name")]),
        ("data.url:https://a.example:80/x", [Term("https://a.example:80/x", "url")]),
        (' 4711  "acme gmbh" ', [Term("4711"), Term("acme gmbh")]),
        ("order_id:4711", [Term("order_id:4711")]),
        ("data.x", [Term("data.x")]),
    ],
)
def test_a_query_is_words_texts_in_quotes_and_values_at_paths(query: str, terms: list[Term]) -> None:
    assert list(parse(query)) == terms


@each(
    ("query", "error"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ('"open', "texts in quotes"),
        ('""', "texts in quotes"),
        ('a"b"', "texts in quotes"),
        ("a\0b", "texts in quotes"),
        ("1 2 3 4 5 6", "at most 5"),
        ("metadata.team:shop", "searches data, not metadata"),
    ],
)
def test_a_text_that_is_no_query_is_refused(query: str, error: str) -> None:
    with pytest.raises(BadQuery, match=error):
        parse(query)


@each(
    ("query", "is_met"),
    [
        ("4711", True),
        ("data.order.id:4711", True),
        ("data.order.id:471", False),
        ("data.order:4711", False),
        ('"ACME gmbh"', True),
        ("größe", True),
        ('"say \\"', False),
        ("evt_1", True),
        ("evt_2", False),
        ("acme data.order.id:4711", True),
        ("acme data.order.id:1", False),
    ],
)
def test_an_event_has_to_meet_all_terms(query: str, is_met: bool) -> None:
    data = {"order": {"id": 4711}, "customer": "Acme GmbH", "text": 'Größe "say"'}
    assert matches(data, "evt_1", parse(query)) is is_met
