"""The catalogue of event types, on SQLite and PostgreSQL."""

import pytest

from hookkeeper.registry.catalogue import Catalogue, EventTypeExists
from hookkeeper.registry.models import EventType
from hookkeeper.registry.store import Store


@pytest.fixture
def catalogue(store: Store) -> Catalogue:
    return store.catalogue


async def test_an_event_type_comes_back_as_it_was_given(catalogue: Catalogue) -> None:
    await catalogue.add(
        EventType(name="order.paid", description="Paid.", schema={"type": "object"}, examples=[{"a": 1}])
    )
    found = await catalogue.get("order.paid")
    assert found is not None
    assert (found.description, found.schema, found.examples, found.archived) == (
        "Paid.",
        {"type": "object"},
        [{"a": 1}],
        False,
    )
    assert found.created_at.tzinfo is not None
    assert await catalogue.get("order.lost") is None


async def test_a_name_is_taken_once(catalogue: Catalogue) -> None:
    await catalogue.add(EventType(name="order.paid"))
    with pytest.raises(EventTypeExists, match=r"order\.paid"):
        await catalogue.add(EventType(name="order.paid", description="again"))
    found = await catalogue.get("order.paid")
    assert found is not None
    assert found.description == ""


async def test_pages_cover_all_by_name(catalogue: Catalogue) -> None:
    for n in range(7):
        await catalogue.add(EventType(name=f"type.{n}", archived=n == 3))
    seen, after = [], None
    while True:
        page, after = await catalogue.page(archived=None, limit=3, after=after)
        seen += [event_type.name for event_type in page]
        if after is None:
            break
    assert seen == [f"type.{n}" for n in range(7)]
    archived, _ = await catalogue.page(archived=True, limit=10, after=None)
    assert [event_type.name for event_type in archived] == ["type.3"]


async def test_a_page_of_large_types_ends_early(catalogue: Catalogue) -> None:
    for n in range(6):
        await catalogue.add(EventType(name=f"type.{n}", examples=["x" * 240_000]))
    page, after = await catalogue.page(archived=None, limit=100, after=None)
    assert ([event_type.name for event_type in page], after) == ([f"type.{n}" for n in range(4)], "type.3")
    page, after = await catalogue.page(archived=None, limit=100, after=after)
    assert ([event_type.name for event_type in page], after) == (["type.4", "type.5"], None)


async def test_only_what_is_given_changes(catalogue: Catalogue) -> None:
    await catalogue.add(EventType(name="order.paid", description="Paid.", schema={"type": "object"}))
    changed = await catalogue.update("order.paid", {"archived": True, "schema": None})
    assert changed is not None
    assert (changed.description, changed.schema, changed.archived) == ("Paid.", None, True)
    assert changed.updated_at > changed.created_at
    assert await catalogue.update("order.lost", {"archived": True}) is None
    with pytest.raises(ValueError, match="cannot change name"):
        await catalogue.update("order.paid", {"name": "order.lost"})


async def test_delete(catalogue: Catalogue) -> None:
    await catalogue.add(EventType(name="order.paid"))
    assert await catalogue.delete("order.paid")
    assert not await catalogue.delete("order.paid")
