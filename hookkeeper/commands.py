"""The deliveries that a command selects, and what a closed delivery becomes. Pure.

`hookkeeper.command_rules` describes the commands, and runs apply them (`workflows.commands`).
"""

from collections.abc import Iterable

from hookkeeper.command_rules import COMMANDS, Command
from hookkeeper.messages.event import Delivery


class Refused(Exception):
    """The command makes no sense now: a conflict, not an error."""


class RunIsClosing(Exception):
    """The run has its final state and is about to close: retry, it will be closed then."""


class UnknownDelivery(Exception):
    """The event has no delivery of this id."""


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

    The webhook's rate may have changed since: that attempt reads it.
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
            "line": "",
        }
    )


def _statuses(deliveries: Iterable[Delivery]) -> str:
    statuses = sorted({delivery.status for delivery in deliveries})
    return f"every delivery has the status {' or '.join(statuses)}" if statuses else "the event has no deliveries"
