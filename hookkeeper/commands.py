"""Which deliveries a command means, and whether it makes sense. Pure: used by runs and by the client of Temporal."""

from collections.abc import Iterable

from hookkeeper.messages.event import Command, Delivery


class Refused(Exception):
    """The command makes no sense now: a conflict, not a fault."""


class RunIsClosing(Exception):
    """The run has its final state and is about to end: ask again, it will have."""


class UnknownDelivery(Exception):
    """The event has no delivery of this id."""


ELIGIBLE: dict[Command, frozenset[str]] = {
    "cancel": frozenset({"pending", "retrying", "held", "sent"}),
    "retry": frozenset({"pending", "retrying", "held", "failed", "cancelled"}),
    "hold": frozenset({"pending", "retrying"}),
    "release": frozenset({"held"}),
    "redeliver": frozenset({"pending", "retrying", "held", "sent", "succeeded", "failed", "cancelled"}),
}
"""Statuses that a command may meet when a delivery is named."""

ELIGIBLE_WHEN_ALL: dict[Command, frozenset[str]] = ELIGIBLE | {"retry": frozenset({"pending", "retrying", "failed"})}
"""The same when none is named: what a person has held or cancelled is then left alone by a retry."""


def select(command: Command, deliveries: Iterable[Delivery], delivery: str | None) -> list[str]:
    """Give the ids that `command` acts on; raise `Refused` or `UnknownDelivery` with a sentence for people."""
    known = {each.id: each for each in deliveries}
    if delivery is None:
        chosen = [each.id for each in known.values() if each.status in ELIGIBLE_WHEN_ALL[command]]
        if not chosen:
            raise Refused(f"nothing to {command}: {_statuses(known.values())}")
        return chosen
    if delivery not in known:
        raise UnknownDelivery(f"this event has no delivery {delivery}")
    status = known[delivery].status
    if status not in ELIGIBLE[command]:
        raise Refused(f"cannot {command} delivery {delivery}: it is {status}")
    return [delivery]


def reopen(command: Command, deliveries: Iterable[Delivery], delivery: str | None) -> tuple[Delivery, ...]:
    """Return all deliveries, with those that `command` selects reopened; raise `Refused` or `UnknownDelivery`."""
    deliveries = tuple(deliveries)
    chosen = set(select(command, deliveries, delivery))
    return tuple(reopened(each) if each.id in chosen else each for each in deliveries)


def reopened(delivery: Delivery) -> Delivery:
    """Give a final delivery its whole schedule again, beginning with a requested attempt; numbers continue.

    The webhook's rate may have changed: that attempt reads it anew.
    """
    return delivery.model_copy(
        update={
            "status": "pending",
            "reason": None,
            "next_attempt_at": None,
            "steps_taken": 0,
            "by_hand": True,
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
    statuses = sorted({each.status for each in deliveries})
    return f"every delivery is {' or '.join(statuses)}" if statuses else "the event has no deliveries"
