"""Statistics agree with a recount of the attempts and deliveries that were reported."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.kinds import Channel
from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events import statistics, waiting
from hookkeeper.registry.events.rollup import COUNTERS, LATENCY_BOUNDS, outcome_of
from hookkeeper.registry.events.statistics import Measures, StatisticsQuery, StatisticsTooLarge
from hookkeeper.registry.storage.database import open_engine
from hookkeeper.registry.upkeep.schema import migrate
from hookkeeper.statuses import DeliveryStatus
from reports import changed, reported
from written_index import WrittenIndex

NOW = datetime(2026, 1, 10, 12, 34, 56, tzinfo=UTC)
DAY = timedelta(days=1)
ERRORS = (None, None, None, "http_500", "http_404", "timeout", "dns", "bad_template")
STATUSES: tuple[DeliveryStatus, ...] = ("pending", "retrying", "held", "succeeded", "failed", "cancelled")
CHANNELS: tuple[Channel, ...] = ("webhook", "email")


def made_up_events(seed: int, count: int) -> Iterator[list[RunReport]]:
    """Yield the reports of events of ten days: each with what had happened until then."""
    chosen = random.Random(seed)
    for number in range(count):
        yield _event(chosen, number)


def _event(chosen: random.Random, number: int) -> list[RunReport]:
    tenant = chosen.choice(("acme", "zeta"))
    accepted_at = NOW - timedelta(seconds=chosen.uniform(0, 10 * 86_400) ** chosen.choice((0.5, 1)))
    webhooks = chosen.sample(range(3), chosen.choice((0, 1, 2)))
    histories = [_history(chosen, f"wh_{tenant}_{n}", CHANNELS[n % 2], accepted_at) for n in webhooks]
    type_ = chosen.choice(("order.paid", "order.sent", "invoice"))
    first = reported(tenant, f"evt_{number}", accepted_at, accepted_at, type=type_)
    length = max(map(len, histories), default=1)
    return [
        changed(
            first,
            as_of=accepted_at + timedelta(seconds=n),
            deliveries=tuple(states[min(n, len(states) - 1)] for states in histories),
            finished_at=accepted_at + timedelta(seconds=n),
        )
        for n in range(length)
    ]


def _history(chosen: random.Random, webhook: str, channel: Channel, accepted_at: datetime) -> list[Delivery]:
    """Return the states of a delivery, one after each attempt. It may finish and be delivered again."""
    attempts: list[Attempt] = []
    states = []
    for number in range(1, chosen.choice((1, 1, 2, 5)) + 1):
        error = chosen.choice(ERRORS)
        attempts.append(
            Attempt(
                number=number,
                trigger=chosen.choice(("scheduled", "manual")),
                started_at=accepted_at + timedelta(seconds=chosen.uniform(0, 4000)),
                duration_ms=chosen.choice((5.0, 80.0, 700.0, 40_000.0)),
                error=error,
            )
        )
        states.append(
            Delivery(
                id=webhook,
                webhook_id=webhook,
                channel=channel,
                status=chosen.choice(STATUSES),
                attempts=tuple(attempts),
            )
        )
    return states


def recount(query: StatisticsQuery, last: Sequence[RunReport], since: datetime, until: datetime) -> dict[Any, Any]:
    """Count by group and step what the latest reports of all events say."""
    counts: dict[Any, dict[int, Counter[str]]] = {}
    step = timedelta(seconds=query.step) if query.step else until - since

    def count(report: RunReport, delivery: Delivery | None, at: datetime, **counters: int) -> None:
        names = {
            "tenant": report.event.tenant,
            "webhook": delivery.webhook_id if delivery else None,
            "channel": delivery.channel if delivery else None,
            "type": report.event.type,
        }
        wanted = (query.tenant, query.webhook, query.channel, query.type)
        if not since <= at < until or any(w not in (None, has) for w, has in zip(wanted, names.values(), strict=True)):
            return
        if (key := names.get(query.by, "")) is not None:
            counts.setdefault(key, {}).setdefault((at - since) // step, Counter()).update(counters)

    for report in last:
        count(report, None, report.event.accepted_at, events=1)
        for delivery in report.deliveries:
            for attempt in delivery.attempts:
                bucket = sum(attempt.duration_ms > bound for bound in LATENCY_BOUNDS)
                is_retry, is_requested = attempt.number > 1, attempt.trigger == "manual"
                counters = {"attempts": 1, outcome_of(attempt): 1, f"latency_{bucket}": 1}
                counters |= {"retries": int(is_retry), "requested": int(is_requested)}
                count(report, delivery, attempt.started_at, **counters)
            if delivery.status in ("succeeded", "failed"):
                final = delivery.attempts[-1]
                ended = final.started_at + timedelta(milliseconds=final.duration_ms)
                count(report, delivery, ended, **{f"deliveries_{delivery.status}": 1})
            if delivery.status == "cancelled":
                assert report.event.finished_at
                count(report, delivery, report.event.finished_at, deliveries_cancelled=1)
    return {key: {n: positive(steps[n]) for n in steps if positive(steps[n])} for key, steps in counts.items()}


def positive(counters: Counter[str] | dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counters.items() if count}


def counters_of(measures: Measures) -> dict[str, int]:
    return positive({name: measures[name] for name in COUNTERS})


def query(since: timedelta = DAY, until: timedelta = timedelta(0), **fields: Any) -> StatisticsQuery:
    """Return a query for a period, given in its age."""
    return StatisticsQuery(since=NOW - since, until=NOW - until, now=NOW, **fields)


QUERIES = (
    query(),
    query(10 * DAY),
    query(timedelta(hours=5)),
    query(timedelta(hours=5), step=60),
    query(timedelta(hours=5), step=900, by="type"),
    query(9 * DAY, 2 * DAY, by="tenant"),
    query(3 * DAY, 3 * DAY - timedelta(hours=1), by="tenant"),
    query(10 * DAY, step=86_400, by="webhook"),
    query(10 * DAY, step=7200, tenant="acme"),
    query(10 * DAY, step=86_400, webhook="wh_zeta_1", by="type"),
    query(10 * DAY, by="channel", tenant="zeta", type="order.paid"),
    query(10 * DAY, by="webhook", channel="email", step=43_200),
    query(10 * DAY, tenant="acme", webhook="wh_zeta_1"),
    query(10 * DAY, by="type", type="unknown"),
)


async def test_statistics_agree_with_a_recount(engine: AsyncEngine) -> None:
    """Setup: reports of 400 events with retries, redeliveries and every status.
    Timeline: they are written in a random order, some of them twice.
    Proves: each query gives what a plain recount of the latest reports gives.
    """
    histories = list(made_up_events(12, 400))
    reports = [report for history in histories for report in history]
    random.Random(1).shuffle(reports)
    index = WrittenIndex(engine)
    for n in range(0, len(reports), 90):
        await index.write(reports[n : n + 100])

    last = [history[-1] for history in histories]
    for asked in QUERIES:
        found = await index.statistics(asked)
        wanted = recount(asked, last, found.since, found.until)
        name = {"webhook": "webhook_id"}.get(asked.by, asked.by)
        steps = {group.names.get(name, ""): group.steps or [group.total] for group in found.groups}
        counted = {key: {n: counters_of(m) for n, m in enumerate(found)} for key, found in steps.items()}
        assert {
            key: {n: c for n, c in by_step.items() if c} for key, by_step in counted.items() if any(by_step.values())
        } == wanted, asked
        for group in found.groups:
            assert counters_of(group.total) == counters_of(Measures.total(group.steps or [group.total]))
    everything = (await index.statistics(query(10 * DAY))).groups[0]
    statuses = Counter(delivery.status for report in last for delivery in report.deliveries)
    assert (everything.held, everything.retrying) == (statuses["held"], statuses["retrying"])


async def test_test_events_are_in_no_statistics(engine: AsyncEngine) -> None:
    index = WrittenIndex(engine)
    for history in made_up_events(5, 30):
        await index.write([changed(report, is_test=True) for report in history])
    (everything,) = (await index.statistics(query(10 * DAY))).groups
    assert counters_of(everything.total) == {}
    assert await index.recount_tenants(NOW - 10 * DAY, NOW) == 0


async def test_held_and_retrying_are_counted_by_group(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    index = WrittenIndex(engine)
    (report,) = next(history for history in made_up_events(3, 99) if len(history) == 1)
    states: tuple[tuple[str, DeliveryStatus], ...] = (("wh_1", "held"), ("wh_2", "retrying"), ("wh_3", "held"))
    waiting_ones = tuple(Delivery(id=f"{w}.{s}", webhook_id=w, status=s) for w, s in states)
    others = tuple(Delivery(id=f"wh_1.{status}", webhook_id="wh_1", status=status) for status in ("pending", "sent"))
    await index.write([changed(report, tenant="acme", type="order.paid", deliveries=(*waiting_ones, *others))])

    by_webhook = await index.statistics(query(by="webhook"))
    assert [(g.names["webhook_id"], g.held, g.retrying) for g in by_webhook.groups] == [
        ("wh_1", 1, 0),
        ("wh_2", 0, 1),
        ("wh_3", 1, 0),
    ]
    expected: tuple[tuple[dict[str, Any], tuple[int, int]], ...] = (
        ({}, (2, 1)),
        ({"tenant": "acme"}, (2, 1)),
        ({"tenant": "zeta"}, (0, 0)),
        ({"tenant": "zeta", "webhook": "wh_1"}, (0, 0)),
        ({"tenant": "acme", "webhook": "wh_1"}, (1, 0)),
        ({"type": "order.sent"}, (0, 0)),
        ({"channel": "webhook", "type": "order.paid"}, (2, 1)),
    )
    for filters, numbers in expected:
        found = await index.statistics(query(**filters))
        assert (found.groups[0].held, found.groups[0].retrying) == numbers, filters
        assert not found.waiting_capped

    monkeypatch.setattr(waiting, "MAX_WAITING", 2)
    found = await index.statistics(query())
    assert found.waiting_capped
    assert found.groups[0].held + found.groups[0].retrying == 2


@pytest.mark.parametrize(
    ("asked", "period", "since", "until"),
    [
        (query(timedelta(hours=6)), 60, "10T06:34", "10T12:35"),
        (query(timedelta(hours=6, seconds=1)), 3600, "10T06:00", "10T13:00"),
        (query(3 * DAY, 3 * DAY - timedelta(hours=1)), 3600, "07T12:00", "07T14:00"),
        (query(7 * DAY), 3600, "03T12:00", "10T13:00"),
        (query(8 * DAY), 86_400, "02T00:00", "11T00:00"),
        (query(step=60), 60, "09T12:34", "10T12:35"),
        (query(step=5400), 60, "09T12:00", "10T13:30"),
        (query(step=7200), 3600, "09T12:00", "10T14:00"),
        (query(step=2 * 86_400), 86_400, "09T00:00", "11T00:00"),
    ],
)
async def test_times_are_rounded_to_whole_counters_and_steps(
    asked: StatisticsQuery, period: int, since: str, until: str
) -> None:
    assert asked.period == period
    begin, end = (datetime.fromtimestamp(second, UTC) for second in (asked.steps.start, asked.steps.stop))
    assert (f"{begin:%dT%H:%M}", f"{end:%dT%H:%M}") == (since, until)
    assert asked.steps.stop == asked.steps[-1] + asked.steps.step


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        (query(100 * DAY, step=600), "multiple of 3600"),
        (query(200 * DAY, step=3600), "would be 4801 steps"),
        (query(30 * DAY, by="webhook", step=3600), r"groups × steps\): use a larger step"),
    ],
)
async def test_an_answer_has_a_bounded_number_of_points(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, asked: StatisticsQuery, advice: str
) -> None:
    index = WrittenIndex(engine)
    await index.write([history[-1] for history in made_up_events(1, 50)])
    monkeypatch.setattr(statistics, "MAX_POINTS", 1000)
    with pytest.raises(StatisticsTooLarge, match=advice):
        await index.statistics(asked)


async def test_the_number_of_counters_that_are_added_up_is_bounded(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = WrittenIndex(engine)
    await index.write([history[-1] for history in made_up_events(1, 50)])
    monkeypatch.setattr(statistics, "MAX_ROWS", 30)
    with pytest.raises(StatisticsTooLarge, match="use a shorter period, a step of 86400"):
        await index.statistics(query(10 * DAY, step=3600, type="unknown"))
    await index.statistics(query(10 * DAY, webhook="wh_acme_1"))


async def test_totals_of_many_tenants_need_few_counters(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setup: more counters than an answer may add up. Proves: those of all tenants together are few, and exact."""
    index = WrittenIndex(engine)
    reports = [changed(history[-1], tenant=f"tenant_{n}") for n, history in enumerate(made_up_events(1, 50))]
    await index.write(reports)
    monkeypatch.setattr(statistics, "MAX_ROWS", 36)
    with pytest.raises(StatisticsTooLarge, match="would be the sum of more than 36"):
        await index.statistics(query(10 * DAY, by="tenant"))
    ((_, total, *_),) = (await index.statistics(query(10 * DAY))).groups
    by_channel = (await index.statistics(query(10 * DAY, by="channel"))).groups
    attempts = sum(len(delivery.attempts) for report in reports for delivery in report.deliveries)
    assert (total["events"], total["attempts"]) == (50, attempts)
    assert sum(group.total["attempts"] for group in by_channel) == attempts
    ((_, emails, *_),) = (await index.statistics(query(10 * DAY, channel="email"))).groups
    assert emails["attempts"] == next(g.total["attempts"] for g in by_channel if g.names == {"channel": "email"})


async def test_a_statistic_by_type_names_the_largest_types_and_counts_the_others_together(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = WrittenIndex(engine)
    (report,) = next(history for history in made_up_events(3, 99) if len(history) == 1)
    held = (Delivery(id="wh_1", webhook_id="wh_1", status="held"),)
    reports = [
        changed(report, id=f"evt_{n}_{m}", type=f"type_{n}", accepted_at=NOW, deliveries=held)
        for n in range(30)
        for m in range(n + 1)
    ]
    await index.write(reports)
    older = [changed(report, id=f"evt_{n}", type=f"old_{n}", accepted_at=NOW - 9 * DAY) for n in range(20)]
    await index.write([report._replace(deliveries=held) for report in older])
    monkeypatch.setattr(statistics, "MAX_POINTS", 12)

    found = await index.statistics(query(by="type"))
    events = {group.names["type"]: group.total["events"] for group in found.groups}
    assert events == {"(other)": sum(range(1, 20)), **{f"type_{n}": n + 1 for n in range(19, 30)}}
    assert sum(group.held for group in found.groups) == len(reports) + len(older)
    with pytest.raises(StatisticsTooLarge, match="use a larger step"):
        await index.statistics(query(timedelta(minutes=6), by="type", step=60))


async def test_the_webhooks_that_a_statistic_names_are_the_largest_or_those_that_fail_most(engine: AsyncEngine) -> None:
    """Setup: webhooks with 1 to 6 attempts, of which the smallest fail, and a webhook with a held delivery only.
    Proves: others are counted together, whatever is named, and nothing is lost.
    """
    index = WrittenIndex(engine)
    (report,) = next(history for history in made_up_events(3, 99) if len(history) == 1)

    def delivery(webhook: str, attempts: int, error: str | None, status: DeliveryStatus) -> Delivery:
        made = tuple(
            Attempt(number=n, started_at=NOW - timedelta(minutes=1), duration_ms=5, error=error)
            for n in range(1, attempts + 1)
        )
        return Delivery(id=webhook, webhook_id=webhook, status=status, attempts=made)

    deliveries = [delivery(f"wh_{n}", n, None if n > 2 else "http_500", "retrying") for n in range(1, 7)]
    deliveries.append(delivery("wh_idle", 0, None, "held"))
    await index.write([changed(report, tenant="acme", accepted_at=NOW, deliveries=tuple(deliveries))])

    async def named(tenant: str | None, **fields: Any) -> dict[str, tuple[int, int, int]]:
        found = await index.statistics(query(by="webhook", tenant=tenant, **fields))
        assert {group.names["tenant"] for group in found.groups} <= {"acme", "(other)" if tenant is None else "acme"}
        return {g.names["webhook_id"]: (g.total["attempts"], g.held, g.retrying) for g in found.groups}

    for tenant in (None, "acme"):
        assert await named(tenant, max_groups=2) == {"(other)": (10, 1, 4), "wh_5": (5, 0, 1), "wh_6": (6, 0, 1)}
        failing = {"(other)": (18, 1, 4), "wh_1": (1, 0, 1), "wh_2": (2, 0, 1)}
        assert await named(tenant, max_groups=2, order="failures") == failing
        assert await named(tenant, max_groups=6) == {
            "(other)": (0, 1, 0),
            **{f"wh_{n}": (n, 0, 1) for n in range(1, 7)},
        }
        assert await named(tenant, max_groups=7) == {
            **{f"wh_{n}": (n, 0, 1) for n in range(1, 7)},
            "wh_idle": (0, 1, 0),
        }
    (tenants,) = (await index.statistics(query(by="tenant", max_groups=1))).groups
    assert (tenants.names, tenants.total["attempts"]) == ({"tenant": "acme"}, 21)


@pytest.mark.parametrize(
    ("fields", "counters", "waiting_deliveries"),
    [
        ({}, "rollups_1", "ix_deliveries_status"),
        ({"channel": "email"}, "rollups_1", "ix_deliveries_status"),
        ({"by": "type"}, "ix_rollups_at", "ix_deliveries_status"),
        ({"tenant": "acme"}, "rollups_1", "ix_deliveries_tenant_status"),
        ({"tenant": "acme", "by": "webhook", "type": "order.paid"}, "rollups_1", "ix_deliveries_tenant_status"),
        ({"webhook": "wh_1"}, "ix_rollups_webhook_id", "ix_deliveries_webhook_status"),
        ({"tenant": "acme", "webhook": "wh_1"}, "ix_rollups_webhook_id", "ix_deliveries_webhook_status"),
    ],
)
async def test_sqlite_finds_rows_by_an_index(
    sqlite_url: str, fields: dict[str, Any], counters: str, waiting_deliveries: str
) -> None:
    engine = open_engine(sqlite_url)
    await migrate(engine)
    asked = query(**fields)
    filters = statistics._filters(asked)
    keys = statistics.KEYS[asked.by]
    statements = {statistics._sums(asked): counters, waiting._counts(keys, filters): waiting_deliveries}
    for statement, index in statements.items():
        compiled = statement.compile(engine.sync_engine, compile_kwargs={"render_postcompile": True})
        parameters = tuple(compiled.params[name] for name in compiled.positiontup or ())
        async with engine.connect() as connection:
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", parameters)
            assert index in str(plan.all()), plan
    await engine.dispose()
