"""The table of commands. Signals, updates, API routes and the command line are made of it.

The command line imports it: it needs no package.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Command = Literal["cancel", "retry", "hold", "release", "redeliver"]


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

    def applies_to(self, named: Collection[str]) -> frozenset[str]:
        """Return the statuses of the deliveries that it changes, if a filter names these."""
        changed = self.statuses - (self.skipped - set(named))
        return changed & set(named) if named else changed

    @property
    def description(self) -> str:
        return f"{self.summary} {self.remarks}".rstrip()


COMMANDS: dict[Command, CommandRule] = {
    "retry": CommandRule(
        "Retry deliveries",
        "Attempt one delivery now, or all that have not succeeded.",
        frozenset({"pending", "retrying", "held", "failed", "cancelled"}),
        skipped=frozenset({"held", "cancelled"}),
        remarks="The remaining retry schedule does not change. If an attempt is in flight, the new one follows it,"
        " unless it succeeds. On a finished event, failed deliveries start again with the whole schedule.",
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
        remarks="If an attempt is in flight, the new one follows it, also if it succeeds. Attempt numbers continue, the"
        " `webhook-id` stays the same, and a finished delivery starts again with the whole retry schedule.",
    ),
}
