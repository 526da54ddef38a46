"""The messages of a shared run, which makes the first attempts of several events (`workflows.shared_run`)."""

from datetime import datetime

from hookkeeper.command_rules import Command
from hookkeeper.messages import Message
from hookkeeper.messages.event import EventInput, EventState


class SharedRunInput(Message):
    """What starts a shared run. All deliveries of its events are to URLs, without an order, a rate or a time."""

    events: tuple[EventInput, ...] = ()
    finished: tuple[EventState, ...] = ()
    """The final states of all events, if the run replaces one of which an event was erased: it sends nothing."""


class SharedRunResult(Message):
    """How a shared run has ended."""

    finished: tuple[EventState, ...]
    """The events that have succeeded."""
    continued: tuple[str, ...] = ()
    """The workflow ids of all others: each has a run of its own."""


class HandOver(Message):
    """An event that leaves a shared run, while a run with its workflow id is open."""

    tenant: str
    event_id: str
    accepted_at: datetime


class SharedCommand(Message):
    """A command to one event of a shared run."""

    event: str
    """The workflow id of its own run."""
    command: Command
    delivery: str | None = None
