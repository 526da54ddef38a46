"""Accepts the events of a batch at the same time, each with its own answer."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic import ValidationError

from api import views
from api.deps import EventEntry
from api.errors import as_event_problem, from_validation
from api.problems import Problem, ServiceUnavailable, document
from api.schemas.events import EventBatchItem
from hookkeeper import metrics
from hookkeeper.services.ingest import PlaceInBatch
from hookkeeper.services.new_event import NewEvent, new_event_id

MAX_CONCURRENT_EVENTS = 100
"""Events of a batch that are accepted at the same time: as many as share two runs."""


class BatchIngest:
    """One for each batch."""

    def __init__(self, entry: EventEntry, events: Sequence[Any]) -> None:
        self._caller, self._ingest, self._links = entry
        self._events = events
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_EVENTS)
        self._earlier = _EarlierEvents(len(events))
        self._outage: Exception | None = None

    async def accept(self) -> list[EventBatchItem]:
        """Accept all events; return their answers in order."""
        async with asyncio.TaskGroup() as group:
            accepting = [group.create_task(self._accept_at(n, event)) for n, event in enumerate(self._events)]
        return [task.result() for task in accepting]

    async def _accept_at(self, position: int, raw: Any) -> EventBatchItem:
        try:
            async with self._slots:
                place = PlaceInBatch(self._earlier.before(position), partial(self._earlier.end, position))
                return await self._accept(raw, place)
        finally:
            self._earlier.end(position)

    async def _accept(self, raw: Any, place: PlaceInBatch) -> EventBatchItem:
        """Accept one event.

        After an outage, later events are not tried, since each would wait as long. They get the same answer, with
        their own ids.
        """
        try:
            event = self._caller.with_tenant(NewEvent.model_validate(raw))
        except ValidationError as error:
            return _refused(from_validation(error.errors()))
        except Problem as forbidden:
            return _refused(forbidden)
        event_id = event.id or new_event_id()
        try:
            if self._outage:
                raise self._outage
            started = await self._ingest.accept(event, event_id, place)
        except Exception as error:  # noqa: BLE001 - `as_event_problem` logs what is a bug
            problem = as_event_problem(error, event_id)
            if problem.status_code == ServiceUnavailable.status:
                self._outage = self._outage or error
            return _refused(problem)
        accepted = views.accepted(started, self._links)
        return EventBatchItem(status=200 if started.duplicate else 202, event=accepted)


class _EarlierEvents:
    """Tells the events of a batch when all before them have their places in the order, or need none.

    Each would otherwise wait for up to 999 others.
    """

    def __init__(self, size: int) -> None:
        self._ended = [False] * size
        self._first_open = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}

    def before(self, position: int) -> asyncio.Future[None]:
        """Return a future that is done when all events before this position have their places."""
        earlier = self._waiting[position] = asyncio.get_running_loop().create_future()
        self._tell()
        return earlier

    def end(self, position: int) -> None:
        self._ended[position] = True
        while self._first_open < len(self._ended) and self._ended[self._first_open]:
            self._first_open += 1
        self._tell()

    def _tell(self) -> None:
        if (earlier := self._waiting.get(self._first_open)) and not earlier.done():
            earlier.set_result(None)


def _refused(problem: Problem) -> EventBatchItem:
    metrics.count_refusal(problem.kind)
    return EventBatchItem(status=problem.status_code, problem=document(problem))
