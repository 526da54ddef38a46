"""Lists from the index hold what a recount of the same events in Python holds, in the same order."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import combinations
from random import Random
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cases import each
from hookkeeper.messages.event import Delivery
from hookkeeper.messages.rows import DeliveryRow
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events import listing
from hookkeeper.registry.events import search as searching
from hookkeeper.registry.events.conditions import (
    RETRYING_FOR_LONG,
    Matcher,
    Search,
    delivery_needs_attention,
    status_codes,
)
from hookkeeper.registry.events.listing import WORST_FIRST
from hookkeeper.registry.events.merge import delivery_row
from hookkeeper.registry.storage.paging import BadRegistryCursor
from hookkeeper.times import utc_now
from made_up_events import BEGIN, EVENTS, TYPES, made_up_reports
from reports import changed, reported
from written_index import WrittenIndex

FILTERS: dict[str, list[dict[str, Any]]] = {
    "tenant": [{"tenant": "a"}, {"tenant": "b"}],
    "types": [{"types": ("order.paid",)}, {"types": ("user.new", "order.sent")}, {"types": ("none",)}],
    "id_prefix": [{"id_prefix": "e-1"}, {"id_prefix": "e-17"}, {"id_prefix": "e"}, {"id_prefix": "_"}],
    "since": [{"since": BEGIN + timedelta(minutes=40)}],
    "until": [{"until": BEGIN + timedelta(minutes=20)}],
    "statuses": [{"statuses": ("succeeded",)}, {"statuses": ("failed",)}, {"statuses": ("delivering", "cancelled")}],
    "needs_attention": [{"needs_attention": True}, {"needs_attention": False}],
    "webhook": [{"webhook": "wh_1"}, {"webhook": "wh_4"}, {"webhook": "wh_5"}],
    "delivery_statuses": [
        {"delivery_statuses": ("succeeded",)},
        {"delivery_statuses": ("held",)},
        {"delivery_statuses": ("failed", "retrying", "pending")},
        {"delivery_statuses": ("succeeded", "failed")},
    ],
    "status_codes": [{"status_codes": status_codes(text)} for text in ("2xx", "5xx", "503", "3xx")],
    "error": [{"error": "timeout"}, {"error": "http_503"}, {"error": "dns"}],
    "min_attempts": [{"min_attempts": number} for number in (1, 2, 4, 9)],
    "channel": [{"channel": "webhook"}, {"channel": "email"}, {"channel": "notification"}],
}
"""Values of each filter."""


# The recount


def event_matches(search: Search, report: RunReport) -> bool:
    event = report.event
    return (
        _shared_matches(search, report)
        and (not search.statuses or event.status in search.statuses)
        and search.needs_attention in (None, event.needs_attention)
        and (not _has_delivery_conditions(search) or any(_meets(search, one, report) for one in report.deliveries))
    )


def _meets(search: Search, delivery: Delivery, report: RunReport) -> bool:
    troubled = not search.needs_attention or delivery_needs_attention(
        delivery.status, report.event.accepted_at, utc_now()
    )
    return troubled and delivery_matches(search, delivery)


def _shared_matches(search: Search, report: RunReport) -> bool:
    event = report.event
    return (
        search.tenant in (None, event.tenant)
        and (not search.types or event.type in search.types)
        and event.id.startswith(search.id_prefix or "")
        and (search.since is None or event.accepted_at >= search.since)
        and (search.until is None or event.accepted_at < search.until)
    )


def _has_delivery_conditions(search: Search) -> bool:
    names = (
        *("webhook", "delivery_statuses", "status_codes", "error", "min_attempts", "channel"),
        "needs_attention",
    )
    return any(getattr(search, name) for name in names)


def delivery_matches(search: Search, delivery: Delivery) -> bool:
    latest = delivery.attempts[-1] if delivery.attempts else None
    code, error = (latest.status_code, latest.error) if latest else (None, None)
    codes = search.status_codes
    return (
        search.webhook in (None, delivery.webhook_id)
        and (not search.delivery_statuses or delivery.status in search.delivery_statuses)
        and (codes is None or (code is not None and codes.first <= code <= codes.last))
        and search.error in (None, error)
        and len(delivery.attempts) >= (search.min_attempts or 0)
        and search.channel in (None, delivery.channel)
    )


def expected_events(search: Search, reports: Iterable[RunReport]) -> list[str]:
    found = [report for report in reports if event_matches(search, report)]
    return [report.event.id for report in sorted(found, key=_key, reverse=not search.oldest_first)]


def expected_deliveries(search: Search, reports: Iterable[RunReport]) -> list[tuple[str, str]]:
    return [
        (report.event.id, delivery.id)
        for report in sorted(reports, key=_key, reverse=True)
        if _shared_matches(search, report)
        for delivery in sorted(report.deliveries, key=lambda one: one.id, reverse=True)
        if delivery_matches(search, delivery)
    ]


def _key(report: RunReport) -> tuple[datetime, str, str]:
    return report.key


# The lists


@pytest.fixture
async def reports(engine: AsyncEngine) -> list[RunReport]:
    """Write the events to the index."""
    found = made_up_reports(seed=1)
    await WrittenIndex(engine).write(found)
    return found


@pytest.fixture
def index(engine: AsyncEngine) -> WrittenIndex:
    return WrittenIndex(engine)


@pytest.fixture(params=["small", "usual"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Set bounds that many of these few events exceed, or leave the usual ones."""
    if request.param == "small":
        monkeypatch.setattr(searching, "MAX_SCANNED", 60)
        monkeypatch.setattr(searching, "PROBED_ENTRIES", 10)
        monkeypatch.setattr(searching, "MAX_RANGE", 80)
        monkeypatch.setattr(searching, "MAX_KEYS", 20)
    return bool(request.param == "small")


def searches(*, of_events: bool, all_twice: bool) -> Iterator[Search]:
    """Yield a search for each value of each filter, and one or two for each pair of filters, with random values.

    Every other one is for the oldest first, and so is one of two.
    """
    random = Random(1)
    known = (
        FILTERS if of_events else {name: values for name, values in FILTERS.items() if name not in NOT_OF_DELIVERIES}
    )
    singles = [value for values in known.values() for value in values]
    pairs = [
        random.choice(known[first]) | random.choice(known[second])
        for first, second in combinations(known, 2)
        for _ in range(2 if all_twice else 1)
    ]
    for values in (singles, pairs):
        yield from (Search(**value, oldest_first=number % 2 == 1) for number, value in enumerate(values))


NOT_OF_DELIVERIES = ("tenant", "webhook", "statuses", "needs_attention")


async def all_events(index: WrittenIndex, search: Search, limit: int) -> list[str]:
    """Return the ids on all pages."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        items, cursor = await index.events(search, limit, cursor)
        assert len(items) <= limit
        found += [event.id for event in items]
        if cursor is None:
            return found


async def all_deliveries(index: WrittenIndex, search: Search, limit: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    cursor: str | None = None
    while True:
        items, cursor = await index.deliveries(search, limit, cursor)
        assert len(items) <= limit
        found += [(event.id, delivery.id) for event in items for delivery in event.deliveries]
        if cursor is None:
            return found


async def test_each_filter_and_each_pair_of_filters(index: WrittenIndex, reports: list[RunReport], small: bool) -> None:
    """Each database has one half of the searches, in both orders."""
    is_sqlite = index._engine.dialect.name == "sqlite"
    half = [each for n, each in enumerate(searches(of_events=True, all_twice=small)) if n // 2 % 2 == is_sqlite]
    for search in (Search(), Search(oldest_first=True), *half):
        assert await all_events(index, search, 40) == expected_events(search, reports), search


def test_a_row_meets_each_search_that_finds_it() -> None:
    """Bulk actions and streams compare rows that were read: they have what lists have."""
    reports = made_up_reports(seed=1)
    rows = [report.event._replace(deliveries=delivery_rows(report)) for report in sorted(reports, key=_key)]
    for search in searches(of_events=True, all_twice=True):
        matcher = Matcher(search)
        found = [row.id for row in rows if matcher.meets(row, row.deliveries)]
        assert found == expected_events(replace(search, oldest_first=True), reports), search
        for report, row in zip(sorted(reports, key=_key), rows, strict=True):
            concerned = [one.id for one in row.deliveries if matcher.concerns(one)]
            assert concerned == [one.id for one in report.deliveries if _meets(search, one, report)], search


def delivery_rows(report: RunReport) -> tuple[DeliveryRow, ...]:
    return tuple(delivery_row(report, 1, delivery) for delivery in report.deliveries)


async def test_each_filter_of_deliveries(index: WrittenIndex, reports: list[RunReport], small: bool) -> None:
    for search in searches(of_events=False, all_twice=small):
        of_webhook = replace(search, tenant="a", webhook="wh_1", oldest_first=False)
        assert await all_deliveries(index, of_webhook, 25) == expected_deliveries(of_webhook, reports), search


async def test_pages_of_any_size(index: WrittenIndex, reports: list[RunReport]) -> None:
    timeouts, others = Search(error="timeout"), (Search(tenant="a"), Search(types=TYPES[:2]))
    for limit, some in ((1, [timeouts]), (7, [timeouts, *others]), (100, [timeouts, *others])):
        for search in some:
            assert await all_events(index, search, limit) == expected_events(search, reports)


async def test_a_row(index: WrittenIndex, reports: list[RunReport]) -> None:
    by_id = {report.event.id: report for report in reports}
    for row in (await index.events(Search(), EVENTS, None))[0]:
        report = by_id[row.id]
        assert row._replace(deliveries=()) == report.event
        assert {delivery.id for delivery in row.deliveries} == {delivery.id for delivery in report.deliveries}
        worst = min((WORST_FIRST.index(delivery.status) for delivery in report.deliveries), default=None)
        assert (row.latest and WORST_FIRST.index(row.latest.status)) == worst
        if row.latest:
            (delivery,) = (one for one in report.deliveries if one.id == row.latest.id)
            assert (row.latest.status, row.latest.attempts) == (delivery.status, len(delivery.attempts))
            assert row.latest.error == (delivery.attempts[-1].error if delivery.attempts else None)


async def test_a_delivery_that_is_held_or_was_just_refused_needs_no_attention_yet(index: WrittenIndex) -> None:
    now = utc_now()
    for event_id, status, age in (
        ("held", "held", timedelta(days=1)),
        ("new", "retrying", RETRYING_FOR_LONG - timedelta(minutes=1)),
        ("old", "retrying", RETRYING_FOR_LONG + timedelta(minutes=1)),
        ("failed", "failed", timedelta(0)),
    ):
        delivery = Delivery(id="wh_9", webhook_id="wh_9", status=status)
        await index.write([reported("c", event_id, now - age, now, (delivery,), needs_attention=True)])
    found, _ = await index.events(Search(tenant="c", needs_attention=True), 10, None)
    assert [event.id for event in found] == ["failed", "old"]
    assert (await index.events(Search(tenant="c", needs_attention=False), 10, None))[0] == []


async def test_the_webhook_that_is_searched_is_shown_even_if_another_is_worse(index: WrittenIndex) -> None:
    (report,) = made_up_reports(seed=1, count=1)
    deliveries = (
        Delivery(id="wh_8", webhook_id="wh_8", status="failed"),
        Delivery(id="wh_9", webhook_id="wh_9", status="held", reason="webhook_paused"),
    )
    await index.write([report._replace(deliveries=deliveries)])
    for webhook, expected in ((None, "wh_8"), ("wh_9", "wh_9")):
        ((row,), _) = await index.events(Search(webhook=webhook), 10, None)
        assert row.latest is not None
        assert row.latest.webhook_id == expected


async def test_a_delivery_of_a_later_event_is_attempted_then(index: WrittenIndex) -> None:
    """Its run has no time of its own for a first attempt."""
    at = BEGIN + timedelta(days=1)
    delivery = Delivery(id="wh_9", webhook_id="wh_9")
    for status, expected in (("scheduled", at), ("delivering", None)):
        await index.write([reported("c", "later", BEGIN, BEGIN, (delivery,), status=status, deliver_at=at)])
        (listed,), _ = await index.deliveries(Search(webhook="wh_9"), 25, None)
        assert listed.latest and listed.latest.next_attempt_at == expected


async def test_an_event_of_many_webhooks(index: WrittenIndex) -> None:
    """The worst deliveries are listed, however many others there are."""
    names = [f"wh_{number:03}" for number in range(150)]
    deliveries = tuple(
        Delivery(id=name, webhook_id=name, status="failed" if number > 140 else "succeeded")
        for number, name in enumerate(names)
    )
    (report,) = made_up_reports(seed=1, count=1)
    await index.write([report._replace(deliveries=deliveries)])
    ((row,), _) = await index.events(Search(), 10, None)
    assert [delivery.webhook_id for delivery in row.deliveries[:9]] == names[141:]
    assert len(row.deliveries) == listing.MAX_LISTED_WEBHOOKS


# Cursors


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("search", [Search(tenant="a"), Search(min_attempts=1)], ids=str)
async def test_cursors_while_events_are_added(index: WrittenIndex, reports: list[RunReport], search: Search) -> None:
    """Setup: events in the index. Timeline: after each page, newer and older events are added.
    Proves: the pages have each of the first events once, and none of the newer ones.
    """
    found: list[str] = []
    cursor: str | None = None
    for number in range(1000):
        items, cursor = await index.events(search, 7, cursor)
        found += [event.id for event in items]
        if cursor is None:
            break
        for begin in (BEGIN + timedelta(hours=number + 1), BEGIN - timedelta(hours=number + 1)):
            added = made_up_reports(seed=number, count=3 if number < 3 else 0, begin=begin)
            named = f"n-{number}" if begin > BEGIN else f"o-{number}"
            await index.write([changed(report, id=f"{named}-{report.event.id}") for report in added])
    assert len(found) == len(set(found))
    assert not [event_id for event_id in found if event_id.startswith("n-")]
    assert [event_id for event_id in found if event_id.startswith("e-")] == expected_events(search, reports)


@each("cursor", ["", "x", "1", "1 a", "x a e", "99999999999999999999999 a e", "- a e"])
async def test_a_cursor_of_no_list(index: WrittenIndex, cursor: str) -> None:
    with pytest.raises(BadRegistryCursor):
        await index.events(Search(), 10, cursor)


# Counts


async def test_totals(index: WrittenIndex, reports: list[RunReport], monkeypatch: pytest.MonkeyPatch) -> None:
    of_webhook = Search(tenant="a", webhook="wh_1")
    assert await index.count_events(Search()) == EVENTS
    assert await index.count_events(Search(error="timeout")) == len(expected_events(Search(error="timeout"), reports))
    assert await index.count_deliveries(of_webhook) == len(expected_deliveries(of_webhook, reports))
    assert await index.count_up_to(Search(), EVENTS) == (EVENTS, True)
    assert await index.count_up_to(Search(), EVENTS - 1) == (EVENTS - 1, False)
    monkeypatch.setattr(searching, "MAX_SCANNED", EVENTS // 2)
    assert await index.count_events(Search(types=("none",))) == 0
    assert await index.count_events(Search(needs_attention=False, channel="webhook")) is None, "too many to read"


async def test_held_events_are_counted_once(index: WrittenIndex, reports: list[RunReport]) -> None:
    held = Search(webhook="wh_1", delivery_statuses=("held",))
    assert await index.count_held("wh_1") == len(expected_events(held, reports)) > 0
    assert await index.count_held("wh_5") == 0
