"""The catalogue: examples, schemas as trees, and sending an example."""

import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from browsers import browsing
from callers import make_key

from dashboard.event_types import MAX_FIELDS, Field, tree
from instances import Instance

HOSTILE = "</pre><script>alert(1)</script>"
SCHEMA = {
    "type": "object",
    "required": ["customer"],
    "properties": {"customer": {"type": "object", "properties": {"city": {"type": "string", "description": HOSTILE}}}},
}
EXAMPLE = {"customer": {"city": "Ghent"}}
ORDER = {"name": "order.paid", "schema": SCHEMA, "examples": [EXAMPLE]}
ORDER_SCHEMA: dict[str, Any] = {
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


async def test_event_types_are_shown_with_their_examples(idle_instance: Instance) -> None:
    for n in range(25):
        name = f"type.n{n:02}"
        given = {"name": name, "description": HOSTILE, "schema": {"type": "object"}, "examples": [{"text": HOSTILE}]}
        assert (await idle_instance.http.post("/v1/event-types", json=given)).status_code == 201
    async with browsing(idle_instance.app) as browser:
        first = await browser.get("/event-types")
        assert "<script>alert" not in first.text
        assert "type.n19" in first.text
        assert "type.n20" not in first.text
        page = await browser.page("/event-types")
        (following,) = [link for link in page.links() if "cursor=" in link]
        assert "type.n24" in (await browser.page(following)).text
        assert "/events?type=type.n00" in page.links()


async def test_a_schema_is_shown_as_a_tree_of_fields_with_links(idle_instance: Instance) -> None:
    assert (await idle_instance.http.post("/v1/event-types", json=ORDER)).status_code == 201
    async with browsing(idle_instance.app) as browser:
        page = await browser.page("/event-types")
        assert "/events?type=order.paid" in page.links()
        assert "#order.paid/customer.city" in page.links()
        assert "order.paid/customer.city" in {attributes.get("id") for _, attributes in page.tags}
        assert "required" in page.text
        assert HOSTILE in page.text, "as text"
        assert ("script", {}) not in page.tags


@pytest.mark.parametrize("is_admin", [True, False])
async def test_an_example_is_sent_as_an_event(idle_instance: Instance, is_admin: bool) -> None:
    assert (await idle_instance.http.post("/v1/event-types", json=ORDER)).status_code == 201
    tenant = idle_instance.tenant
    key = None if is_admin else (await make_key(idle_instance, tenant))["key"]
    fields = {"tenant": tenant} if is_admin else {}
    async with browsing(idle_instance.app, *([key] if key else [])) as browser:
        done = await browser.submit("/event-types", "/event-types/order.paid/send", **fields)
        assert done.status_code == 303, done.text
        shown = await browser.page(done.headers["location"])
        assert "The example was sent." in shown.text
    event_id = urlsplit(done.headers["location"]).path.rpartition("/")[2]
    event = await idle_instance.event(event_id)
    assert (event["type"], event["tenant"], event["data"]) == ("order.paid", tenant, EXAMPLE)


async def test_an_example_that_cannot_be_sent_is_explained(idle_instance: Instance) -> None:
    for given in (ORDER, {"name": "order.empty"}, {"name": "order.old", "examples": [1]}):
        assert (await idle_instance.http.post("/v1/event-types", json=given)).status_code == 201
    changed = await idle_instance.http.patch("/v1/event-types/order.old", json={"archived": True})
    assert changed.status_code == 200
    tenant = idle_instance.tenant
    async with browsing(idle_instance.app) as browser:
        actions = (await browser.page("/event-types")).actions()
        assert [action for action in actions if action.endswith("/send")] == ["/event-types/order.paid/send"]
        for name, status in (("order.empty", 404), ("order.old", 422), ("order.unknown", 404)):
            refused = await browser.submit("/event-types", f"/event-types/{name}/send", tenant=tenant)
            assert refused.status_code == status, name
        refused = await browser.submit("/event-types", "/event-types/order.paid/send", tenant="no/tenant")
        assert refused.status_code == 422
    reader = await make_key(idle_instance, tenant, scopes=["events:read"])
    async with browsing(idle_instance.app, reader["key"]) as browser:
        page = await browser.page("/event-types")
        assert not [action for action in page.actions() if action.endswith("/send")]
        refused = await browser.submit("/event-types", "/event-types/order.paid/send")
        assert refused.status_code == 403


def lines(schema: dict[str, Any]) -> list[str]:
    """Write a tree, one line for each field: path, `*` if it is required, type and notes."""

    def write(field: Field) -> list[str]:
        line = f"{field.path}{'*' if field.required else ''}: {field.kind}"
        if field.notes:
            line += f", {'; '.join(field.notes)}"
        return [line, *(inner for part in field.fields for inner in write(part))]

    return [line for field in tree(schema).fields for line in write(field)]


def test_an_object_is_a_tree_of_its_fields() -> None:
    assert lines(ORDER_SCHEMA) == [
        "id*: string, 1 to 64 characters",
        'currency: string, one of: "eur", "usd"; default "eur"',
        "paid_at: string (date-time) or null",
        "customer: object",
        "customer.city: string",
        "lines*: array of object, at least 1 items",
        "lines.sku*: string",
    ]
    assert tree(ORDER_SCHEMA).fields[3].description == "Who pays."


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
