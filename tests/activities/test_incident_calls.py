"""When attempts start the incident of a webhook, or let it look."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.delivery_batch import Made
from activities.health import calls_during
from hookkeeper.messages.batch import AttemptRequest
from hookkeeper.messages.outcomes import Outcome, Verdict
from hookkeeper.registry.models import Failure, IncidentState, Webhook
from hookkeeper.registry.webhooks.health import HealthChange
from hookkeeper.services.incidents import Call, IncidentCalls, calls_after
from hookkeeper.temporal.server.error_translation import Unavailable

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
Make = Callable[..., Webhook]
REQUEST = AttemptRequest(delivery="wh_1", webhook_id="wh_1", number=1)
NOTHING = "nothing"


def made(verdict: Verdict) -> list[Made]:
    return [Made("evt_1", REQUEST, Outcome(delivery="wh_1", verdict=verdict, started_at=NOW))]


def change(failing_from: datetime | None = None, **given: Any) -> HealthChange:
    fields = {"began": False, "reached": False, "recovered": False, "disabled": None}
    return HealthChange("wh_1", failing_from=failing_from, **fields | given)


def failing(from_: datetime) -> dict[str, Any]:
    return {"failing": {"webhook": Failure(since=NOW, failures=3, at=NOW)}, "failing_from": from_}


def alerted(kind: str) -> dict[str, Any]:
    return {"incident": IncidentState(at=NOW, kind=kind, token="t", key="k")}


@pytest.mark.parametrize(
    ("verdict", "before", "changed", "expected"),
    [
        ("succeeded", {}, None, NOTHING),
        ("succeeded", alerted("recovered"), None, NOTHING),
        ("succeeded", alerted("failing"), None, None),
        ("succeeded", alerted("disabled") | {"enabled": False}, None, NOTHING),
        ("held", {}, None, NOTHING),
        ("failed", {}, change(NOW + MINUTE, began=True), MINUTE),
        ("failed", {}, change(None, began=True), timedelta(days=1)),
        ("failed", failing(NOW + MINUTE), None, MINUTE),
        ("failed", failing(NOW - MINUTE), None, timedelta()),
        ("failed", failing(NOW + MINUTE), change(NOW, reached=True), None),
        ("gone", {}, change(NOW, began=True, disabled="gone"), None),
        ("succeeded", failing(NOW + MINUTE), change(recovered=True), NOTHING),
        ("succeeded", failing(NOW - MINUTE), change(recovered=True), None),
        ("succeeded", failing(NOW + MINUTE) | alerted("failing"), change(recovered=True), None),
    ],
)
def test_which_attempts_call_an_incident(
    make_webhook: Make, verdict: Verdict, before: dict[str, Any], changed: HealthChange | None, expected: Call | str
) -> None:
    webhooks = {"wh_1": make_webhook(**before)}
    found = calls_during(made(verdict), webhooks, NOW) | calls_after([changed] if changed else [], webhooks, NOW)
    assert found == ({} if expected == NOTHING else {"wh_1": expected})


def test_a_try_that_has_not_read_the_webhook_lets_its_incident_look() -> None:
    """The attempts were made by an earlier try of the activity, whose worker was killed."""
    assert calls_during(made("succeeded"), {}, NOW) == {}
    assert calls_after([change(recovered=True)], {}, NOW) == {"wh_1": None}


class Incidents:
    """Notes the calls; the first ones fail."""

    def __init__(self, failures: int = 0) -> None:
        self.calls: list[str] = []
        self._failures = failures

    async def watch(self, tenant: str, webhook_id: str, wait: timedelta) -> None:
        await self.look(tenant, f"{webhook_id} in {wait}")

    async def look(self, tenant: str, what: str) -> None:
        if self._failures:
            self._failures -= 1
            raise Unavailable("Temporal is away")
        self.calls.append(what)


async def make(incidents: Incidents, webhook: Webhook, call: Call, times: int, *, always: bool = True) -> None:
    calls = IncidentCalls(incidents, always_alert=always)  # type: ignore[arg-type]
    for _ in range(times):
        await calls.make("acme", {"wh_1": call}, {"wh_1": webhook})


async def test_a_webhook_that_fails_all_the_time_makes_few_calls(make_webhook: Make) -> None:
    incidents = Incidents()
    await make(incidents, make_webhook(), MINUTE, 100)
    await make(incidents, make_webhook(), None, 100)
    assert incidents.calls == ["wh_1 in 0:01:00", *["wh_1"] * 20]


async def test_a_call_that_fails_is_made_by_the_next_attempt(make_webhook: Make) -> None:
    incidents = Incidents(failures=2)
    await make(incidents, make_webhook(), MINUTE, 4)
    assert len(incidents.calls) == 1


async def test_a_webhook_without_recipients_makes_no_calls(make_webhook: Make) -> None:
    incidents = Incidents()
    await make(incidents, make_webhook(), MINUTE, 1, always=False)
    assert incidents.calls == []
