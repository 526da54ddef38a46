"""One command on its way to an event: to its run, or to each of its parts."""

import asyncio
from datetime import datetime
from typing import Any, Literal

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowHandle

from hookkeeper import ids
from hookkeeper.commands import Refused, UnknownDelivery, reopen
from hookkeeper.messages.event import Command, EventInput, PartRestart
from hookkeeper.temporal import asking
from hookkeeper.temporal.parts import Parent, Part, parts_of, state_of
from hookkeeper.temporal.reading import started_with


class CommandDispatcher:
    """Has each part obey once, however often the parts have to be looked at again."""

    def __init__(
        self,
        client: Client,
        command: Command | Literal["reschedule"],
        delivery: str | None = None,
        deliver_at: datetime | None = None,
    ) -> None:
        self._client = client
        self._command = command
        self._delivery = delivery
        self._deliver_at = deliver_at
        self._answered: set[int] = set()
        self._refusals: list[Refused] = []
        self._starting = asyncio.Lock()
        self._given: dict[str, EventInput] = {}

    @property
    def is_obeyed(self) -> bool:
        """A part has obeyed."""
        return len(self._answered) > len(self._refusals)

    async def over(self, handle: WorkflowHandle[Any, Any], run: WorkflowExecutionDescription) -> bool:
        """Ask the event's open run, or its parts; False where one has ended under our hands: look again.

        Raises `Refused` where all that are asked refuse, and `UnknownDelivery` where none has the delivery.
        """
        if run.workflow_type != ids.LARGE_EVENT:
            return await asking.update(handle, self._command, self._deliver_at or self._delivery)
        if run.run_id not in self._given:
            self._given[run.run_id] = await started_with(self._client, handle)
        parent = Parent(handle, run, self._given[run.run_id])
        meant = [part for part in await parts_of(self._client, parent) if self._means(part)]
        if not meant:
            raise UnknownDelivery(f"this event has no delivery {self._delivery}")
        answers = await asyncio.gather(*(self._ask(parent, part) for part in meant), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        if len(self._answered) < len(meant):
            return False
        if not self.is_obeyed:
            raise self._refusals[0]
        return True

    def _means(self, part: Part) -> bool:
        return self._delivery is None or any(each.id == self._delivery for each in part.given.deliveries)

    async def _ask(self, parent: Parent, part: Part) -> None:
        if part.n in self._answered or part.is_to_come:
            return
        try:
            if not await self._obeys(parent, part):
                return
        except Refused as refusal:
            self._refusals.append(refusal)
        self._answered.add(part.n)

    async def _obeys(self, parent: Parent, part: Part) -> bool:
        if part.is_open and part.handle:
            return await asking.update(part.handle, self._command, self._deliver_at or self._delivery)
        if self._command == "reschedule":
            raise Refused("the event is not scheduled: its delivery is over")
        state = await state_of(self._client, parent, part)
        deliveries = reopen(self._command, state.deliveries, self._delivery)
        restart = PartRestart(part=part.n, number=part.number, deliveries=deliveries)
        async with self._starting:  # a run takes ten updates at once, and there can be more parts
            return await asking.update(parent.handle, ids.RESTART_PART, restart)
