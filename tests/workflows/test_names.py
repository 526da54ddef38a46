"""Ids, fairness keys, search attributes and summaries: unambiguous, and within the limits of the server."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookkeeper import ids, task_queues
from hookkeeper.kinds import Channel
from hookkeeper.messages.alert import Alert, IncidentFacts
from hookkeeper.messages.event import Attempt, Delivery, Reason
from hookkeeper.search_attributes import fitting_ids
from hookkeeper.services.fields import TENANT_PATTERN
from hookkeeper.wording import duration
from workflows import summaries

HOUR = timedelta(hours=1)
FAILING = Delivery(
    id="wh_1",
    webhook_id="wh_1",
    target="https://a.b/hook",
    attempts=(Attempt(number=1, started_at=datetime(2026, 1, 1, tzinfo=UTC), duration_ms=1, error="http_503"),),
)
TENANTS = st.from_regex(re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII), fullmatch=True)
EVENTS = st.from_regex(re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII), fullmatch=True)


@given(TENANTS)
def test_a_tenant_has_few_fairness_keys(tenant: str) -> None:
    keys = {task_queues.fairness_key(tenant, f"wh_{n}") for n in range(200)}
    assert len(keys) == task_queues.KEYS_PER_TENANT
    assert max(map(len, keys)) <= task_queues.MAX_FAIRNESS_KEY


@given(TENANTS)
def test_several_tenants_have_a_key_that_no_tenant_has(tenant: str) -> None:
    assert task_queues.tenant_or_several({tenant}) == tenant
    assert task_queues.tenant_or_several({tenant, f"other-{tenant}"}) == task_queues.SEVERAL_TENANTS
    assert not re.fullmatch(TENANT_PATTERN, task_queues.SEVERAL_TENANTS)


@given(TENANTS, EVENTS)
def test_a_workflow_id_can_be_read_back(tenant: str, event_id: str) -> None:
    assert ids.event_of(ids.workflow_id(tenant, event_id)) == (tenant, event_id)


@given(TENANTS, EVENTS, st.integers(1, 1000))
def test_the_id_of_a_sibling_names_its_event(tenant: str, event_id: str, part: int) -> None:
    run = ids.run_of(tenant, event_id, part)
    assert ids.event_of(run) == (tenant, event_id)
    assert ids.part_of(run) == part
    assert ids.part_of(ids.workflow_id(tenant, event_id)) == 1
    apart = ids.run_apart(tenant, event_id, datetime(2026, 1, 1, tzinfo=UTC))
    assert (ids.part_of(apart), ids.is_apart(apart), ids.is_apart(run)) == (1, True, False)


def test_schedules_of_other_applications_are_told_apart() -> None:
    assert ids.is_schedule(ids.schedule_id("acme", "nightly"))
    assert not any(map(ids.is_schedule, ("nightly", "schedule-nightly")))


@given(TENANTS, EVENTS, st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - made aware below
def test_the_ids_of_a_schedule_its_firings_and_its_events_name_each_other(
    tenant: str, schedule: str, time: datetime
) -> None:
    when = time.replace(microsecond=0, tzinfo=UTC)
    assert ids.schedule_of(ids.schedule_id(tenant, schedule)) == (tenant, schedule)
    firing = f"{ids.firing_id(tenant, schedule)}-{when:%Y-%m-%dT%H:%M:%SZ}"
    assert ids.fired_for(firing) == when
    assert ids.firing_of(tenant, ids.scheduled_event_id(schedule, when)) == firing
    assert ids.firing_of(tenant, schedule) is None


def test_a_shared_run_is_replaced_again_and_again() -> None:
    first = ids.shared_run_id()
    second = ids.shared_run_after(first)
    third = ids.shared_run_after(second)
    assert (second, third) == (f"{first}.1", f"{first}.2")
    assert all(map(ids.is_shared_run, (first, second, third)))
    assert not any(map(ids.is_event_run, (first, second, third)))
    assert ids.is_later_shared_run(third, than=first)
    assert not ids.is_later_shared_run(first, than=third)
    assert not ids.is_later_shared_run(second, than=second)
    assert not ids.is_later_shared_run(third, than=ids.shared_run_id())
    assert sorted([f"{first}.10", third], key=ids.replaced_shared_run) == [third, f"{first}.10"]


def test_two_events_never_share_a_run() -> None:
    assert ids.workflow_id("a", "b-c") != ids.workflow_id("a-b", "c")
    assert ids.workflow_id("acme", "evt_1") == "event-acme-evt_1"


@given(st.lists(st.from_regex(re.compile(r"wh_[0-9a-z]{12}", re.ASCII), fullmatch=True), max_size=300))
def test_a_search_attribute_stays_under_the_servers_limit(webhook_ids: list[str]) -> None:
    listed = fitting_ids(webhook_ids)
    assert len(json.dumps(listed, separators=(",", ":"))) <= 2048
    assert len(listed) == min(len(set(webhook_ids)), 105)
    assert set(listed) <= set(webhook_ids)


@pytest.mark.parametrize(
    ("channel", "targets", "number", "summary"),
    [
        ("webhook", ["https://acme.example/hook"], 3, "POST https://acme.example/hook · attempt 3"),
        ("webhook", ["a", "b", "c"], 1, "POST to 3 webhooks · attempt 1"),
        ("email", ["ann@acme.example"], 1, "email to ann@acme.example · attempt 1"),
        ("email", ["ann@a.b", "bob@a.b, cid@a.b"], 1, "2 emails: ann@a.b; bob@a.b, cid@a.b · attempt 1"),
        ("notification", ["slack"], 2, "notify slack · attempt 2"),
        ("notification", ["slack", "POST https://b.c"], 1, "2 notifications: slack; POST https://b.c · attempt 1"),
    ],
)
def test_the_summary_of_an_attempt_names_its_targets_and_number(
    channel: Channel, targets: list[str], number: int, summary: str
) -> None:
    assert summaries.attempt_summary(channel, targets, number) == summary
    assert len(summaries.attempt_summary(channel, ["x" * 5000], 1)) < 250


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.5, "0.5 s"), (5, "5 s"), (5.25, "5.25 s"), (300, "5 min"), (5400, "1.5 h"), (86400, "1 d"), (90061, "1.04 d")],
)
def test_a_duration_is_written_in_its_largest_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words
    assert (
        summaries.wait_summary(FAILING, "next_attempt_at", timedelta(seconds=seconds)) == f"retry in {words} · http_503"
    )


def test_the_summary_of_a_step_says_what_it_does() -> None:
    sent = FAILING.model_copy(update={"awaiting": ("ann@a.b", "bob@a.b")})
    assert summaries.wait_summary(sent, "awaiting_until", HOUR) == "wait for receipts of ann@a.b, bob@a.b"
    assert summaries.wait_summary(Delivery(id="wh_1", webhook_id="wh_1"), "next_attempt_at", HOUR) == "attempt in 1 h"
    assert summaries.recheck_summary("wh_1", "POST https://a.b/hook · attempt 3") == (
        "is wh_1 still off? · POST https://a.b/hook · attempt 3"
    )


@pytest.mark.parametrize(
    ("reason", "time", "words"),
    [
        ("webhook_paused", "recheck_at", "held: webhook paused, rechecked in 1 h"),
        ("webhook_disabled", "recheck_at", "held: webhook disabled, rechecked in 1 h"),
        ("webhook_paused", "held_until", "held: webhook paused, fails in 1 h"),
        (None, "held_until", "held by request, fails in 1 h"),
    ],
)
def test_the_summary_of_a_hold_says_who_holds_and_until_when(reason: Reason | None, time: str, words: str) -> None:
    held = Delivery(id="wh_1", webhook_id="wh_1", status="held", reason=reason)
    assert summaries.wait_summary(held, time, HOUR) == words
    failed = Alert(
        **dict.fromkeys(("token", "id", "type", "tenant", "webhook_id", "delivery"), "x"),
        kind="failed",
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
        channel="webhook",
        target="https://a.b/hook",
        reason="exhausted",
        incident=IncidentFacts(key="", at=datetime(2026, 1, 1, tzinfo=UTC)),
    )
    assert summaries.alert_summary(failed) == "alert: https://a.b/hook failed · exhausted"
    recovered = failed.model_copy(update={"kind": "recovered"})
    assert summaries.alert_summary(recovered) == "alert: https://a.b/hook works again"
    disabled = failed.model_copy(update={"kind": "disabled"})
    assert summaries.alert_summary(disabled) == "alert: https://a.b/hook is disabled"
