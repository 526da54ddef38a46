"""What people can ask of a run: signals (Temporal UI and CLI) and updates (the API, which wants an answer).

Both do the same; an update refuses what makes no sense, a signal that makes none is logged and ignored. Each takes an
optional delivery id; none means all.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from temporalio import workflow

from activities.rounds import RoundResult
from hookkeeper import ids
from hookkeeper.commands import Refused, RunIsClosing, UnknownDelivery, select
from hookkeeper.messages.event import Command, Heard
from workflows.places import Places
from workflows.progress import Progress


@dataclass(eq=False)
class RoundUnderWay:
    """Deliveries whose attempts are being made."""

    deliveries: list[Progress]
    result: asyncio.Task[RoundResult]
    stopped: bool = False

    def stop_if_nobody_wants_it(self) -> None:
        """Cancel an activity that waits in a queue or between tries; one that is sending still says what came of it."""
        if self.stopped:
            return
        if all(progress.cancelling for progress in self.deliveries) or self._waits_in_vain():
            self.stopped = True
            self.result.cancel()

    def _waits_in_vain(self) -> bool:
        """A person wants it held, or wants it now, and it may wait in the limited queue for hours."""
        return all(each.pace is not None and (each.held or each.forced) for each in self.deliveries)


class Controls(Places):
    """The part of `EventWorkflow` that listens."""

    _rounds: list[RoundUnderWay]
    _deliver_at: datetime | None
    _time_has_come: bool
    """The timer of `deliver_at` has fired, or a person has released the event before."""
    _finished_at: datetime | None

    @workflow.signal(name="cancel", description="Stop one delivery, or all.")
    def signal_cancel(self, delivery: str | None = None) -> None:
        self._apply_if_sensible("cancel", delivery)

    @workflow.signal(name="retry", description="Attempt one delivery now, or all that have not succeeded.")
    def signal_retry(self, delivery: str | None = None) -> None:
        self._apply_if_sensible("retry", delivery)

    @workflow.signal(name="hold", description="Keep one delivery, or all, until released.")
    def signal_hold(self, delivery: str | None = None) -> None:
        self._apply_if_sensible("hold", delivery)

    @workflow.signal(name="release", description="Let held deliveries go on; deliver a scheduled event now.")
    def signal_release(self, delivery: str | None = None) -> None:
        self._apply_if_sensible("release", delivery)

    @workflow.signal(name=ids.RELEASE_WEBHOOK, description="Let go on what is held because this webhook was off.")
    def signal_release_webhook(self, webhook_id: str) -> None:
        for progress in self._deliveries.values():
            if progress.delivery.webhook_id == webhook_id and progress.is_held_by_webhook:
                progress.release()
                if not progress.in_flight:
                    progress.passed.add("next_attempt_at")  # it was due when it was held
        self._update_search_attributes()

    @workflow.signal(name=ids.RECEIPT, description="What a mail provider says of an email on its way.")
    def signal_receipt(self, heard: Heard) -> None:
        progress = self._deliveries.get(heard.delivery)
        if progress and self._finished_at is None:
            progress.hear(heard.receipt)
            self._tell(progress)

    @workflow.update(name="cancel")
    def cancel(self, delivery: str | None = None) -> None:
        self._apply("cancel", delivery)

    @workflow.update(name="retry")
    def retry(self, delivery: str | None = None) -> None:
        self._apply("retry", delivery)

    @workflow.update(name="hold")
    def hold(self, delivery: str | None = None) -> None:
        self._apply("hold", delivery)

    @workflow.update(name="release")
    def release(self, delivery: str | None = None) -> None:
        self._apply("release", delivery)

    @workflow.update(name="redeliver")
    def redeliver(self, delivery: str | None = None) -> None:
        self._apply("redeliver", delivery)

    @workflow.update(name=ids.RESCHEDULE)
    def reschedule(self, deliver_at: datetime) -> None:
        """Move a scheduled event to another time."""
        self._deliver_at = deliver_at
        self._list_time(deliver_at)

    def _list_time(self, deliver_at: datetime) -> None:
        """Let lists say when the event is to be delivered."""
        workflow.upsert_search_attributes([ids.DELIVER_AT.value_set(deliver_at)])

    @cancel.validator
    def _check_cancel(self, delivery: str | None = None) -> None:
        self._select("cancel", delivery)

    @retry.validator
    def _check_retry(self, delivery: str | None = None) -> None:
        self._select("retry", delivery)

    @hold.validator
    def _check_hold(self, delivery: str | None = None) -> None:
        self._select("hold", delivery)

    @release.validator
    def _check_release(self, delivery: str | None = None) -> None:
        self._select("release", delivery)

    @redeliver.validator
    def _check_redeliver(self, delivery: str | None = None) -> None:
        self._select("redeliver", delivery)

    @reschedule.validator
    def _check_reschedule(self, deliver_at: datetime) -> None:
        if not self._is_scheduled():
            raise Refused("the event is not scheduled: its delivery has begun")

    def _apply_if_sensible(self, command: Command, delivery: str | None) -> None:
        try:
            self._apply(command, delivery)
        except (Refused, RunIsClosing, UnknownDelivery) as refusal:
            workflow.logger.warning("signal ignored: %r", refusal)

    def _apply(self, command: Command, delivery: str | None) -> None:
        chosen = [self._deliveries[id_] for id_ in self._select(command, delivery)]
        if command == "release" and delivery is None and self._is_scheduled():
            self._deliver_at, self._time_has_come = workflow.now(), True
        act: dict[Command, Callable[[Progress], None]] = {
            "cancel": Progress.cancel,
            "retry": Progress.retry,
            "redeliver": Progress.retry,
            "hold": Progress.hold,
            "release": Progress.release,
        }
        for progress in chosen:
            act[command](progress)
        for round_ in self._rounds:
            round_.stop_if_nobody_wants_it()
        self._update_search_attributes()

    def _select(self, command: Command, delivery: str | None) -> list[str]:
        """Give the ids of the deliveries that are meant; raise where the command makes no sense."""
        if self._finished_at is not None:
            raise RunIsClosing
        records = [progress.record for progress in self._deliveries.values()]
        if self._is_scheduled():
            if command in ("retry", "redeliver"):
                raise Refused("the event is scheduled: release it to deliver it now")
            if command == "release" and delivery is None:
                return [record.id for record in records if record.status == "held"]
        return select(command, records, delivery)

    def _is_scheduled(self) -> bool:
        """The event waits for its time."""
        return self._deliver_at is not None and not self._time_has_come
