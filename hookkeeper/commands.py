"""The commands: their descriptions, the deliveries that they select, and what a closed delivery becomes. Pure.

Signals, updates, API routes and the command line are made of this table. Runs apply the commands
(`workflows.commands`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from hookkeeper.messages.event import Command, Delivery


class Refused(Exception):
    """The command makes no sense now: a conflict, not an error."""


class RunIsClosing(Exception):
    """The run has its final state and is about to close: retry, it will be closed then."""


class UnknownDelivery(Exception):
    """The event has no delivery of this id."""


@dataclass(frozen=True, slots=True)
class CommandRule:
    """A command to an event."""

    title: str
    summary: str
    """For Temporal's web UI and the command line."""
    statuses: frozenset[str]
    """Statuses of a delivery to which it can be applied."""
    skipped: frozenset[str] = frozenset()
    """Statuses to which it is applied only if the delivery is named."""
    remarks: str = ""
    """Added to the summary in the API's documentation."""

    @property
    def description(self) -> str:
        return f"{self.summary} {self.remarks}".rstrip()


COMMANDS: dict[Command, CommandRule] = {
    "retry": CommandRule(
        "Retry deliveries",
        "Attempt one delivery now, or all that have not succeeded.",
        frozenset({"pending", "retrying", "held", "failed", "cancelled"}),
        skipped=frozenset({"held", "cancelled"}),
        remarks="The remaining retry schedule does not change. If an attempt is in flight, the new one follows it. On a"
        " finished event, failed deliveries start again with the whole schedule.",
    ),
    "cancel": CommandRule(
        "Cancel deliveries",
        "Cancel one delivery, or all.",
        frozenset({"pending", "retrying", "held", "sent"}),
        remarks="The result of an attempt in flight still counts.",
    ),
    "hold": CommandRule(
        "Hold deliveries",
        "Hold one delivery, or all, until it is released.",
        frozenset({"pending", "retrying"}),
    ),
    "release": CommandRule(
        "Release deliveries",
        "Continue one held delivery, or all. A scheduled event is delivered now.",
        frozenset({"held"}),
    ),
    "redeliver": CommandRule(
        "Redeliver an event",
        "Make one delivery again, or all, including those that succeeded.",
        frozenset({"pending", "retrying", "held", "sent", "succeeded", "failed", "cancelled"}),
        remarks="Attempt numbers continue, the `webhook-id` stays the same, and the retry schedule starts again.",
    ),
}


def select(command: Command, deliveries: Iterable[Delivery], delivery_id: str | None) -> list[str]:
    """Return the ids that `command` is applied to; raise `Refused` or `UnknownDelivery` with a message for users."""
    rule = COMMANDS[command]
    known = {delivery.id: delivery for delivery in deliveries}
    if delivery_id is None:
        selected = [delivery.id for delivery in known.values() if delivery.status in rule.statuses - rule.skipped]
        if not selected:
            raise Refused(f"nothing to {command}: {_statuses(known.values())}")
        return selected
    if delivery_id not in known:
        raise UnknownDelivery(f"this event has no delivery {delivery_id}")
    status = known[delivery_id].status
    if status not in rule.statuses:
        raise Refused(f"cannot {command} delivery {delivery_id}: it is {status}")
    return [delivery_id]


def reopen(command: Command, deliveries: Iterable[Delivery], delivery_id: str | None) -> tuple[Delivery, ...]:
    """Return all deliveries, with those that `command` selects reopened; raise `Refused` or `UnknownDelivery`."""
    deliveries = tuple(deliveries)
    selected = set(select(command, deliveries, delivery_id))
    return tuple(reopened(delivery) if delivery.id in selected else delivery for delivery in deliveries)


def reopened(delivery: Delivery) -> Delivery:
    """Return a final delivery with its whole schedule again, from an attempt by request; attempt numbers continue.

    The webhook's rate may be another one by now: that attempt reads it.
    """
    return delivery.model_copy(
        update={
            "status": "pending",
            "reason": None,
            "next_attempt_at": None,
            "steps_taken": 0,
            "requested": True,
            "rate": None,
            "slot": None,
            "awaiting": (),
            "awaiting_until": None,
            "reached": () if delivery.status == "succeeded" else delivery.reached,
            "redelivered_from": delivery.attempts_made + 1,
            "ordered": None,
        }
    )


def _statuses(deliveries: Iterable[Delivery]) -> str:
    statuses = sorted({delivery.status for delivery in deliveries})
    return f"every delivery is {' or '.join(statuses)}" if statuses else "the event has no deliveries"
