"""What a lane and the runs in it cannot do themselves: have a lane started, see how the event at its head is doing, and
find what waits for it.
"""

from datetime import datetime
from typing import Literal, Protocol

from temporalio import activity

from hookkeeper.outcomes import Message
from hookkeeper.policy import OrderPolicy
from hookkeeper.registry.pacing import order_of
from hookkeeper.registry.store import Store

Found = Literal["unknown", "to_come", "open", "silent", "over"]


class Place(Message):
    """Somebody in a lane: one event, or a part of one."""

    webhook_id: str
    tenant: str
    place: str
    """As `hookkeeper.ids.place_of` spells it."""


class Sight(Message):
    """How a run in a lane is doing.

    `unknown`: there is none, yet or any more. `to_come`: its event is there, and will start it. `over`: it is closed,
    or has nothing open for this webhook. `silent`: it is open, and does not answer.
    """

    found: Found
    waits: bool = False
    """It says that its turn has not come."""
    failed: bool = False
    """An attempt has failed."""
    ordered: OrderPolicy | None = None
    """How the webhook wants its events ordered now; None: not at all, or there is no such webhook any more."""


class Search(Message):
    """A lane that was started after one that was terminated."""

    webhook_id: str
    tenant: str
    started_at: datetime


class Waiting(Message):
    """Places of open events of a webhook, each in the order in which their runs were started."""

    before: tuple[str, ...] = ()
    """Started before the lane."""
    after: tuple[str, ...] = ()
    """Started since."""


class Lanes(Protocol):
    """The client side of lanes, which the worker brings."""

    async def join(self, place: Place) -> None:
        """Have a place taken. It is taken once, however often this is asked."""

    async def look(self, place: Place) -> Sight:
        """Say how a run is doing; `ordered` stays open."""

    async def find_waiting(self, search: Search) -> Waiting:
        """Give the places of all open events of the webhook that may wait for their turn."""


class OrderedQueueActivities:
    """Raises Temporal's `RPCError` and `RegistryUnavailable`: our own faults, to be tried again."""

    def __init__(self, lanes: Lanes, store: Store) -> None:
        self._lanes = lanes
        self._store = store

    @activity.defn(name="enqueue")
    async def enqueue(self, place: Place) -> None:
        """Take a place at the end of the webhook's lane."""
        await self._lanes.join(place)

    @activity.defn(name="find_waiting_events")
    async def find_waiting(self, search: Search) -> Waiting:
        """Find what waited for a lane that was terminated. Where it has passed already, it will say so."""
        return await self._lanes.find_waiting(search)

    @activity.defn(name="check_granted")
    async def check_granted(self, place: Place) -> Sight:
        """See how the one whose turn it is is doing, and whether there is still an order to keep."""
        webhook = await self._store.get(place.webhook_id)
        sight = await self._lanes.look(place)
        return sight.model_copy(update={"ordered": order_of(webhook) if webhook else None})
