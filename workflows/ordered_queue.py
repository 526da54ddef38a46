"""The queue of an ordered webhook: its events wait in the order of acceptance, and the event at the head may be sent.

An event is enqueued before its run is started (`hookkeeper.temporal.ordered_queues`), and its 202 is sent after both.
So an event that is posted after another's 202 is behind it; of two that are posted at once, either may be first.

The queue signals `grant` to the run at its head. The run signals `done` when the events behind it may go on: when its
delivery is final or, with the policy `skip`, has failed once. What can go wrong:

- A position without a run: the API stopped between the two, or another event has the id. The queue looks for the run
  and drops the position after half a minute without one. Pauses are added up, as `workflow.now()` can be the time of an
  earlier step on a new worker.
- An event that is enqueued twice: the caller posted it again. While it waits, this changes nothing. If it is added
  later, it is dropped at once: its run signals `done`, or is closed.
- A run that is terminated without `done`, and perhaps deleted: the queue checks on the run at its head, from one minute
  after the grant on.
- A run that does not answer: after a minute, the queue reports in its log, in the web UI and in its state that it is
  stuck. If the run's code has failed for a minute, the events behind it go on with the policy `skip`. A worker that is
  slow, absent or restarting lets no event go on.
- A run without a position: only if a person terminates or deletes the queue, or the queue exceeds its maximum. A queue
  that is started after such a one finds the open events of the webhook through visibility, in the order in which their
  runs were started. In addition, waiting runs enqueue again every hour. Otherwise positions are safe: an event is
  enqueued before its run exists, and Temporal neither completes nor continues a run that has just received a signal.

Every step is idempotent: granting twice, or removing a position twice, changes nothing.

This code is permanent, like that of `workflows.event`.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import FailureError

from activities.ordered_queue import OrderedQueueActivities
from hookkeeper import ids, temporal_names
from hookkeeper.messages.ordered_queue import (
    QUEUE_LIMIT,
    OrderedQueueState,
    QueuedRun,
    QueueInput,
    QueuePosition,
    WaitingEventsQuery,
)
from workflows import timers
from workflows.activities import run_until_done
from workflows.queue_head import Head

START_TIMEOUT = timedelta(seconds=30)
"""Time in which the run of a position must have started; acceptance takes five seconds at most."""
IDLE_TIMEOUT = timedelta(minutes=1)
"""An empty queue completes after this; the next event starts it again."""
LONG_HISTORY = 2_000
"""Events of history after which a queue continues as a new run."""
ACCEPT_AGAIN_BELOW = 9_000
"""A queue that has reached `QUEUE_LIMIT` accepts events again below this length."""
MAX_POSITIONS = 15_000
"""Positions that fit into the input of a new run (2 MB), at up to 131 bytes each."""


@workflow.defn(name=temporal_names.ORDERED_QUEUE)
class OrderedQueueWorkflow:
    @workflow.init
    def __init__(self, queue: QueueInput) -> None:
        self._input = queue
        self._positions = dict.fromkeys(queue.positions)
        """In order."""
        self._is_ordered = True
        self._check_requested = False
        self._stuck_since: datetime | None = None
        self._known_head = queue.head
        """From the run before this one, or for the one after it."""
        self._full = bool(workflow.memo_value(temporal_names.QUEUE_FULL, default=False))

    @workflow.run
    async def run(self, queue: QueueInput) -> None:
        """Serve one event after another, until none has come for a while."""
        if queue.rebuild:
            await self._rebuild()
        while await self._has_events():
            await self._serve(next(iter(self._positions)))
            if self._history_is_long():
                workflow.continue_as_new(self._next_input(), memo={temporal_names.QUEUE_FULL: self._full})

    # Signals and queries

    @workflow.signal(name=temporal_names.ENQUEUE, description="Add an event.")
    def enqueue(self, position: str) -> None:
        if position in self._positions:
            return
        if len(self._positions) >= MAX_POSITIONS:
            workflow.logger.warning(
                "the queue exceeds its maximum: %s is not added and has to be enqueued again", position
            )
            return
        self._positions[position] = None
        self._check_requested = self._check_requested or not self._is_ordered  # the webhook is ordered again
        self._publish_full()

    @workflow.signal(name=temporal_names.DONE, description="The events behind this one may go on.")
    def done(self, position: str) -> None:
        self._positions.pop(position, None)
        self._publish_full()

    @workflow.signal(name=temporal_names.CHECK, description="Check whether the webhook is still ordered.")
    def check(self) -> None:
        self._check_requested = True

    @workflow.query
    def positions(self) -> list[str]:
        """Return all positions in order: event ids, with a dot and a number for parts."""
        return list(self._positions)

    @workflow.query(name=temporal_names.STATE)
    def state(self) -> OrderedQueueState:
        """Return the number of events, the event at the head, and whether the queue is stuck."""
        return OrderedQueueState(
            waiting=len(self._positions), head=next(iter(self._positions), None), stuck_since=self._stuck_since
        )

    # Steps

    async def _rebuild(self) -> None:
        """Find the events that wait, and put them in front of those enqueued since this queue was started."""
        waiting = await run_until_done(
            OrderedQueueActivities.find_waiting_events,
            WaitingEventsQuery(
                webhook_id=self._input.webhook_id, tenant=self._input.tenant, started_at=workflow.info().start_time
            ),
            start_to_close_timeout=timedelta(minutes=2),
            priority=Priority(fairness_key=self._input.tenant),
            summary="find waiting events",
        )
        self._positions = dict.fromkeys((*waiting.before, *self._positions, *waiting.after))
        if waiting.before:
            workflow.logger.warning("the queue had been terminated: it continues with %d events", len(self._positions))
        self._publish_full()

    async def _has_events(self) -> bool:
        if not self._positions:
            await self._wait(IDLE_TIMEOUT, "the queue is empty", lambda: bool(self._positions))
        return bool(self._positions)

    async def _serve(self, position: str) -> None:
        """Grant the event at the head, and wait until it is done or need not be waited for."""
        head = self._take_known_head(position)
        while self._is_serving(position):
            if not head.granted and await self._grant(position):
                head.grant()
            if head.granted and not (self._is_ordered or self._check_requested):
                self.done(position)
            elif head.granted:
                await self._wait_at_head(position, head.pause)
            if self._is_serving(position):
                await self._check_head(position, head)
        if position in self._positions:  # the queue continues as a new run
            self._known_head = head.known(position, self._stuck_since)
        else:
            self._set_stuck(None)

    def _take_known_head(self, position: str) -> Head:
        """Return what the run before this one knew of the head, once; a new head if it was at another position."""
        known, self._known_head = self._known_head, None
        if known is None or known.position != position:
            return Head()
        self._stuck_since = known.stuck_since
        return Head.continue_from(known)

    async def _check_head(self, position: str, head: Head) -> None:
        run = await self._check_run(position, head)
        head.note(run)
        if head.missing >= START_TIMEOUT or self._need_not_wait(run, head):
            if head.silent is not None:
                workflow.logger.warning("%s does not answer: the events behind it go on", position)
            self.done(position)
            return
        self._set_stuck(position if head.is_stuck else None)
        if not head.granted and await self._wait_at_head(position, head.pause):
            head.missing = head.missing + head.pause if run.status == "not_found" else timedelta()
        head.lengthen_pause()

    def _set_stuck(self, position: str | None) -> None:
        """Report in log, web UI and state that the run at this position blocks the others; None: that none does."""
        if position is None:
            if self._stuck_since is not None:
                workflow.set_current_details("")
            self._stuck_since = None
            return
        self._stuck_since = self._stuck_since or workflow.now()
        behind = len(self._positions) - 1
        workflow.set_current_details(f"stuck: the run of {position} does not answer, and {behind} wait for it")
        workflow.logger.warning(
            "the queue of %s is stuck: the run of %s does not answer, and %d wait for it: repair or terminate that run",
            self._input.webhook_id,
            position,
            behind,
        )

    def _is_serving(self, position: str) -> bool:
        """Return whether the position is neither done nor left to the queue's next run."""
        return position in self._positions and not self._history_is_long()

    async def _grant(self, position: str) -> bool:
        """Signal the run; False if there is none, or it is closed."""
        run = workflow.get_external_workflow_handle(ids.run_at(self._input.tenant, position))
        try:
            await run.signal(temporal_names.GRANT, self._input.webhook_id)
        except FailureError:
            return False
        return True

    async def _check_run(self, position: str, head: Head) -> QueuedRun:
        self._check_requested = False
        run = await run_until_done(
            OrderedQueueActivities.check_queued_run,
            QueuePosition(
                webhook_id=self._input.webhook_id, tenant=self._input.tenant, position=position, granted=head.granted
            ),
            start_to_close_timeout=timedelta(seconds=20),
            priority=Priority(fairness_key=self._input.tenant),
            summary=f"check {position}",
        )
        self._is_ordered = run.ordered is not None
        return run

    def _need_not_wait(self, run: QueuedRun, head: Head) -> bool:
        """Return whether the events behind may go on, although the run has not signalled `done`."""
        if head.silent is not None:
            return run.ordered is None or (run.ordered == "skip" and head.may_be_skipped)
        if run.status == "open":
            return head.granted and (run.ordered is None or (run.ordered == "skip" and run.failed))
        return run.status == "closed"

    async def _wait_at_head(self, position: str, pause: timedelta) -> bool:
        """Wait until the next check is due; False if the event is done, or a check was requested."""
        return await self._wait(
            pause, f"{position} is at the head", lambda: self._check_requested or not self._is_serving(position)
        )

    async def _wait(self, pause: timedelta, summary: str, unless: Callable[[], bool]) -> bool:
        return not unless() and await timers.passes(pause, summary, unless)

    def _publish_full(self) -> None:
        """Keep the memo up to date by which the API sees that the queue is full."""
        full = len(self._positions) >= (ACCEPT_AGAIN_BELOW if self._full else QUEUE_LIMIT)
        if full != self._full:
            self._full = full
            workflow.upsert_memo({temporal_names.QUEUE_FULL: full})

    def _next_input(self) -> QueueInput:
        return self._input.model_copy(
            update={"positions": tuple(self._positions), "head": self._known_head, "rebuild": False}
        )

    def _history_is_long(self) -> bool:
        return workflow.info().get_current_history_length() > LONG_HISTORY
