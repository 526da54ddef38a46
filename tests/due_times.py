"""When something is due for a delivery, seen from one moment."""

from datetime import UTC, datetime

from workflows.delivery import DeliveryState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def until_due(delivery: DeliveryState) -> float | None:
    """Return the seconds from `NOW` until something is due, 0 if it is; None if only a command can make it due."""
    if delivery.is_due:
        return 0
    return min(((time - NOW).total_seconds() for time in delivery.due_times.values()), default=None)
