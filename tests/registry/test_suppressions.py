"""Suppressed addresses, on SQLite and PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.registry.models import Suppression
from hookkeeper.registry.storage.database import Database
from hookkeeper.registry.suppressions import Suppressions, TooManySuppressions

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def suppressions(engine: AsyncEngine) -> Suppressions:
    return Suppressions(Database(engine))


def of(address: str, tenant: str = "acme", **fields: Any) -> Suppression:
    return Suppression(**{"tenant": tenant, "address": address, "reason": "manual", **fields})


async def pages(suppressions: Suppressions, limit: int, **where: str) -> list[list[tuple[str, str]]]:
    """Read all pages, as tenants and addresses."""
    read: list[list[tuple[str, str]]] = []
    cursor: str | None = None
    while True:
        found, cursor = await suppressions.page(
            tenant=where.get("tenant"), address=where.get("address"), limit=limit, cursor=cursor
        )
        read.append([(suppression.tenant, suppression.address) for suppression in found])
        if cursor is None:
            return read


async def test_the_first_to_suppress_an_address_wins(suppressions: Suppressions) -> None:
    assert await suppressions.add(of("ann@a.example", reason="bounced", detail="550 no such user"))
    assert not await suppressions.add(of("ann@a.example", reason="spam_report", detail="later"))
    kept = await suppressions.get("acme", "ann@a.example")
    assert kept is not None
    assert (kept.reason, kept.detail) == ("bounced", "550 no such user")
    assert kept.created_at.tzinfo is not None
    assert await suppressions.get("acme", "bob@a.example") is None


async def test_of_many_at_once_one_is_new(suppressions: Suppressions) -> None:
    added = await asyncio.gather(*(suppressions.add(of("ann@a.example", detail=str(n))) for n in range(12)))
    assert sorted(added) == [False] * 11 + [True]
    kept = await suppressions.get("acme", "ann@a.example")
    assert kept is not None
    assert kept.detail == str(added.index(True))


async def test_each_tenant_has_its_own(suppressions: Suppressions) -> None:
    assert await suppressions.add(of("ann@a.example"))
    assert await suppressions.add(of("ann@a.example", tenant="bolt"))
    assert await suppressions.add(of("bob@a.example", tenant="bolt"))
    asked = ["ann@a.example", "bob@a.example", "cy@a.example"]
    assert await suppressions.among("acme", asked) == {"ann@a.example"}
    assert await suppressions.among("bolt", asked) == {"ann@a.example", "bob@a.example"}
    assert await suppressions.among("else", asked) == set()
    assert await suppressions.among("acme", []) == set()


async def test_a_removed_address_can_be_suppressed_again(suppressions: Suppressions) -> None:
    await suppressions.add(of("ann@a.example", detail="once"))
    await suppressions.add(of("ann@a.example", tenant="bolt"))
    assert await suppressions.remove("acme", "ann@a.example")
    assert not await suppressions.remove("acme", "ann@a.example")
    assert await suppressions.among("acme", ["ann@a.example"]) == set()
    assert await suppressions.among("bolt", ["ann@a.example"]) == {"ann@a.example"}
    assert await suppressions.add(of("ann@a.example", detail="again"))
    kept = await suppressions.get("acme", "ann@a.example")
    assert kept is not None
    assert kept.detail == "again"


async def test_pages_cover_all_once_newest_first(suppressions: Suppressions) -> None:
    everyone = [(tenant, f"{name}@a.example") for tenant in ("acme", "bolt") for name in "abcd"]
    for n, (tenant, address) in enumerate(everyone):  # four to each moment: a page can end between equals
        await suppressions.add(of(address, tenant, created_at=START + timedelta(microseconds=n // 4)))
    for limit in (1, 3, 8, 100):
        read = await pages(suppressions, limit)
        assert [suppression for page in read for suppression in page] == everyone[::-1]
        assert len(read) == -(-8 // limit)


async def test_pages_filter(suppressions: Suppressions) -> None:
    for n, tenant in enumerate(("acme", "bolt", "acme")):
        await suppressions.add(of(f"{'aba'[n]}{n // 2}@a.example", tenant, created_at=START + timedelta(days=n)))
    await suppressions.add(of("a0@a.example", "bolt", created_at=START))
    assert await pages(suppressions, 9, tenant="acme") == [[("acme", "a1@a.example"), ("acme", "a0@a.example")]]
    assert await pages(suppressions, 1, address="a0@a.example") == [
        [("bolt", "a0@a.example")],
        [("acme", "a0@a.example")],
    ]
    assert await pages(suppressions, 9, tenant="bolt", address="b0@a.example") == [[("bolt", "b0@a.example")]]
    assert await pages(suppressions, 9, tenant="nobody") == [[]]


async def test_a_page_goes_on_where_it_was_whatever_comes_meanwhile(suppressions: Suppressions) -> None:
    for n in range(4):
        await suppressions.add(of(f"{n}@a.example", created_at=START + timedelta(days=n)))
    first, cursor = await suppressions.page(tenant=None, address=None, limit=2, cursor=None)
    await suppressions.add(of("new@a.example", created_at=START + timedelta(days=9)))
    await suppressions.remove("acme", first[-1].address)
    rest, end = await suppressions.page(tenant=None, address=None, limit=2, cursor=cursor)
    assert [suppression.address for suppression in rest] == ["1@a.example", "0@a.example"]
    assert end is None


async def test_many_are_kept_in_few_statements(suppressions: Suppressions, engine: AsyncEngine) -> None:
    """SendGrid sends thousands in one request; addresses that are there stay as they are."""
    statements: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    await suppressions.add(of("a0@a.example", detail="first"))
    statements.clear()
    rows = [of(f"a{n}@a.example", detail="later") for n in range(3000)]
    await suppressions.add_reported([*rows, of("a1@a.example", tenant="bolt"), of("a1@a.example", detail="twice")])
    assert len([statement for statement in statements if statement.startswith("INSERT")]) <= 10
    kept = await suppressions.get("acme", "a0@a.example")
    assert kept is not None
    assert kept.detail == "first"
    twice = await suppressions.get("acme", "a1@a.example")
    assert twice is not None
    assert twice.detail == "later", "of two in one request, the first counts"
    assert await suppressions.among("acme", [row.address for row in rows]) == {row.address for row in rows}
    assert await suppressions.among("bolt", ["a1@a.example", "a2@a.example"]) == {"a1@a.example"}


async def test_a_tenant_adds_a_bounded_number_of_addresses(suppressions: Suppressions) -> None:
    await suppressions.add(of("bounced@a.example", reason="bounced"), at_most=2)
    for n in range(2):
        assert await suppressions.add(of(f"a{n}@a.example"), at_most=2)
    with pytest.raises(TooManySuppressions, match="tenant acme has added 2 suppressed addresses"):
        await suppressions.add(of("a2@a.example"), at_most=2)
    assert not await suppressions.add(of("a1@a.example"), at_most=2), "it is there"
    assert await suppressions.add(of("a2@a.example", tenant="bolt"), at_most=2)
    await suppressions.remove("acme", "a0@a.example")
    assert await suppressions.add(of("a2@a.example"), at_most=2)


async def test_of_reported_addresses_the_newest_are_kept(suppressions: Suppressions) -> None:
    """Setup: addresses that a tenant has added, a complaint, then more bounces than the maximum; and another tenant.
    Proves: every report is recorded, the oldest bounces go, and nothing else does.
    """
    for n in range(5):
        await suppressions.add(of(f"added{n}@a.example"))
    await suppressions.add_reported([of("spam@a.example", reason="spam_report", created_at=START)], at_most=3)
    await suppressions.add_reported([of("b0@a.example", tenant="bolt", reason="bounced")], at_most=3)
    for n in range(6):
        at = START + timedelta(days=n + 1)
        await suppressions.add_reported([of(f"b{n}@a.example", reason="bounced", created_at=at)], at_most=3)
    kept = {f"added{n}@a.example" for n in range(5)} | {"spam@a.example", "b4@a.example", "b5@a.example"}
    assert {address for page in await pages(suppressions, 50, tenant="acme") for _, address in page} == kept
    assert await pages(suppressions, 50, tenant="bolt") == [[("bolt", "b0@a.example")]]

    complaints = [of(f"spam{n}@a.example", reason="spam_report", created_at=START + n * HOUR) for n in range(1, 700)]
    await suppressions.add_reported(complaints, at_most=3)
    kept = {f"added{n}@a.example" for n in range(5)} | {f"spam{n}@a.example" for n in range(697, 700)}
    assert {address for page in await pages(suppressions, 50, tenant="acme") for _, address in page} == kept
