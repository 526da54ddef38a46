"""The batches of one tenant in an activity, which may have batches of several."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from activities import internal_errors
from activities.attempts import BatchContext
from activities.recent_batches import BatchProgress, OutcomeKey
from hookkeeper.content.context import OutgoingEvent
from hookkeeper.messages.batch import AttemptRequest, BatchResult, DeliveryBatch


class Results(NamedTuple):
    """The results of all batches of an activity."""

    of_batches: tuple[BatchResult | None, ...]
    """None: no attempt was made, because the tenant was at its limit."""
    retry_after: float | None = None
    """Seconds after which such tenants should have a free slot."""


@dataclass(frozen=True, slots=True)
class TenantPart:
    tenant: str
    batches: Mapping[int, DeliveryBatch]
    """By their numbers in the activity."""
    progress: BatchProgress[Results]
    clock_offset: timedelta
    targets: int
    """Attempts of the whole activity."""
    is_together: bool = False
    """The activity has batches of several events."""
    prevented: dict[OutcomeKey, Exception] = field(default_factory=dict)
    """The internal errors of attempts that could not be made in this try of the activity."""

    @property
    def has_outcomes(self) -> bool:
        """An attempt was made by this or an earlier try of the activity."""
        return any(number in self.batches for number, _ in self.progress.outcomes)

    def missing(self) -> dict[int, list[AttemptRequest]]:
        """Return the attempts whose outcomes are not known, by the number of their batch."""
        known = self.progress.outcomes
        missing = {
            number: [request for request in batch.attempts if (number, request.delivery) not in known]
            for number, batch in self.batches.items()
        }
        return {number: requests for number, requests in missing.items() if requests}

    def results(self) -> list[BatchResult]:
        """Return the results of all batches. Every attempt must have an outcome, or be prevented: it is put off."""
        now = datetime.now(UTC) + self.clock_offset
        prevented = {key: internal_errors.put_off(key[1], error, now) for key, error in self.prevented.items()}
        known = prevented | self.progress.outcomes
        return [
            BatchResult(outcomes=tuple(known[number, request.delivery] for request in batch.attempts))
            for number, batch in self.batches.items()
        ]

    def context(self, number: int, event: OutgoingEvent) -> BatchContext:
        """Return what the attempts of a batch share."""
        return BatchContext(self.batches[number], event, self.clock_offset, self.targets, self.is_together)
