"""The state machine of one delivery: what has happened, what was requested, what comes next.

Pure: `EventWorkflow` brings the time, the outcomes and the commands.
"""

from datetime import datetime

from hookkeeper.commands import reopened
from hookkeeper.kinds import KINDS
from hookkeeper.messages.event import LOST, NEED_ATTENTION, Delivery, Reason, Receipt, Trigger
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.statuses import FinalStatus
from workflows import delivery_status as status
from workflows.retry import delay_of_recheck, put_off, use_step, with_attempt


class DeliveryState:
    """One delivery of a run."""

    def __init__(self, record: Delivery, max_tracked_bytes: int = 500) -> None:
        self.record = record
        """What is kept of the delivery. While it is open, its status is in `snapshot`."""
        self.held = record.status == "held"
        self.forced = record.forced
        """An attempt was requested and has not begun."""
        self.redelivering = False
        """Redelivered during an attempt: another one follows, even if that one succeeds."""
        self.cancelling = False
        """Cancelled during an attempt, whose outcome still counts."""
        self.trigger: Trigger | None = None
        """The attempt in flight, if there is one."""
        self.is_forced_attempt = False
        """The attempt in flight was requested: it uses no step of the schedule."""
        self.due_at: datetime | None = None
        """When the attempt in flight was due."""
        self._was_held = False
        """A hold has ended since the latest attempt: the time of the schedule is not when the next one is due."""
        self.fired_timers: set[str] = set()
        """Names of the `due_times` whose timers have fired. Only timers decide, never the clock."""
        self.revision = 0
        """Counts commands and signals, so that a waiting run notices them."""
        self._max_tracked_bytes = max_tracked_bytes
        """Maximum bytes of recipients whose delivery receipts are tracked; above it, tracking is off."""

    @property
    def in_flight(self) -> bool:
        return self.trigger is not None

    @property
    def is_final(self) -> bool:
        return self.record.is_final

    @property
    def is_sent(self) -> bool:
        """The provider has accepted the email and will report whether it arrives."""
        return bool(self.record.awaiting)

    @property
    def is_queued(self) -> bool:
        return self.record.is_queued

    @property
    def is_new(self) -> bool:
        """The first attempt of the schedule is due."""
        return not (self.is_final or self.held or self.forced or self.is_queued or status.is_started(self.record))

    @property
    def can_share_batch(self) -> bool:
        """Its attempt is made as soon as it is due, together with others."""
        record = self.record
        return KINDS[record.channel].is_quick and record.rate is None and record.ordered is None

    @property
    def is_held_by_webhook(self) -> bool:
        """Held until its webhook is resumed or enabled."""
        return self.held and self.record.reason in ("webhook_disabled", "webhook_paused")

    @property
    def needs_attention(self) -> bool:
        """Retrying, held or failed."""
        # Not read from `snapshot`, which copies: this is read for all deliveries after each outcome.
        present = self.record.status if self.is_final else status.open_status(self.record, self.held)
        return present in NEED_ATTENTION

    @property
    def next_number(self) -> int:
        return self.record.attempts_made + 1

    @property
    def is_deferred_first(self) -> bool:
        """The attempt in flight is a first one that was deferred, to a webhook that is not known to hang."""
        record = self.record
        is_first = not (record.steps_taken or self.is_forced_attempt)
        return is_first and record.slot is not None and not record.degraded

    @property
    def snapshot(self) -> Delivery:
        """The delivery with its present status."""
        if self.is_final:
            return self.record
        present = {
            "status": status.open_status(self.record, self.held),
            "reason": status.open_reason(self.record, self.held),
            "forced": self.forced,
        }
        return self.record.model_copy(update=present)

    @property
    def due_times(self) -> dict[str, datetime]:
        """When something is due unless something happens before, by the names of fields."""
        if self.is_final or self.in_flight or self.forced:
            return {}
        return status.due_times(self.record, self.held)

    @property
    def is_due(self) -> bool:
        """Something is due now: there is nothing to wait for, or a timer has fired."""
        if self.is_final or self.in_flight:
            return False
        if self.forced:
            return True
        if not self.due_times:
            return not (self.held or self.is_queued)
        return not self.fired_timers.isdisjoint(self.due_times)

    # Attempts

    def begin_attempt(self, due_at: datetime | None = None) -> Trigger:
        """Start an attempt; return what triggered it: the schedule or a request.

        `due_at`: when it was due, unless its time is that of the schedule.
        """
        is_by_schedule = self.record.next_attempt_at is not None and not (self.forced or self._was_held)
        self.due_at, self._was_held = self.record.next_attempt_at if is_by_schedule else due_at, False
        is_first_of_redelivery = self.record.requested and not self.record.steps_taken
        self.is_forced_attempt, self.forced = self.forced, False
        self.trigger = "manual" if self.is_forced_attempt or is_first_of_redelivery else "scheduled"
        return self.trigger

    def finish_attempt(self, outcome: Outcome, now: datetime, jitter: float) -> None:
        """Record the outcome of the attempt in flight and determine what comes next."""
        assert self.trigger is not None
        trigger, self.trigger = self.trigger, None
        redelivering, self.redelivering = self.redelivering, False
        if outcome.target:
            self._update(target=outcome.target)
        if outcome.verdict == "webhook_deleted":
            return self._end("cancelled", "webhook_deleted")
        if outcome.verdict in ("held", "deferred"):
            self._postpone(outcome)
            return self._end("cancelled") if self.cancelling else None
        self.record = with_attempt(self.record, outcome, trigger, self.due_at)
        reached = (*self.record.reached, *outcome.reached)
        self._update(alerts=outcome.alerts, reached=reached, degraded=outcome.degraded, rechecks=0, held_until=None)
        if self.record.ordered is not None:  # the webhook's present policy counts
            self._update(ordered=outcome.ordered)
        self._settle(outcome, now, jitter)
        if not self.record.blocks_line:
            self._update(ordered=None)
        for receipt in self.record.receipts:  # the provider may report before our own attempt has returned
            self._apply_receipt(receipt)
        if redelivering:
            self.retry()
        return None

    def abandon_attempt(self) -> None:
        """Drop the attempt in flight, which was stopped. Another one may already be requested."""
        self.trigger, self.redelivering = None, False
        if self.cancelling:
            self._end("cancelled")

    def _postpone(self, outcome: Outcome) -> None:
        """Record that no request was made, which uses no step of the schedule."""
        if outcome.slot:  # it was deferred
            self._update(degraded=outcome.degraded, slot=outcome.slot)
            self._update(next_attempt_at=outcome.slot.at, held_until=None)
        elif not self.held:  # a hold by request keeps its reason
            self.held = True
            self._update(reason=outcome.held_by, slot=None)  # the reserved time is over when it is released

    def _settle(self, outcome: Outcome, now: datetime, jitter: float) -> None:
        if outcome.verdict == "succeeded":
            return self._track(outcome, now)
        if outcome.verdict in status.FINAL_REASONS and not self.forced:
            return self._end("failed", status.FINAL_REASONS[outcome.verdict])
        if self.cancelling:
            return self._end("cancelled")
        if self.is_forced_attempt:
            self._update(**put_off(self.record, outcome, now))
        else:
            self._update(**use_step(self.record, outcome, now, jitter))
        if status.is_exhausted(self.record) and not self.forced:
            return self._end("failed", "exhausted")
        return None

    def add_receipt(self, receipt: Receipt) -> None:
        """Record what the provider reports. The last recipient reached, or the first one lost, ends the delivery."""
        if status.is_known(self.record, receipt):
            return
        self.revision += 1
        self.record = status.with_receipt(self.record, receipt)
        if not self.in_flight:
            self._apply_receipt(receipt)

    def stop_tracking(self) -> None:
        """Count the email as delivered: no receipt has come in time."""
        self._end("succeeded")

    def _track(self, outcome: Outcome, now: datetime) -> None:
        """Wait for receipts if the provider will send any; otherwise what was accepted counts as delivered."""
        if self.cancelling or not status.can_track(outcome, self._max_tracked_bytes):
            return self._end("succeeded")
        self.forced = self.held = False
        return self._update(**status.track(self.record, outcome, now))

    def _apply_receipt(self, receipt: Receipt) -> None:
        if not status.is_awaited(self.record, receipt):
            return
        if receipt.kind in LOST:
            self._end("failed", LOST[receipt.kind])
        elif receipt.kind in status.ARRIVED:
            self._update(awaiting=status.still_awaited(self.record, receipt))
            if not self.record.awaiting:
                self._end("succeeded")

    # Commands, which `hookkeeper.commands` has checked

    def cancel(self) -> None:
        self.revision += 1
        if self.in_flight:
            self.cancelling, self.forced, self.redelivering = True, False, False
        else:
            self._end("cancelled")

    def retry(self) -> None:
        """Make an attempt now, or after the one in flight unless it succeeds. A final delivery is reopened."""
        self.revision += 1
        self.cancelling = False
        if self.is_final:
            self.record = reopened(self.record)
            self.fired_timers.clear()
            return
        self.forced = True
        if self.is_sent:
            self._update(redelivered_from=self.next_number)

    def redeliver(self) -> None:
        """Make an attempt now, or after the one in flight, however it ends. A final delivery is reopened."""
        self.retry()
        self.redelivering = self.in_flight

    def hold(self) -> None:
        self.revision += 1
        self.held = True

    def release(self) -> None:
        """Continue the schedule. A later hold has its full time again."""
        self.revision += 1
        self.held, self._was_held = False, True
        self._update(reason=None, recheck_at=None, rechecks=0, held_until=None)

    def release_with_webhook(self) -> None:
        """Continue at once: the attempt was due when the webhook held the delivery."""
        self.release()
        if not self.in_flight:
            self.fired_timers.add("next_attempt_at")

    def schedule_recheck(self, now: datetime) -> None:
        """Recheck the webhook later: a release can have missed this delivery."""
        checks = self.record.rechecks
        self._update(recheck_at=now + delay_of_recheck(checks), rechecks=checks + 1)

    def recheck(self) -> None:
        """Let an attempt find out whether the webhook still holds the delivery. Until then the hold has not ended."""
        self.held, self._was_held = False, True
        self._update(reason=None, recheck_at=None)

    def limit_hold(self, until: datetime) -> None:
        if self.held and self.record.held_until is None:
            self._update(held_until=until)

    def end_hold(self) -> None:
        """Fail after the maximum hold. The webhook may want an alert."""
        self._update(alerts=True)
        self._end("failed", "held_too_long")

    def enqueue(self) -> None:
        """Take a place in the line, with the next record."""
        self._update(enqueued=True)

    def leave_line(self) -> None:
        """Note that a record will let the next one in the line go, if this one has left it."""
        if self.record.line and not self.record.blocks_line:
            self._update(line="", ordered=None)

    def grant(self) -> None:
        """Let it go: its turn has come."""
        self.revision += 1
        self._update(granted=True, reason=None)

    def _end(self, final: FinalStatus, reason: Reason | None = None) -> None:
        self.forced = self.held = self.cancelling = False
        self._update(status=final, reason=reason, next_attempt_at=None, recheck_at=None, held_until=None)
        self._update(awaiting=(), awaiting_until=None)

    def _update(self, **changes: object) -> None:
        self.fired_timers -= changes.keys()  # a time that was set again has not come
        self.record = self.record.model_copy(update=changes)
