"""The lane of an ordered webhook: its events stand in line, in the order of their acceptance, and one has its turn.

A place is taken before the run of the event is started (`workflows.lanes`), and 202 is sent after both. So an event
that is posted after another's 202 stands behind it; of two that are posted at once, either may be first.

The lane tells the run whose turn it is (`turn`); the run says when those behind may go on (`passed`): when its delivery
is final, or, with `skip`, has failed once. What goes wrong between them:

- A place, and no run: the API died in between, or another event has the id. The run is looked for, and believed not to
  be there when it was missed for half a minute. So much time it costs, at the head. Pauses are counted, since
  `workflow.now()` can be that of an earlier step on a new worker.
- A place that was taken before: a caller has posted the event again. It is one place while somebody stands there; taken
  anew later, it is passed at once, since the run says that it is done, or is closed.
- A run that ends without a word, because it was terminated: whoever has the turn is looked after, from a minute on.
- A run, and no place: it cannot come to that by itself. The place was taken first; whoever stands here is carried from
  run to run of the lane; Temporal takes neither the end nor a new beginning of a run to which a signal has come
  meanwhile. But somebody can terminate a lane, and one that is more than full takes no more. So whoever waits takes a
  place again every hour, which is none where they have it still.

Each step can be repeated: a turn that was given twice is one turn, and a place that was passed twice was passed.

This code is for ever, like that of `workflows.event`.
"""

from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError

from activities.lanes import LaneActivities, Place, Sight
from activities.outcomes import Message
from workflows import names
from workflows.our_faults import OUR_FAULTS

GRACE = timedelta(seconds=30)
"""For so long a run may still be about to start: acceptance has five seconds."""
SOON, OFTEN = timedelta(seconds=0.1), timedelta(seconds=5)
"""A run that is not there is looked for soon, and then each time after twice as long, up to the second of these."""
CHECK, SELDOM = timedelta(minutes=1), timedelta(minutes=10)
"""One that has the turn is looked after in the same way."""
IDLE = timedelta(minutes=1)
"""With nobody in line for so long, the lane ends; the next event starts it again."""
LONG_HISTORY = 2_000
"""Events after which a lane goes on as a new run."""
FULL, ROOM_AGAIN = 10_000, 9_000
"""Places from which on no event is accepted, and below which they are again."""
MOST = 15_000
"""Places that can be carried to a new run: at up to 131 bytes each, they must fit into 2 MB."""


class Line(Message):
    """What starts a lane."""

    webhook_id: str
    tenant: str
    places: tuple[str, ...] = ()
    """Who stands in line, when a lane goes on as a new run."""


@workflow.defn(name=names.LANE)
class LaneWorkflow:
    """One ordered webhook."""

    @workflow.init
    def __init__(self, line: Line) -> None:
        self._line = line
        self._places = dict.fromkeys(line.places)
        """In order."""
        self._is_ordered = True
        self._look_now = False
        self._full = bool(workflow.memo_value(names.LANE_FULL, default=False))

    @workflow.run
    async def run(self, line: Line) -> None:
        """Give turns until nobody has come for a while."""
        while await self._somebody_waits():
            await self._see_through(next(iter(self._places)))
            if self._history_is_long():
                line = self._line.model_copy(update={"places": tuple(self._places)})
                workflow.continue_as_new(line, memo={names.LANE_FULL: self._full})

    # What runs and the API say

    @workflow.signal(description="An event takes a place.")
    def join(self, place: str) -> None:
        if place in self._places:
            return
        if len(self._places) >= MOST:
            workflow.logger.warning("the lane is more than full: %s has to come again", place)
            return
        self._places[place] = None
        self._look_now = self._look_now or not self._is_ordered  # whoever sent it knows of an order
        self._tell_whether_full()

    @workflow.signal(description="Those behind this place may go on.")
    def passed(self, place: str) -> None:
        self._places.pop(place, None)
        self._tell_whether_full()

    @workflow.signal(description="Look whether there is still an order to keep.")
    def look(self) -> None:
        self._look_now = True

    @workflow.query
    def places(self) -> list[str]:
        """Say who stands in line: ids of events, with a dot and a number where a part is meant."""
        return list(self._places)

    # The story

    async def _somebody_waits(self) -> bool:
        if not self._places:
            await self._wait(lambda: bool(self._places), IDLE, "nobody is in line")
        return bool(self._places)

    async def _see_through(self, place: str) -> None:
        """Let somebody have the turn, until it is passed on or nobody has to wait any more."""
        given, pause, missed = False, SOON, timedelta()
        while self._is_at(place):
            if not given and await self._give_turn(place):
                given, pause = True, CHECK
                if missed and workflow.patched("found-is-not-missed"):
                    missed = timedelta()
            if given and not (self._is_ordered or self._look_now):
                self.passed(place)
            elif given:
                await self._until_touched(place, pause)
            if self._is_at(place):
                sight = await self._look(place)
                given = given and not sight.waits
                if missed >= GRACE or self._need_not_wait(sight, given):
                    self.passed(place)
                elif not given and await self._until_touched(place, pause):
                    missed = missed + pause if sight.found == "unknown" else timedelta()
                pause = min(2 * pause, SELDOM if given else OFTEN)

    def _is_at(self, place: str) -> bool:
        return place in self._places and not self._history_is_long()

    async def _give_turn(self, place: str) -> bool:
        """Tell the run; False where there is none, or it is closed."""
        run = workflow.get_external_workflow_handle(names.run_at(self._line.tenant, place))
        try:
            await run.signal("turn", self._line.webhook_id)
        except FailureError:
            return False
        return True

    async def _look(self, place: str) -> Sight:
        self._look_now = False
        sight = await workflow.execute_activity_method(
            LaneActivities.look_after_turn,
            Place(webhook_id=self._line.webhook_id, tenant=self._line.tenant, place=place),
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=OUR_FAULTS,
            summary=f"look after {place}",
        )
        self._is_ordered = sight.ordered is not None
        return sight

    def _need_not_wait(self, sight: Sight, given: bool) -> bool:
        """Say whether those behind may go on, although nobody has passed the turn on."""
        if sight.found == "open":
            return given and (sight.ordered is None or (sight.ordered == "skip" and sight.failed))
        return sight.found == "over"

    async def _until_touched(self, place: str, pause: timedelta) -> bool:
        """Wait; say whether the time has passed."""
        return await self._wait(lambda: self._look_now or not self._is_at(place), pause, f"the turn of {place}")

    async def _wait(self, condition: Callable[[], bool], pause: timedelta, summary: str) -> bool:
        if condition():
            return False
        try:
            await workflow.wait_condition(condition, timeout=pause, timeout_summary=summary)
        except TimeoutError:
            return True
        return False

    def _tell_whether_full(self) -> None:
        """Let acceptance see when there is no room, and when there is again."""
        full = len(self._places) >= (ROOM_AGAIN if self._full else FULL)
        if full != self._full:
            self._full = full
            workflow.upsert_memo({names.LANE_FULL: full})

    def _history_is_long(self) -> bool:
        return workflow.info().get_current_history_length() > LONG_HISTORY
