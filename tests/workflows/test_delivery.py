"""The state machine of a delivery: sequences of outcomes and commands, in a table."""

from datetime import timedelta
from typing import cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from due_times import NOW, until_due
from hookkeeper.command_rules import COMMANDS, Command
from hookkeeper.commands import Refused, UnknownDelivery, reopened, select
from hookkeeper.messages.event import Delivery, Receipt, ReceiptKind
from hookkeeper.messages.outcomes import Outcome, ReservedTime, Verdict
from workflows.delivery import DeliveryState
from workflows.retry import MAX_ATTEMPTS_KEPT

STATUS: dict[str, tuple[Verdict, int | None]] = {
    "ok": ("succeeded", 200),
    "500": ("failed", 500),
    "410": ("gone", 410),
    "forbidden": ("forbidden_address", None),
    "disabled": ("held", None),
    "deleted": ("webhook_deleted", None),
    "wait": ("deferred", None),
    "hanging": ("deferred", None),
    "rejected": ("rejected", 400),
    "template": ("bad_template", None),
    "sent": ("succeeded", 202),
}
AWAITED = ("ann@a.b", "bob@a.b")


def outcome(name: str, delays: tuple[float, ...] = (10.0, 20.0), retry_after: float | None = None) -> Outcome:
    verdict, status = STATUS[name]
    made = verdict not in ("held", "deferred", "webhook_deleted")
    return Outcome(
        delivery="wh_1",
        verdict=verdict,
        status_code=status,
        started_at=NOW if made else None,
        delays=delays,
        retry_after=retry_after,
        slot=ReservedTime(at=NOW, rate=1.0) if verdict == "deferred" else None,
        degraded=name == "hanging",
        awaiting=AWAITED if name == "sent" else (),
        alerts=True,
    )


def receipt(kind: ReceiptKind, address: str = AWAITED[0], attempt: int = 1) -> Receipt:
    return Receipt(id=f"{kind}-{address}-{attempt}", attempt=attempt, address=address, kind=kind, at=NOW)


def play(*steps: str) -> DeliveryState:
    """Run a story: commands by name, `try:<result>` for an attempt, `begin`, `end:<result>`.

    `ann:<kind>` and `bob:<kind>` are what the provider says of these two.
    """
    delivery = DeliveryState(Delivery(id="wh_1", webhook_id="wh_1"))
    for step in steps:
        action, _, result = step.partition(":")
        if action in ("try", "begin"):
            delivery.begin_attempt()
        if action in ("try", "end"):
            delivery.finish_attempt(outcome(result), NOW, 0.0)
        if action == "abandon":
            delivery.abandon_attempt()
        if action in ("cancel", "retry", "redeliver", "hold", "release", "stop_tracking"):
            getattr(delivery, action)()
        if action == "old":
            delivery.add_receipt(receipt(cast(ReceiptKind, result), AWAITED[0], attempt=1))
        if action in ("ann", "bob"):
            number = delivery.next_number if delivery.in_flight else delivery.record.attempts_made
            delivery.add_receipt(receipt(cast(ReceiptKind, result), f"{action}@a.b", number))
    return delivery


@pytest.mark.parametrize(
    ("story", "status", "reason", "triggers"),
    [
        ("", "pending", None, ""),
        ("try:ok", "succeeded", None, "s"),
        ("try:500", "retrying", None, "s"),
        ("try:500 try:500 try:500", "failed", "exhausted", "sss"),
        ("try:500 try:500 try:ok", "succeeded", None, "sss"),
        ("try:410", "failed", "gone", "s"),
        ("try:forbidden", "failed", "forbidden_address", "s"),
        ("try:deleted", "cancelled", "webhook_deleted", ""),
        ("try:disabled", "held", "webhook_disabled", ""),
        ("try:disabled release", "pending", None, ""),
        ("try:500 try:disabled release", "retrying", None, "s"),
        ("cancel", "cancelled", None, ""),
        ("try:500 cancel", "cancelled", None, "s"),
        ("begin cancel end:ok", "succeeded", None, "s"),
        ("begin cancel end:500", "cancelled", None, "s"),
        ("begin cancel end:disabled", "cancelled", None, ""),
        ("begin cancel retry end:500", "retrying", None, "s"),
        ("begin cancel abandon", "cancelled", None, ""),
        ("begin cancel retry abandon try:ok", "succeeded", None, "m"),
        ("hold", "held", None, ""),
        ("begin hold end:500", "held", None, "s"),
        ("begin hold end:ok", "succeeded", None, "s"),
        ("hold release try:ok", "succeeded", None, "s"),
        ("try:500 retry try:500", "retrying", None, "sm"),
        ("try:500 retry try:500 try:500 try:500", "failed", "exhausted", "smss"),
        ("try:500 retry try:ok", "succeeded", None, "sm"),
        ("try:500 try:500 begin retry end:500", "retrying", None, "sss"),
        ("try:500 try:500 begin retry end:500 try:500", "failed", "exhausted", "sssm"),
        ("begin retry end:ok", "succeeded", None, "s"),
        ("begin retry end:410", "retrying", None, "s"),
        ("begin retry end:410 try:410", "failed", "gone", "sm"),
        ("begin redeliver end:ok", "pending", None, "s"),
        ("begin redeliver end:ok try:ok", "succeeded", None, "sm"),
        ("begin redeliver end:ok try:500 try:500 try:500", "failed", "exhausted", "smss"),
        ("begin redeliver redeliver end:ok try:ok", "succeeded", None, "sm"),
        ("begin redeliver retry end:ok", "pending", None, "s"),
        ("begin redeliver end:500 try:ok", "succeeded", None, "sm"),
        ("begin redeliver end:410 try:ok", "succeeded", None, "sm"),
        ("begin redeliver end:disabled try:ok", "succeeded", None, "m"),
        ("begin redeliver end:deleted", "cancelled", "webhook_deleted", ""),
        ("begin redeliver abandon begin end:ok", "succeeded", None, "m"),
        ("begin redeliver cancel end:ok", "succeeded", None, "s"),
        ("begin redeliver cancel end:410", "failed", "gone", "s"),
        ("begin cancel redeliver end:ok", "pending", None, "s"),
        ("begin redeliver end:sent", "sent", None, "s"),
        ("begin redeliver end:sent try:sent", "sent", None, "sm"),
        ("begin redeliver ann:bounced end:sent try:ok", "succeeded", None, "sm"),
        ("redeliver try:ok", "succeeded", None, "m"),
        ("try:ok redeliver try:ok", "succeeded", None, "sm"),
        ("hold retry try:500", "held", None, "m"),
        ("hold retry try:ok", "succeeded", None, "m"),
        ("try:410 retry try:ok", "succeeded", None, "sm"),
        ("try:500 try:500 try:500 retry try:500", "retrying", None, "sssm"),
        ("try:500 try:500 try:500 retry try:500 try:500 try:500", "failed", "exhausted", "sssmss"),
        ("try:ok retry try:ok", "succeeded", None, "sm"),
        ("try:rejected", "failed", "rejected", "s"),
        ("try:template", "failed", "bad_template", "s"),
        ("try:sent", "sent", None, "s"),
        ("try:500 try:sent", "sent", None, "ss"),
        ("try:sent ann:delivered", "sent", None, "s"),
        ("try:sent ann:deferred bob:deferred", "sent", None, "s"),
        ("try:sent ann:delivered bob:delivered", "succeeded", None, "s"),
        ("try:sent ann:delivered bob:bounced", "failed", "bounced", "s"),
        ("try:sent ann:dropped", "failed", "rejected", "s"),
        ("try:sent ann:delivered ann:bounced", "sent", None, "s"),
        ("begin ann:delivered bob:delivered end:sent", "succeeded", None, "s"),
        ("begin ann:bounced end:sent", "failed", "bounced", "s"),
        ("try:sent stop_tracking", "succeeded", None, "s"),
        ("try:sent cancel", "cancelled", None, "s"),
        ("begin cancel end:sent", "succeeded", None, "s"),
        ("begin hold end:sent", "sent", None, "s"),
        ("try:sent retry try:500", "sent", None, "sm"),
        ("try:sent retry try:sent ann:delivered bob:delivered", "succeeded", None, "sm"),
        ("try:sent ann:bounced retry try:sent", "sent", None, "sm"),
        ("try:sent retry begin ann:bounced end:500", "sent", None, "sm"),
        ("try:sent retry try:500 old:bounced", "failed", "bounced", "sm"),
        ("try:sent retry begin old:bounced end:500", "failed", "bounced", "sm"),
        ("try:sent retry begin old:bounced end:sent", "sent", None, "sm"),
    ],
)
def test_a_sequence_of_outcomes_and_commands_ends_in_its_state(
    story: str, status: str, reason: str | None, triggers: str
) -> None:
    record = play(*story.split()).snapshot
    assert (record.status, record.reason) == (status, reason)
    assert [attempt.trigger[0] for attempt in record.attempts] == list(triggers)
    assert [attempt.number for attempt in record.attempts] == list(range(1, len(triggers) + 1))


def test_an_attempt_is_due_after_its_delay_or_by_request_and_never_during_another() -> None:
    delivery = play("try:500")
    assert until_due(delivery) == 10
    delivery.fired_timers.add("next_attempt_at")
    assert until_due(delivery) == 0
    delivery.hold()
    assert until_due(delivery) is None
    delivery.retry()
    assert until_due(delivery) == 0
    delivery.begin_attempt()
    assert until_due(delivery) is None, "one attempt at a time"
    delivery.finish_attempt(outcome("ok"), NOW, 0.0)
    assert until_due(delivery) is None


def test_an_email_without_receipts_counts_as_delivered_after_three_days() -> None:
    delivery = play("try:sent")
    assert until_due(delivery) == timedelta(hours=72).total_seconds()
    delivery.fired_timers.add("awaiting_until")
    assert until_due(delivery) == 0
    assert not delivery.is_new


def test_a_receipt_that_comes_twice_counts_once() -> None:
    delivery = play("try:sent")
    for _ in range(3):
        delivery.add_receipt(receipt("deferred"))
    assert [known.kind for known in delivery.snapshot.receipts] == ["deferred"]
    delivery.add_receipt(receipt("delivered", attempt=7))
    delivery.add_receipt(receipt("bounced", "stranger@a.b"))
    assert delivery.snapshot.status == "sent", "neither another attempt nor another address decides this one"
    assert len(delivery.snapshot.receipts) == 3


def test_receipts_are_awaited_within_the_byte_limit() -> None:
    delivery = DeliveryState(Delivery(id="wh_1", webhook_id="wh_1"), max_tracked_bytes=10)
    delivery.begin_attempt()
    delivery.finish_attempt(outcome("sent"), NOW, 0.0)
    assert delivery.snapshot.status == "succeeded"


def test_a_delivery_held_by_its_webhook_rechecks_it_less_and_less_often() -> None:
    """A webhook may stay off, and a recheck costs as much as an event."""
    delivery = play("try:disabled")
    waits = []
    for _ in range(7):
        delivery.schedule_recheck(NOW)
        waits.append(until_due(delivery))
        delivery.recheck()
        delivery.begin_attempt()
        delivery.finish_attempt(outcome("disabled"), NOW, 0.0)
    assert waits == [3600 * hours for hours in (1, 2, 4, 8, 16, 24, 24)]
    delivery.release()
    assert delivery.record.rechecks == 0
    delivery.schedule_recheck(NOW)
    delivery.begin_attempt()
    delivery.finish_attempt(outcome("500"), NOW, 0.0)
    assert delivery.record.rechecks == 0


def test_rechecks_do_not_extend_the_limit_of_a_hold() -> None:
    """Only a release, or a request that is made, gives it the whole time again."""
    delivery = play("try:disabled")
    limit = NOW + timedelta(days=30)
    delivery.limit_hold(limit)
    delivery.schedule_recheck(NOW)
    delivery.recheck()
    delivery.begin_attempt()
    delivery.finish_attempt(outcome("disabled"), NOW, 0.0)
    delivery.limit_hold(limit + timedelta(hours=1))
    assert delivery.due_times == {"held_until": limit}
    delivery.release()
    assert delivery.record.held_until is None
    delivery.hold()
    delivery.limit_hold(limit + timedelta(days=1))
    assert delivery.due_times == {"held_until": limit + timedelta(days=1)}


def test_a_delivery_held_for_too_long_fails_and_may_be_alerted() -> None:
    delivery = play("hold")
    delivery.limit_hold(NOW)
    assert not delivery.is_due, "its timer has not fired"
    delivery.fired_timers.add("held_until")
    assert delivery.is_due
    delivery.end_hold()
    assert (delivery.snapshot.status, delivery.snapshot.reason) == ("failed", "held_too_long")
    assert delivery.snapshot.alerts
    delivery.retry()
    assert until_due(delivery) == 0
    assert delivery.snapshot.status == "pending"


@pytest.mark.parametrize(
    ("story", "deferred_first"),
    [
        ("begin", False),
        ("try:wait begin", True),
        ("try:wait try:wait begin", True),
        ("try:hanging begin", False),
        ("try:wait retry begin", False),
        ("try:500 begin", False),
        ("try:500 try:wait begin", False),
        ("try:wait try:500 begin", False),
        ("try:wait try:disabled release begin", False),
        ("try:wait hold release begin", True),
    ],
)
def test_a_first_attempt_that_was_deferred_is_still_a_first_one(story: str, deferred_first: bool) -> None:
    assert play(*story.split()).is_deferred_first is deferred_first


def test_a_timer_that_fired_does_not_count_for_a_time_that_was_set_again() -> None:
    delivery = play("try:500")
    delivery.fired_timers.add("next_attempt_at")
    assert delivery.is_due
    delivery.begin_attempt()
    delivery.finish_attempt(outcome("500"), NOW, 0.0)
    assert not delivery.is_due


def test_a_forced_retry_keeps_the_schedule_but_respects_retry_after() -> None:
    delivery = play("try:500", "retry")
    due = delivery.record.next_attempt_at
    delivery.begin_attempt()
    delivery.finish_attempt(outcome("500"), NOW, 0.0)
    assert delivery.record.next_attempt_at == due
    delivery.retry()
    delivery.begin_attempt()
    delivery.finish_attempt(outcome("500", retry_after=3600), NOW, 0.0)
    assert delivery.record.next_attempt_at == NOW + timedelta(hours=1)


def test_a_record_can_be_carried_into_another_run() -> None:
    for story in ("", "hold", "try:500", "try:500 hold", "try:500 retry", "try:ok", "try:disabled", "try:sent"):
        record = play(*story.split()).snapshot
        carried = DeliveryState(Delivery.model_validate_json(record.model_dump_json()))
        assert carried.snapshot == record
        assert until_due(carried) == until_due(play(*story.split()))


def test_a_reopened_delivery_has_its_whole_schedule_again() -> None:
    failed = play("try:500", "try:500", "try:500").snapshot
    delivery = DeliveryState(reopened(failed))
    assert delivery.is_new
    assert delivery.begin_attempt() == "manual"
    delivery.finish_attempt(outcome("500"), NOW, 0.0)
    assert delivery.snapshot.status == "retrying"
    assert delivery.snapshot.attempts[-1].number == 4
    assert delivery.begin_attempt() == "scheduled"


def test_a_delivery_keeps_a_bounded_number_of_attempts() -> None:
    delivery = DeliveryState(Delivery(id="wh_1", webhook_id="wh_1"))
    for _ in range(MAX_ATTEMPTS_KEPT + 50):
        delivery.retry()
        delivery.begin_attempt()
        delivery.finish_attempt(outcome("500"), NOW, 0.0)
    record = delivery.snapshot
    assert len(record.attempts) == MAX_ATTEMPTS_KEPT
    assert record.attempts_omitted == 50
    assert record.attempts[-1].number == MAX_ATTEMPTS_KEPT + 50 == record.attempts_made


@pytest.mark.parametrize("command", ["cancel", "retry", "hold", "release", "redeliver"])
@pytest.mark.parametrize(
    "story", ["", "try:500", "hold", "try:ok", "try:410", "cancel"], ids=lambda story: story or "pending"
)
def test_a_command_is_taken_or_refused_with_a_reason(command: Command, story: str) -> None:
    record = play(*story.split()).snapshot
    if record.status in COMMANDS[command].statuses:
        assert select(command, [record], "wh_1") == ["wh_1"]
        delivery = DeliveryState(record)
        getattr(delivery, command)()
    else:
        with pytest.raises(Refused, match=f"cannot {command} delivery wh_1: it is {record.status}"):
            select(command, [record], "wh_1")


def test_every_command_has_a_rule() -> None:
    assert set(COMMANDS) == set(get_args(Command))


def test_a_retry_of_all_skips_held_and_cancelled_deliveries() -> None:
    stories = {"a": "try:500", "b": "hold", "c": "cancel", "d": "try:ok", "e": "try:410"}
    records = [play(*story.split()).snapshot.model_copy(update={"id": id_}) for id_, story in stories.items()]
    assert select("retry", records, None) == ["a", "e"]
    assert select("redeliver", records, None) == list(stories)
    assert select("cancel", records, None) == ["a", "b"]
    with pytest.raises(UnknownDelivery, match="no delivery nobody"):
        select("retry", records, "nobody")
    with pytest.raises(Refused, match="every delivery has the status succeeded"):
        select("retry", [records[3]], None)
    with pytest.raises(Refused, match="has no deliveries"):
        select("cancel", [], None)


@given(
    st.lists(
        st.sampled_from(
            [
                *("try:ok", "try:500", "try:410", "try:disabled", "try:sent", "ann:bounced", "ann:delivered"),
                *("cancel", "retry", "redeliver", "hold", "release"),
            ]
        ),
        max_size=30,
    )
)
def test_an_open_delivery_is_due_some_time_or_held(steps: list[str]) -> None:
    """An open delivery is due some time, or held, and says so; a final one waits for nothing."""
    delivery = DeliveryState(Delivery(id="wh_1", webhook_id="wh_1"))
    for step in steps:
        action, _, result = step.partition(":")
        if action == "try" and until_due(delivery) is not None:
            delivery.begin_attempt()
            delivery.finish_attempt(outcome(result), NOW, 0.0)
        elif action == "ann":
            delivery.add_receipt(receipt(cast(ReceiptKind, result), attempt=delivery.record.attempts_made))
        elif action != "try" and delivery.snapshot.status in COMMANDS[action].statuses:  # type: ignore[index]
            getattr(delivery, action)()
        due = until_due(delivery)
        record = delivery.snapshot
        if record.is_final:
            assert due is None
            assert not (delivery.held or delivery.forced or delivery.cancelling)
        else:
            assert (due is None) == (record.status == "held" and not delivery.forced)
        assert [attempt.number for attempt in record.attempts] == list(range(1, len(record.attempts) + 1))


@pytest.mark.parametrize(
    ("steps", "seconds"),
    [
        ((), 1),
        (("try:500",), 5),
        (("try:500", "retry"), 1),
        (("try:500", "hold", "release"), 1),
        (("try:500", "hold", "release", "try:500"), 0),
        (("try:disabled", "release"), 1),
    ],
    ids=["first", "scheduled", "requested", "held", "early", "held-by-webhook"],
)
def test_the_queue_time_of_an_attempt_begins_when_it_is_due(steps: tuple[str, ...], seconds: float) -> None:
    """The retry is due after 10 s (the second one after 20 s), and starts after 15 s. A command came after 14 s."""
    delivery = play(*steps)
    delivery.begin_attempt(NOW + timedelta(seconds=14))
    started = outcome("ok").model_copy(update={"started_at": NOW + timedelta(seconds=15)})
    delivery.finish_attempt(started, NOW, 0.0)
    assert delivery.record.attempts[-1].queue_ms == seconds * 1000
