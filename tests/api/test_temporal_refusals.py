"""Temporal refuses a request as invalid: the answer says whose input that was, and advises no retry."""

import asyncio
from typing import Any

import pytest
from problems import problem
from structlog.testing import capture_logs
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import search_attributes
from hookkeeper.services.events import ingest
from hookkeeper.services.events.ingest import EventIngest
from instances import Instance
from schedules import forgotten_at_last
from timeouts import WAIT_TIMEOUT

MORE_THAN_A_BLOB, MORE_THAN_A_MESSAGE = 2_200_000, 4_500_000
"""Bytes: Temporal refuses such an input, and such a request."""


@pytest.fixture
def unchecked_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Temporal server whose limits are lower than Hookkeeper's."""
    monkeypatch.setattr(EventIngest, "_check_size", lambda self, event: 0)


async def post_large(instance: Instance, size: int) -> dict[str, Any]:
    """Post a large event in a batch, which may be larger than an event; return the item."""
    event = {"type": "order.paid", "tenant": instance.tenant, "id": "large", "data": "x" * size}
    answer = await instance.http.post("/v1/events/batch", json={"events": [event]})
    assert answer.status_code == 207
    (item,) = answer.json()["items"]
    return item  # type: ignore[no-any-return]


@pytest.mark.usefixtures("unchecked_size")
@pytest.mark.parametrize("size", [MORE_THAN_A_BLOB, MORE_THAN_A_MESSAGE])
async def test_an_event_that_temporal_finds_too_large_is_refused_without_a_retry(instance: Instance, size: int) -> None:
    item = await post_large(instance, size)
    assert item["status"] == item["problem"]["status"] == 413
    assert item["problem"]["event_id"] == "large"
    assert item["problem"]["detail"] == "The event, with its 0 deliveries, is larger than Temporal accepts."


@pytest.mark.usefixtures("unchecked_size")
async def test_a_scheduled_event_that_is_too_large_for_temporal_is_refused(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firing that retried it would wait for ever."""
    monkeypatch.setattr(ingest, "MAX_RUN_BYTES", 10)
    query = {"tenant": instance.tenant}
    async with forgotten_at_last(instance.temporal):
        schedule = query | {"id": "daily", "cron": ["0 9 * * *"], "event": {"type": "report.due"}}
        assert (await instance.http.post("/v1/schedules", json=schedule)).status_code == 201
        await instance.http.post("/v1/schedules/daily/trigger", params=query)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while True:
                shown = (await instance.http.get("/v1/schedules/daily", params=query)).json()
                if shown["recent"] and shown["recent"][0]["status"] == "refused":
                    break
                await asyncio.sleep(0.05)
    assert "larger than Temporal accepts" in shown["recent"][0]["reason"]


async def test_a_search_attribute_that_we_made_too_large_is_our_bug(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The namespace has the attribute: nothing for `hookkeeper migrate` to make."""
    monkeypatch.setattr(search_attributes, "fitting_ids", lambda _: ["wh_123456789012"] * 200)
    with capture_logs() as logs:
        assert (await instance.http.post("/v1/events", json={"type": "a", "tenant": instance.tenant})).is_success
        await instance.settled()
    errors = [line for line in logs if line["log_level"] == "error"]  # the app looks after other things meanwhile
    assert {line["event"] for line in errors} == {"a run is started later"}
    assert all("exceeds size limit" in str(line["exc_info"]) for line in errors)


async def test_what_temporal_refuses_of_a_schedule_is_not_kept(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server can have an older database of time zones."""
    schedule = {"tenant": instance.tenant, "id": "s", "event": {"type": "a"}, "cron": ["0 9 * * *"]}
    async with forgotten_at_last(instance.temporal):
        monkeypatch.setattr("hookkeeper.services.schedules.cron._timezones", lambda: {"UTC", "Mars/Olympus"})
        monkeypatch.setattr("hookkeeper.services.schedules.schedules._check_fires", lambda *_: None)
        wrong = await instance.http.post("/v1/schedules", json=schedule | {"timezone": "Mars/Olympus"})
        problem(wrong, 422, "timezone")
        problem(await instance.http.get("/v1/schedules/s", params={"tenant": instance.tenant}), 404)
        assert (await instance.http.post("/v1/schedules", json=schedule)).status_code == 201
        path, query = "/v1/schedules/s", {"tenant": instance.tenant}
        problem(await instance.http.patch(path, params=query, json={"timezone": "Mars/Olympus"}), 422, "timezone")
        assert (await instance.http.get(path, params=query)).json()["timezone"] == "UTC"


async def test_the_log_has_the_reason_why_temporal_is_unavailable(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*args: object, **kwargs: object) -> str:
        raise RPCError("no such key", RPCStatusCode.PERMISSION_DENIED, b"")

    monkeypatch.setattr("hookkeeper.temporal.events.event_runs.start_run", refuse)
    with capture_logs() as logs:
        assert (await instance.http.post("/v1/events", json={"type": "a", "tenant": instance.tenant})).is_success
        await instance.settled()
    (line,) = logs
    assert "no such key" in line["cause"]


async def test_a_run_with_too_many_signals_is_unavailable_for_now(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of times, a webhook was paused and resumed while one step of its release took long."""

    async def refuse(*args: object, **kwargs: object) -> None:
        message = "exceeded workflow execution limit for signal events"
        raise RPCError(message, RPCStatusCode.INVALID_ARGUMENT, b"")

    webhook = await idle_instance.webhook("http://127.0.0.1:9000/")
    assert (await idle_instance.http.post(f"/v1/webhooks/{webhook['id']}/pause")).status_code == 200
    monkeypatch.setattr(idle_instance.temporal, "start_workflow", refuse)
    answer = await idle_instance.http.post(f"/v1/webhooks/{webhook['id']}/resume")
    assert "too many signals" in problem(answer, 503)["detail"]
