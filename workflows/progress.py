"""One delivery on its way: what has happened, what a person asked for, what comes next.

Pure: `EventWorkflow` brings the time, the outcomes and the commands.
"""

from datetime import datetime, timedelta

from hookkeeper.commands import reopened
from hookkeeper.content.context import AlertKind
from hookkeeper.messages.event import FINAL, Attempt, DeliveryStatus, Reason, Trigger
from hookkeeper.outcomes import Outcome, Verdict
from workflows.retry import next_delay
from workflows.standing import Standing

FINAL_REASONS: dict[Verdict, Reason] = {
    "gone": "gone",
    "forbidden_address": "forbidden_address",
    "rejected": "rejected",
    "bad_template": "bad_template",
}
"""Verdicts that no later attempt can change."""

LOOK_AGAIN, LOOK_SELDOM = timedelta(hours=1), timedelta(days=1)
"""What is held because of its webhook looks at it after the first of these, as a release can have missed it, and then
each time after twice as long, up to the second: nobody may ever turn the webhook on again."""

KEPT_ATTEMPTS = 200
"""Attempts that a run keeps in memory for one delivery; history has all of them."""


class Progress(Standing):
    """What happens to a delivery, and what it comes to."""

    def begin(self) -> Trigger:
        """Start an attempt; say whether the schedule or a person wanted it."""
        first_by_hand = self.delivery.by_hand and not self.delivery.steps_taken
        self.extra, self.forced = self.forced, False
        self.trigger = "manual" if self.extra or first_by_hand else "scheduled"
        return self.trigger

    # What came of an attempt

    def finish(self, outcome: Outcome, now: datetime, jitter: float) -> None:
        """Record the outcome of the attempt under way and settle what comes next."""
        assert self.trigger is not None
        trigger, self.trigger = self.trigger, None
        if outcome.target:
            self._update(target=outcome.target)
        if outcome.verdict == "webhook_deleted":
            return self._end("cancelled", "webhook_deleted")
        if outcome.verdict in ("held", "deferred"):
            self._put_off(outcome, now)
            return self._end("cancelled") if self.cancelling else None
        self._append(outcome, trigger)
        reached = (*self.delivery.reached, *outcome.reached)
        self._update(alerts=outcome.alerts, reached=reached, rate=outcome.rate, looks=0, held_until=None)
        self._obey_order(outcome.ordered)
        self.recovered = outcome.recovered
        self._settle(outcome, now, jitter, uses_a_step=not self.extra)
        if outcome.disabled and outcome.alerts:
            self.news = "disabled"  # for one cause, one alert: also where this has ended the delivery
        for receipt in self.delivery.receipts:  # the provider may be faster than our own answer
            self._judge(receipt)
        return None

    def _put_off(self, outcome: Outcome, now: datetime) -> None:
        """Record that no request was made, which uses no step of the schedule."""
        if outcome.verdict == "deferred":
            wait = timedelta(seconds=outcome.retry_after or 0)
            due = outcome.slot.at if outcome.slot else now + wait
            self._update(rate=outcome.rate, slot=outcome.slot, next_attempt_at=due, held_until=None)
            if not (wait or outcome.slot):
                self.passed.add("next_attempt_at")
        elif not self.held:  # what a person holds stays theirs to release
            self.held = True
            self._update(reason=outcome.held_by)

    def _append(self, outcome: Outcome, trigger: Trigger) -> None:
        assert outcome.started_at is not None
        attempt = Attempt(
            number=self.next_number,
            trigger=trigger,
            started_at=outcome.started_at,
            duration_ms=outcome.duration_ms,
            status_code=outcome.status_code,
            error=outcome.error,
            response_excerpt=outcome.response_excerpt,
        )
        attempts = (*self.delivery.attempts, attempt)
        dropped = max(0, len(attempts) - KEPT_ATTEMPTS)
        self._update(
            attempts=attempts[dropped:],
            attempts_omitted=self.delivery.attempts_omitted + dropped,
        )

    def _settle(self, outcome: Outcome, now: datetime, jitter: float, *, uses_a_step: bool) -> None:
        if outcome.verdict == "succeeded":
            return self._await_receipts(outcome, now) if self._can_await(outcome) else self._end("succeeded")
        if outcome.verdict in FINAL_REASONS:
            return self._end("failed", FINAL_REASONS[outcome.verdict])
        if self.cancelling:
            return self._end("cancelled")
        if uses_a_step:
            self._take_step(outcome, now, jitter)
        elif outcome.retry_after and self.delivery.next_attempt_at:
            asked = now + timedelta(seconds=outcome.retry_after)
            self._update(next_attempt_at=max(asked, self.delivery.next_attempt_at))
        if self.is_exhausted and not self.forced:
            return self._end("failed", "exhausted")
        return None

    def _take_step(self, outcome: Outcome, now: datetime, jitter: float) -> None:
        steps = self.delivery.steps_taken + 1
        delay = next_delay(outcome.delays, steps, outcome, jitter)
        due = None if delay is None else now + timedelta(seconds=delay)
        self._update(steps_taken=steps, next_attempt_at=due, slot=None)

    def abandon(self) -> None:
        """Give up the attempt under way, which was stopped; somebody may want it again by now."""
        self.trigger = None
        if self.cancelling:
            self._end("cancelled")

    def take_news(self) -> AlertKind | None:
        """Give what is to be told, once."""
        news, self.news = self.news, None
        return news

    # What a person asked for; `hookkeeper.commands` has said that it makes sense

    def cancel(self) -> None:
        self.touched += 1
        if self.in_flight:
            self.cancelling = True
        else:
            self._end("cancelled")

    def retry(self) -> None:
        """Make an attempt now, or right after the one under way; a final delivery is opened again."""
        self.touched += 1
        self.cancelling = False
        if self.is_final:
            self.delivery = reopened(self.delivery)
            self.passed.clear()
            return
        self.forced = True
        if self.is_sent:
            self._update(redelivered_from=self.next_number)

    def hold(self) -> None:
        self.touched += 1
        self.held = True

    def release(self) -> None:
        """Go on with the schedule. Held once more, it may be held as long again, and soon looks at its webhook."""
        self.touched += 1
        self.held = False
        self._update(reason=None, look_again_at=None, looks=0, held_until=None)

    def try_again(self) -> None:
        """Find out by an attempt whether the webhook still holds it; until that is made, the hold has not ended."""
        self.held = False
        self._update(reason=None, look_again_at=None)

    def limit_hold(self, until: datetime) -> None:
        """Let the present hold end then, unless it has a limit already."""
        if self.held and self.delivery.held_until is None:
            self._update(held_until=until)

    def end_hold(self) -> None:
        """Give up what has been held for too long; whether anyone wants to be told, the alert finds out."""
        self._update(alerts=True)
        self._end("failed", "held_too_long")

    def look_again(self, now: datetime) -> None:
        """Be released in an hour, or later where that was tried before, if nobody does it until then."""
        looks = self.delivery.looks
        self._update(look_again_at=now + min(LOOK_AGAIN * 2 ** min(looks, 10), LOOK_SELDOM), looks=looks + 1)

    def _end(self, status: DeliveryStatus, reason: Reason | None = None) -> None:
        assert status in FINAL
        self.forced = self.held = self.cancelling = False
        if status == "failed" and self.delivery.alerts:
            self.news = "failed"
        if status == "succeeded" and self.recovered:
            self.news = "recovered"
        self._update(status=status, reason=reason, next_attempt_at=None, look_again_at=None, held_until=None)
        self._update(awaiting=(), awaiting_until=None)
