"""Which alerts of a webhook are sent, and when."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hookkeeper.content.context import AlertKind
from hookkeeper.registry.models import Failure, IncidentState, Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.alerts import DAY, HOUR, Claim, Due, due
from hookkeeper.registry.webhooks.health import AttemptResult

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Make = Callable[..., Webhook]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
QUIET = Due()


@pytest.fixture(autouse=True)
async def webhook(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())


def failing(for_: timedelta = HOUR, *, threshold: timedelta | None = 15 * MINUTE, **more: Any) -> dict[str, Any]:
    """Return the columns of a webhook whose URL has failed for so long."""
    since = NOW - for_
    from_ = since + threshold if threshold is not None else None
    failure = Failure(since=since, failures=3, at=NOW, error="timeout", failing_from=from_)
    columns = {"unhealthy_since": since, "failing_from": from_, "url_failing_since": since}
    return {"failing": {"webhook": failure}, **columns, **more}


def disabled(reason: str = "failing", **more: Any) -> dict[str, Any]:
    return failing(enabled=False, disabled_reason=reason, disabled_at=NOW, **more)


def alerted(kind: AlertKind = "failing", ago: timedelta = 10 * MINUTE, **more: Any) -> IncidentState:
    return IncidentState(at=NOW - ago, kind=kind, token="t", key="k", **more)


@pytest.mark.parametrize(
    ("columns", "last", "expected"),
    [
        ({}, None, QUIET),
        ({}, alerted("recovered"), QUIET),
        ({}, alerted(), Due("recovered")),
        ({}, alerted("disabled"), Due("recovered")),
        (failing(5 * MINUTE), None, Due(wait=10 * MINUTE)),
        (failing(HOUR, threshold=None), None, Due(wait=DAY)),
        (failing(), None, Due("failing", timedelta())),
        (failing(), alerted("recovered", failing_at=NOW - 2 * HOUR), Due("failing", timedelta())),
        (failing(), alerted("recovered", failing_at=NOW - 40 * MINUTE), Due(wait=20 * MINUTE, is_counted=True)),
        (failing(), alerted("recovered", failing_at=NOW + 2 * DAY), Due("failing", timedelta())),
        (failing(paused_at=NOW), None, Due(wait=DAY)),
        (failing(paused_at=NOW), alerted(ago=DAY), Due(wait=DAY)),
        (failing(enabled=False, disabled_reason="manual"), alerted(ago=DAY), Due(wait=DAY)),
        (disabled(), alerted(), Due("disabled")),
        (disabled("gone"), None, Due("disabled")),
        (disabled(), alerted("disabled", disabled_at=NOW), QUIET),
        (disabled(), alerted("recovered", disabled_at=NOW - DAY), Due("disabled")),
    ],
)
def test_what_an_incident_has_to_do(
    make_webhook: Make, columns: dict[str, Any], last: IncidentState | None, expected: Due
) -> None:
    assert due(make_webhook(**columns, incident=last), NOW, None) == expected


@pytest.mark.parametrize(
    ("reminders", "interval"), [(0, HOUR), (1, 4 * HOUR), (2, 12 * HOUR), (3, DAY), (4, DAY), (40, DAY)]
)
def test_reminders_come_at_growing_intervals(make_webhook: Make, reminders: int, interval: timedelta) -> None:
    def after(time: timedelta) -> Due:
        return due(make_webhook(**failing(9 * DAY), incident=alerted(ago=time, reminders=reminders)), NOW, None)

    assert after(interval) == Due("reminder", timedelta())
    assert after(interval - MINUTE) == Due(wait=MINUTE)


@pytest.mark.parametrize(
    ("failed_for", "disable_after", "warned", "expected"),
    [
        (4 * DAY - MINUTE, 5 * DAY, None, Due(wait=MINUTE)),
        (4 * DAY, 5 * DAY, None, Due("disabling", timedelta())),
        (4 * DAY + 10 * MINUTE, 5 * DAY, DAY, Due(wait=50 * MINUTE)),
        (5 * DAY - HOUR, 5 * DAY, DAY, Due("disabling", timedelta())),
        (5 * DAY - HOUR, 5 * DAY, None, Due("disabling", timedelta())),
        (5 * DAY - 10 * MINUTE, 5 * DAY, HOUR, Due(wait=50 * MINUTE)),
        (6 * DAY, 5 * DAY, HOUR, Due(wait=50 * MINUTE)),
        (20 * MINUTE, DAY, None, Due(wait=50 * MINUTE)),
        (20 * MINUTE, HOUR, None, Due(wait=50 * MINUTE)),
        (20 * MINUTE, None, None, Due(wait=50 * MINUTE)),
    ],
)
def test_a_warning_comes_a_day_and_an_hour_before_a_webhook_is_disabled(
    make_webhook: Make,
    failed_for: timedelta,
    disable_after: timedelta | None,
    warned: timedelta | None,
    expected: Due,
) -> None:
    """Setup: the last alert was sent ten minutes ago, so the first reminder is due in fifty."""
    last = alerted(warned=warned.total_seconds() if warned else None)
    assert due(make_webhook(**failing(failed_for), incident=last), NOW, disable_after) == expected
    seconds = disable_after.total_seconds() if disable_after else 0
    own = make_webhook(**failing(failed_for), incident=last, disable_after=seconds)
    assert due(own, NOW, 9 * DAY) == expected, "its own setting takes precedence"


async def step(store: Store, token: str, now: datetime) -> tuple[AlertKind | None, timedelta | None, int | None]:
    claimed = await claim(store, token, now)
    reported = claimed.webhook.incident.reported if claimed.webhook.incident and claimed.due.kind else None
    return claimed.due.kind, claimed.due.wait, reported


async def claim(store: Store, token: str, now: datetime) -> Claim:
    claimed = await store.alerts.claim("wh_1", token, now, 5 * DAY)
    assert claimed is not None
    return claimed


async def attempts(store: Store, at: datetime, *answers: str) -> None:
    for answer in answers:
        await store.health.record([AttemptResult("wh_1", answer, at)])  # type: ignore[arg-type]


async def test_an_incident_from_its_first_alert_to_the_last(store: Store) -> None:
    """Proves: a repeated claim is the same; reminders and warnings are counted; the next incident is another."""
    await attempts(store, NOW, *["failed"] * 5)
    assert await step(store, "a", NOW) == ("failing", HOUR, 0)
    assert await step(store, "a", NOW) == ("failing", HOUR, 0)
    assert await step(store, "b", NOW + MINUTE) == (None, HOUR - MINUTE, None)
    assert await step(store, "c", NOW + HOUR) == ("reminder", 4 * HOUR, 0)
    assert await step(store, "d", NOW + 5 * HOUR) == ("reminder", 12 * HOUR, 0)
    assert await step(store, "e", NOW + 4 * DAY) == ("disabling", 12 * HOUR, 0)
    assert await step(store, "f", NOW + 5 * DAY - HOUR) == ("disabling", 12 * HOUR, 0)
    keys = {(await state(store)).key}
    await attempts(store, NOW + 5 * DAY, "succeeded")
    assert await step(store, "g", NOW + 5 * DAY) == ("recovered", None, 0)
    assert (await state(store)).since == NOW
    keys.add((await state(store)).key)
    assert await step(store, "h", NOW + 5 * DAY) == (None, None, None)
    await attempts(store, NOW + 6 * DAY, *["failed"] * 5)
    assert await step(store, "i", NOW + 6 * DAY) == ("failing", HOUR, 0)
    assert keys == {"a"} and (await state(store)).key == "i"
    assert await store.alerts.claim("wh_2", "a", NOW, None) is None, "it was deleted"


async def state(store: Store) -> IncidentState:
    webhook = await store.webhooks.get("wh_1")
    assert webhook is not None and webhook.incident is not None
    return webhook.incident


async def test_failures_within_the_hour_are_counted_for_the_next_alert(store: Store) -> None:
    """Timeline: an alert; it works again; it fails for a moment, then until the hour is over."""
    await attempts(store, NOW, *["failed"] * 5)
    assert await step(store, "a", NOW) == ("failing", HOUR, 0)
    await attempts(store, NOW + MINUTE, "succeeded")
    assert await step(store, "b", NOW + MINUTE) == ("recovered", None, 0)
    for minutes in (10, 20):
        now = NOW + minutes * MINUTE
        await attempts(store, now, "succeeded", *["failed"] * 5)
        for token in ("c", "d"):
            assert await step(store, f"{token}{minutes}", now) == (None, HOUR - minutes * MINUTE, None)
    assert await step(store, "e", NOW + HOUR) == ("failing", HOUR, 1)
