"""One delivery's way through outcomes and commands, as a table of stories."""

from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookkeeper.commands import ELIGIBLE, Refused, UnknownDelivery, reopened, select
from hookkeeper.messages.event import Command, Delivery, Receipt, ReceiptKind
from hookkeeper.outcomes import Outcome, Verdict
from workflows.progress import KEPT_ATTEMPTS, Progress

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATUS: dict[str, tuple[Verdict, int | None]] = {
    "ok": ("succeeded", 200),
    "500": ("failed", 500),
    "410": ("gone", 410),
    "forbidden": ("forbidden_address", None),
    "disabled": ("held", None),
    "deleted": ("webhook_deleted", None),
    "rejected": ("rejected", 400),
    "template": ("bad_template", None),
    "sent": ("succeeded", 202),
}
AWAITED = ("ann@a.b", "bob@a.b")


def until_due(progress: Progress) -> float | None:
    """Give the seconds until something is due (0: now), or None when nothing is until a person acts."""
    if progress.is_due:
        return 0
    return min(((time - NOW).total_seconds() for time in progress.times.values()), default=None)


def outcome(name: str, delays: tuple[float, ...] = (10.0, 20.0), retry_after: float | None = None) -> Outcome:
    verdict, status = STATUS[name]
    made = verdict not in ("held", "webhook_deleted")
    return Outcome(
        delivery="wh_1",
        verdict=verdict,
        status_code=status,
        started_at=NOW if made else None,
        delays=delays,
        retry_after=retry_after,
        awaiting=AWAITED if name == "sent" else (),
        alerts=True,
    )


def receipt(kind: ReceiptKind, address: str = AWAITED[0], attempt: int = 1) -> Receipt:
    return Receipt(id=f"{kind}-{address}-{attempt}", attempt=attempt, address=address, kind=kind, at=NOW)


def play(*steps: str) -> Progress:
    """Run a story: commands by name, `try:<result>` for an attempt, `begin`, `end:<result>`.

    `ann:<kind>` and `bob:<kind>` are what the provider says of these two.
    """
    progress = Progress.of(Delivery(id="wh_1", webhook_id="wh_1"))
    for step in steps:
        action, _, result = step.partition(":")
        if action in ("try", "begin"):
            progress.begin()
        if action in ("try", "end"):
            progress.finish(outcome(result), NOW, 0.0)
        if action in ("cancel", "retry", "hold", "release", "abandon", "stop_awaiting"):
            getattr(progress, action)()
        if action == "old":
            progress.hear(receipt(cast(ReceiptKind, result), AWAITED[0], attempt=1))
        if action in ("ann", "bob"):
            number = progress.next_number if progress.in_flight else progress.delivery.attempts_made
            progress.hear(receipt(cast(ReceiptKind, result), f"{action}@a.b", number))
    return progress


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
        ("try:sent stop_awaiting", "succeeded", None, "s"),
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
def test_stories(story: str, status: str, reason: str | None, triggers: str) -> None:
    record = play(*story.split()).record
    assert (record.status, record.reason) == (status, reason)
    assert [attempt.trigger[0] for attempt in record.attempts] == list(triggers)
    assert [attempt.number for attempt in record.attempts] == list(range(1, len(triggers) + 1))


def test_when_the_next_attempt_is_due() -> None:
    progress = play("try:500")
    assert until_due(progress) == 10
    progress.passed.add("next_attempt_at")
    assert until_due(progress) == 0
    progress.hold()
    assert until_due(progress) is None
    progress.retry()
    assert until_due(progress) == 0
    progress.begin()
    assert until_due(progress) is None, "one attempt at a time"
    progress.finish(outcome("ok"), NOW, 0.0)
    assert until_due(progress) is None


def test_what_was_sent_is_taken_as_delivered_after_three_days() -> None:
    progress = play("try:sent")
    assert until_due(progress) == timedelta(hours=72).total_seconds()
    progress.passed.add("awaiting_until")
    assert until_due(progress) == 0
    assert not progress.is_fresh


def test_what_the_provider_says_twice_counts_once() -> None:
    progress = play("try:sent")
    for _ in range(3):
        progress.hear(receipt("deferred"))
    assert [each.kind for each in progress.record.receipts] == ["deferred"]
    progress.hear(receipt("delivered", attempt=7))
    progress.hear(receipt("bounced", "stranger@a.b"))
    assert progress.record.status == "sent", "neither another attempt nor another address decides this one"
    assert len(progress.record.receipts) == 3


@pytest.mark.parametrize(
    ("story", "news"),
    [
        ("try:500 try:500", None),
        ("try:500 try:500 try:500", "failed"),
        ("try:410", "failed"),
        ("try:template", "failed"),
        ("try:sent ann:bounced", "failed"),
        ("try:500 cancel", None),
        ("try:ok", None),
    ],
)
def test_news_is_told_once(story: str, news: str | None) -> None:
    progress = play(*story.split())
    assert progress.take_news() == news
    assert progress.take_news() is None


@pytest.mark.parametrize(("result", "status"), [("500", "retrying"), ("410", "failed")])
def test_that_the_webhook_is_disabled_is_the_one_news(result: str, status: str) -> None:
    progress = play("begin")
    progress.finish(outcome(result).model_copy(update={"disabled": True}), NOW, 0.0)
    assert progress.record.status == status
    assert progress.take_news() == "disabled"
    assert progress.take_news() is None


def test_nobody_is_told_who_does_not_want_to_be() -> None:
    progress = play("begin")
    progress.finish(outcome("410").model_copy(update={"disabled": True, "alerts": False}), NOW, 0.0)
    assert progress.take_news() is None


def test_recovery_is_news_only_where_the_outcome_says_so() -> None:
    progress = play("begin")
    progress.finish(outcome("ok").model_copy(update={"recovered": True}), NOW, 0.0)
    assert progress.take_news() == "recovered"


def test_recovery_is_news_only_once_the_email_has_arrived() -> None:
    progress = play("begin")
    progress.finish(outcome("sent").model_copy(update={"recovered": True}), NOW, 0.0)
    assert progress.take_news() is None
    for address in AWAITED:
        progress.hear(receipt("delivered", address))
    assert progress.take_news() == "recovered"


def test_word_is_awaited_of_no_more_addresses_than_there_is_room_for() -> None:
    progress = Progress.of(Delivery(id="wh_1", webhook_id="wh_1"), room=10)
    progress.begin()
    progress.finish(outcome("sent"), NOW, 0.0)
    assert progress.record.status == "succeeded"


def test_what_its_webhook_holds_looks_again_less_and_less_often() -> None:
    """Nobody may ever turn it on again, and a look costs as much as an event."""
    progress = play("try:disabled")
    waits = []
    for _ in range(7):
        progress.look_again(NOW)
        waits.append(until_due(progress))
        progress.try_again()
        progress.begin()
        progress.finish(outcome("disabled"), NOW, 0.0)
    assert waits == [3600 * hours for hours in (1, 2, 4, 8, 16, 24, 24)]
    progress.release()
    assert progress.delivery.looks == 0
    progress.look_again(NOW)
    progress.begin()
    progress.finish(outcome("500"), NOW, 0.0)
    assert progress.delivery.looks == 0


def test_a_hold_has_a_limit_that_looks_do_not_move() -> None:
    """Only a release, or a request that is made, gives it the whole time again."""
    progress = play("try:disabled")
    limit = NOW + timedelta(days=30)
    progress.limit_hold(limit)
    progress.look_again(NOW)
    progress.try_again()
    progress.begin()
    progress.finish(outcome("disabled"), NOW, 0.0)
    progress.limit_hold(limit + timedelta(hours=1))
    assert progress.times == {"held_until": limit}
    progress.release()
    assert progress.delivery.held_until is None
    progress.hold()
    progress.limit_hold(limit + timedelta(days=1))
    assert progress.times == {"held_until": limit + timedelta(days=1)}


def test_what_is_held_for_too_long_fails_and_is_told() -> None:
    progress = play("hold")
    progress.limit_hold(NOW)
    assert not progress.is_due, "its timer has not fired"
    progress.passed.add("held_until")
    assert progress.is_due
    progress.end_hold()
    assert (progress.record.status, progress.record.reason) == ("failed", "held_too_long")
    assert progress.take_news() == "failed"
    progress.retry()
    assert until_due(progress) == 0
    assert progress.record.status == "pending"


def test_a_time_that_is_set_anew_has_not_passed() -> None:
    progress = play("try:500")
    progress.passed.add("next_attempt_at")
    assert progress.is_due
    progress.begin()
    progress.finish(outcome("500"), NOW, 0.0)
    assert not progress.is_due


def test_a_forced_retry_leaves_the_schedule_but_minds_what_the_receiver_asks() -> None:
    progress = play("try:500", "retry")
    due = progress.delivery.next_attempt_at
    progress.begin()
    progress.finish(outcome("500"), NOW, 0.0)
    assert progress.delivery.next_attempt_at == due
    progress.retry()
    progress.begin()
    progress.finish(outcome("500", retry_after=3600), NOW, 0.0)
    assert progress.delivery.next_attempt_at == NOW + timedelta(hours=1)


def test_a_record_can_be_carried_into_another_run() -> None:
    for story in ("", "hold", "try:500", "try:500 hold", "try:500 retry", "try:ok", "try:disabled", "try:sent"):
        record = play(*story.split()).record
        carried = Progress.of(Delivery.model_validate_json(record.model_dump_json()))
        assert carried.record == record
        assert until_due(carried) == until_due(play(*story.split()))


def test_a_reopened_delivery_has_its_whole_schedule_again() -> None:
    failed = play("try:500", "try:500", "try:500").record
    progress = Progress.of(reopened(failed))
    assert progress.is_fresh
    assert progress.begin() == "manual"
    progress.finish(outcome("500"), NOW, 0.0)
    assert progress.record.status == "retrying"
    assert progress.record.attempts[-1].number == 4
    assert progress.begin() == "scheduled"


def test_memory_is_bounded() -> None:
    progress = Progress.of(Delivery(id="wh_1", webhook_id="wh_1"))
    for _ in range(KEPT_ATTEMPTS + 50):
        progress.retry()
        progress.begin()
        progress.finish(outcome("500"), NOW, 0.0)
    record = progress.record
    assert len(record.attempts) == KEPT_ATTEMPTS
    assert record.attempts_omitted == 50
    assert record.attempts[-1].number == KEPT_ATTEMPTS + 50 == record.attempts_made


@pytest.mark.parametrize("command", ["cancel", "retry", "hold", "release", "redeliver"])
@pytest.mark.parametrize(
    "story", ["", "try:500", "hold", "try:ok", "try:410", "cancel"], ids=lambda story: story or "pending"
)
def test_a_command_is_taken_or_refused_with_a_reason(command: Command, story: str) -> None:
    record = play(*story.split()).record
    if record.status in ELIGIBLE[command]:
        assert select(command, [record], "wh_1") == ["wh_1"]
        progress = Progress.of(record)
        getattr(progress, "retry" if command == "redeliver" else command)()
    else:
        with pytest.raises(Refused, match=f"cannot {command} delivery wh_1: it is {record.status}"):
            select(command, [record], "wh_1")


def test_a_retry_of_all_leaves_alone_what_a_person_stopped() -> None:
    stories = {"a": "try:500", "b": "hold", "c": "cancel", "d": "try:ok", "e": "try:410"}
    records = [play(*story.split()).record.model_copy(update={"id": id_}) for id_, story in stories.items()]
    assert select("retry", records, None) == ["a", "e"]
    assert select("redeliver", records, None) == list(stories)
    assert select("cancel", records, None) == ["a", "b"]
    with pytest.raises(UnknownDelivery, match="no delivery nobody"):
        select("retry", records, "nobody")
    with pytest.raises(Refused, match="every delivery is succeeded"):
        select("retry", [records[3]], None)
    with pytest.raises(Refused, match="has no deliveries"):
        select("cancel", [], None)


@given(
    st.lists(
        st.sampled_from(
            [
                *("try:ok", "try:500", "try:410", "try:disabled", "try:sent", "ann:bounced", "ann:delivered"),
                *("cancel", "retry", "hold", "release"),
            ]
        ),
        max_size=30,
    )
)
def test_no_story_leads_to_a_dead_end(steps: list[str]) -> None:
    """An open delivery is due some time, or held, and says so; a final one waits for nothing."""
    progress = Progress.of(Delivery(id="wh_1", webhook_id="wh_1"))
    for step in steps:
        action, _, result = step.partition(":")
        if action == "try" and until_due(progress) is not None:
            progress.begin()
            progress.finish(outcome(result), NOW, 0.0)
        elif action == "ann":
            progress.hear(receipt(cast(ReceiptKind, result), attempt=progress.delivery.attempts_made))
        elif action != "try" and progress.record.status in ELIGIBLE[action]:  # type: ignore[index]
            getattr(progress, action)()
        due = until_due(progress)
        record = progress.record
        if record.is_final:
            assert due is None
            assert not (progress.held or progress.forced or progress.cancelling)
        else:
            assert (due is None) == (record.status == "held" and not progress.forced)
        assert [each.number for each in record.attempts] == list(range(1, len(record.attempts) + 1))
