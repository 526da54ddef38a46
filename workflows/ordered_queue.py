"""The lane of an ordered webhook: its events stand in line, in the order of their acceptance, and one has its turn.

A place is taken before the run of the event is started (`hookkeeper.temporal.ordered_queues`), and 202 is sent after
both. So an event that is posted after another's 202 is behind it; of two that are posted at once, either may be first.

The queue grants the run at its head its turn (`grant`); the run says when those behind may go on (`done`): when its
delivery is final, or, with `skip`, has failed once. What goes wrong between them:

- A place, and no run: the API died in between, or another event has the id. The run is looked for, and believed not to
  be there when it was missed for half a minute. So much time it costs, at the head. Pauses are counted, since
  `workflow.now()` can be that of an earlier step on a new worker.
- A place that was taken before: a caller has posted the event again. It is one place while somebody stands there; taken
  anew later, it is passed at once, since the run says that it is done, or is closed.
- A run that ends without a word, because it was terminated: whoever has the turn is looked after, from a minute on.
- A run that does not answer, because its code fails: after a minute of silence those behind it go on without it where
  the policy is `skip`; where it is `block`, the lane says in log, web UI and state that it is stuck.
- A run, and no place: it cannot come to that by itself. The place was taken first; whoever stands here is carried from
  run to run of the lane; Temporal takes neither the end nor a new beginning of a run to which a signal has come
  meanwhile. But a person can terminate a lane, and one that is more than full takes no more. A lane that is started
  after one that was terminated begins with what visibility finds: open events of the webhook, in the order in which
  their runs were started. And a run that waits takes its place again every hour, which is none where it has it still.

Each step can be repeated: a turn that was given twice is one turn, and a place that was passed twice was passed.

This code is for ever, like that of `workflows.event`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import FailureError

from activities.ordered_queue import OrderedQueueActivities
from hookkeeper import ids
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

GRACE = timedelta(seconds=30)
"""For so long a run may still be about to start: acceptance has five seconds."""
SOON, OFTEN = timedelta(seconds=0.1), timedelta(seconds=5)
"""A run that is not there is looked for soon, and then each time after twice as long, up to the second of these."""
CHECK, SELDOM = timedelta(minutes=1), timedelta(minutes=10)
"""One that has the turn is looked after in the same way."""
STUCK_AFTER, ASK_INTERVAL = timedelta(minutes=1), timedelta(seconds=10)
"""A run that does not answer is asked again after the second of these; after the first, it is stuck. A worker that was
killed keeps a run from answering for some seconds only."""
IDLE = timedelta(minutes=1)
"""With nobody in line for so long, the lane ends; the next event starts it again."""
LONG_HISTORY = 2_000
"""Events after which a lane goes on as a new run."""
ROOM_AGAIN = 9_000
"""Places below which events are accepted again, once there were `QUEUE_LIMIT`."""
MOST = 15_000
"""Places that can be carried to a new run: at up to 131 bytes each, they must fit into 2 MB."""


@dataclass
class Turn:
    """The turn of one place, as far as the lane knows."""

    given: bool = False
    pause: timedelta = SOON
    """Until the next look."""
    missed: timedelta = timedelta()
    """For so long there has been no run."""
    silent: timedelta | None = None
    """For so long the run has not answered; None: it has, when it was asked last."""

    def begin(self) -> None:
        """Note that the run has been told."""
        self.given, self.pause, self.missed = True, CHECK, timedelta()

    def note(self, sight: QueuedRun) -> None:
        """Note what a look at the run came to."""
        self.given = self.given and not sight.waits
        if sight.found != "silent":
            self.silent = None
        elif self.silent is None:
            self.silent, self.pause = timedelta(), ASK_INTERVAL / 2  # it is lengthened after each look
        else:
            self.silent += self.pause

    @property
    def is_stuck(self) -> bool:
        return self.silent is not None and self.silent >= STUCK_AFTER

    def lengthen_pause(self) -> None:
        """Look again after twice as long; at one that has just become silent, often."""
        self.pause = min(2 * self.pause, self._longest_pause)

    @property
    def _longest_pause(self) -> timedelta:
        if self.silent is not None and not self.is_stuck:
            return ASK_INTERVAL
        return SELDOM if self.given else OFTEN


@workflow.defn(name=ids.ORDERED_QUEUE)
class OrderedQueueWorkflow:
    """One ordered webhook."""

    @workflow.init
    def __init__(self, line: QueueInput) -> None:
        self._line = line
        self._places = dict.fromkeys(line.places)
        """In order."""
        self._is_ordered = True
        self._look_now = False
        self._stuck_since: datetime | None = None
        self._full = bool(workflow.memo_value(ids.QUEUE_FULL, default=False))

    @workflow.run
    async def run(self, line: QueueInput) -> None:
        """Give turns until nobody has come for a while."""
        if line.rebuild:
            await self._rebuild()
        while await self._somebody_waits():
            await self._see_through(next(iter(self._places)))
            if self._history_is_long():
                line = self._line.model_copy(update={"places": tuple(self._places), "rebuild": False})
                workflow.continue_as_new(line, memo={ids.QUEUE_FULL: self._full})

    # What runs and the API say

    @workflow.signal(name=ids.ENQUEUE, description="Add an event.")
    def enqueue(self, place: str) -> None:
        if place in self._places:
            return
        if len(self._places) >= MOST:
            workflow.logger.warning("the lane is more than full: %s has to come again", place)
            return
        self._places[place] = None
        self._look_now = self._look_now or not self._is_ordered  # whoever sent it knows of an order
        self._tell_whether_full()

    @workflow.signal(name=ids.DONE, description="The events behind this one may go on.")
    def done(self, place: str) -> None:
        self._places.pop(place, None)
        self._tell_whether_full()

    @workflow.signal(name=ids.CHECK, description="Check whether the webhook is still ordered.")
    def check(self) -> None:
        self._look_now = True

    @workflow.query
    def places(self) -> list[str]:
        """Say who stands in line: ids of events, with a dot and a number where a part is meant."""
        return list(self._places)

    @workflow.query(name=ids.STATE)
    def state(self) -> OrderedQueueState:
        """Give the number of events, the one that has the turn, and whether it is stuck."""
        return OrderedQueueState(
            waiting=len(self._places), head=next(iter(self._places), None), stuck_since=self._stuck_since
        )

    # The story

    async def _rebuild(self) -> None:
        """Find what waits, and put it in front of what has come since this lane was started."""
        waiting = await run_until_done(
            OrderedQueueActivities.find_waiting,
            WaitingEventsQuery(
                webhook_id=self._line.webhook_id, tenant=self._line.tenant, started_at=workflow.info().start_time
            ),
            start_to_close_timeout=timedelta(minutes=2),
            priority=Priority(fairness_key=self._line.tenant),
            summary="find what waits",
        )
        self._places = dict.fromkeys((*waiting.before, *self._places, *waiting.after))
        if waiting.before:
            workflow.logger.warning("the lane had been terminated: it goes on with %d events", len(self._places))
        self._tell_whether_full()

    async def _somebody_waits(self) -> bool:
        if not self._places:
            await self._wait(lambda: bool(self._places), IDLE, "nobody is in line")
        return bool(self._places)

    async def _see_through(self, place: str) -> None:
        """Let somebody have the turn, until it is passed on or nobody has to wait any more."""
        turn = Turn()
        while self._is_at(place):
            if not turn.given and await self._give_turn(place):
                turn.begin()
            if turn.given and not (self._is_ordered or self._look_now):
                self.done(place)
            elif turn.given:
                await self._until_touched(place, turn.pause)
            if self._is_at(place):
                await self._look_after(place, turn)
        self._set_stuck(None)

    async def _look_after(self, place: str, turn: Turn) -> None:
        sight = await self._look(place)
        turn.note(sight)
        if turn.missed >= GRACE or self._need_not_wait(sight, turn):
            if sight.found == "silent":
                workflow.logger.warning("%s does not answer: those behind it go on without it", place)
            self.done(place)
            return
        self._set_stuck(place if turn.is_stuck else None)
        if not turn.given and await self._until_touched(place, turn.pause):
            turn.missed = turn.missed + turn.pause if sight.found == "unknown" else timedelta()
        turn.lengthen_pause()

    def _set_stuck(self, place: str | None) -> None:
        """Say in log, web UI and state that the run of this place holds the others up; None: that none does."""
        if place is None:
            if self._stuck_since is not None:
                workflow.set_current_details("")
            self._stuck_since = None
            return
        self._stuck_since = self._stuck_since or workflow.now()
        workflow.set_current_details(
            f"stuck: the run of {place} does not answer, and {len(self._places) - 1} wait for it"
        )
        workflow.logger.warning(
            "the lane of %s is stuck: the run of %s does not answer, and %d wait for it: repair or terminate that run",
            self._line.webhook_id,
            place,
            len(self._places) - 1,
        )

    def _is_at(self, place: str) -> bool:
        return place in self._places and not self._history_is_long()

    async def _give_turn(self, place: str) -> bool:
        """Tell the run; False where there is none, or it is closed."""
        run = workflow.get_external_workflow_handle(ids.run_at(self._line.tenant, place))
        try:
            await run.signal(ids.GRANT, self._line.webhook_id)
        except FailureError:
            return False
        return True

    async def _look(self, place: str) -> QueuedRun:
        self._look_now = False
        sight = await run_until_done(
            OrderedQueueActivities.check_granted,
            QueuePosition(webhook_id=self._line.webhook_id, tenant=self._line.tenant, place=place),
            start_to_close_timeout=timedelta(seconds=20),
            priority=Priority(fairness_key=self._line.tenant),
            summary=f"look after {place}",
        )
        self._is_ordered = sight.ordered is not None
        return sight

    def _need_not_wait(self, sight: QueuedRun, turn: Turn) -> bool:
        """Say whether those behind may go on, although nobody has passed the turn on."""
        if sight.found == "silent":
            return sight.ordered is None or (sight.ordered == "skip" and turn.is_stuck)
        if sight.found == "open":
            return turn.given and (sight.ordered is None or (sight.ordered == "skip" and sight.failed))
        return sight.found == "over"

    async def _until_touched(self, place: str, pause: timedelta) -> bool:
        """Wait; say whether the time has passed."""
        return await self._wait(lambda: self._look_now or not self._is_at(place), pause, f"the turn of {place}")

    async def _wait(self, condition: Callable[[], bool], pause: timedelta, summary: str) -> bool:
        return not condition() and await timers.passes(pause, condition, summary)

    def _tell_whether_full(self) -> None:
        """Let acceptance see when there is no room, and when there is again."""
        full = len(self._places) >= (ROOM_AGAIN if self._full else QUEUE_LIMIT)
        if full != self._full:
            self._full = full
            workflow.upsert_memo({ids.QUEUE_FULL: full})

    def _history_is_long(self) -> bool:
        return workflow.info().get_current_history_length() > LONG_HISTORY
