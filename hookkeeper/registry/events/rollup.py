"""The counters of the index: what one event and one delivery add to them. Pure.

Counters are sums over rows of the index. When a row changes, what it was is subtracted and what it is now is added, so
a report that is repeated or comes after a later one changes nothing.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import product
from typing import NamedTuple

from hookkeeper.kinds import Channel
from hookkeeper.messages.event import Attempt
from hookkeeper.statuses import DeliveryStatus, EventStatus

MINUTE, HOUR, DAY = 60, 3600, 86_400
PERIODS = (MINUTE, HOUR, DAY)
"""Seconds of a row of counters. Long periods are added up from few rows."""
MINUTE_RETENTION = timedelta(days=2)
"""Rows of minutes are kept for so long: they are nearly as many as attempts."""
LATENCY_BOUNDS = (
    *(5, 10, 20, 35, 50, 75, 100, 150, 200, 300, 500, 750),
    *(1000, 1500, 2000, 3000, 5000, 7500, 10_000, 15_000, 30_000),
)
"""Upper bounds in milliseconds of the buckets of the latency histogram; one more bucket has all above."""
LATENCIES = tuple(f"latency_{n}" for n in range(len(LATENCY_BOUNDS) + 1))
OUTCOMES = ("succeeded", "client_errors", "server_errors", "timeouts", "connection_errors", "other_errors")
"""The outcome of an attempt: a success, HTTP 4xx (or another status that is no success), HTTP 5xx, and so on."""
COUNTERS = (
    *("events", "no_webhook"),
    *("deliveries_succeeded", "deliveries_failed", "deliveries_cancelled"),
    *("attempts", *OUTCOMES, "retries", "requested"),
    *LATENCIES,
)
"""`no_webhook`: events that no webhook gets; `events` has them too. `retries`: attempts that are not the first of their
delivery; `requested`: attempts made by a command."""
OTHERS = "(other)"
"""The types, webhooks or tenants that are counted together because there are very many. None has this name."""
ALL_TENANTS = ""
"""The tenant of the rows that count all tenants together, by channel. No tenant has this name."""
CONNECTION_ERRORS = frozenset({"dns", "connection_refused", "connection_reset", "tls", "protocol"})


class RollupKey(NamedTuple):
    seconds: int
    tenant: str
    at: int
    webhook_id: str
    type: str
    channel: str


class Subject(NamedTuple):
    """What is counted together."""

    tenant: str
    type: str
    webhook_id: str = ""
    channel: Channel | str = ""


Rollups = dict[RollupKey, Counter[str]]
"""Functions that count add to minutes; `in_periods` adds them up."""


def count_event(
    rollups: Rollups, subject: Subject, status: EventStatus, accepted_at: datetime, number: int = 1
) -> None:
    """Count an event. Whether it has webhooks is known when it is accepted, and stays so."""
    counters = {"events": number} | ({"no_webhook": number} if status == "no_webhook" else {})
    _add(rollups, subject, accepted_at, counters)


def count_end(
    rollups: Rollups, subject: Subject, status: DeliveryStatus, finished_at: datetime | None, number: int = 1
) -> None:
    """Count the end of a delivery, if it has come."""
    if finished_at is not None:
        _add(rollups, subject, finished_at, {f"deliveries_{status}": number})


def count_attempts(rollups: Rollups, subject: Subject, attempts: Iterable[Attempt]) -> None:
    for attempt in attempts:
        counters = {
            "attempts": 1,
            outcome_of(attempt): 1,
            LATENCIES[bisect_left(LATENCY_BOUNDS, attempt.duration_ms)]: 1,
        }
        if attempt.number > 1:
            counters["retries"] = 1
        if attempt.trigger == "manual":
            counters["requested"] = 1
        _add(rollups, subject, attempt.started_at, counters)


def in_periods(minutes: Rollups) -> Rollups:
    """Add up minutes to hours and days; return all three."""
    found: Rollups = defaultdict(Counter)
    for (key, counters), seconds in product(minutes.items(), PERIODS):
        found[key._replace(seconds=seconds, at=key.at - key.at % seconds)].update(counters)
    return found


def of_all_tenants(rollups: Rollups) -> Rollups:
    """Add up what tenants have, by period and channel."""
    sums: Rollups = {}
    for key, counters in rollups.items():
        of_all = RollupKey(key.seconds, ALL_TENANTS, key.at, webhook_id="", type="", channel=key.channel)
        sums.setdefault(of_all, Counter()).update(counters)
    return sums


def outcome_of(attempt: Attempt) -> str:
    """Return the counter of an attempt's outcome."""
    if attempt.error is None:
        return "succeeded"
    if attempt.error == "timeout":
        return "timeouts"
    if attempt.error in CONNECTION_ERRORS:
        return "connection_errors"
    if attempt.error.startswith("http_"):
        return "server_errors" if attempt.error.startswith("http_5") else "client_errors"
    return "other_errors"


def _add(rollups: Rollups, subject: Subject, when: datetime, counters: dict[str, int]) -> None:
    tenant, type_, webhook_id, channel = subject
    key = RollupKey(MINUTE, tenant, int(when.timestamp()) // MINUTE * MINUTE, webhook_id, type_, channel)
    if (counted := rollups.get(key)) is None:
        rollups[key] = counted = Counter()
    for name, number in counters.items():
        counted[name] += number
