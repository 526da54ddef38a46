"""The rows of an event and of its deliveries, as a run reports them and the registry has them. Words as in
docs/glossary.md.
"""

from datetime import datetime
from typing import NamedTuple

from hookkeeper import ids
from hookkeeper.messages.event import Delivery, EventInput, Reason
from hookkeeper.statuses import DeliveryStatus, EventStatus


class EventKey(NamedTuple):
    accepted_at: datetime
    tenant: str
    event_id: str


DeliveryKey = tuple[EventKey, str]
"""The event, and the delivery's id."""


class DeliveryRow(NamedTuple):
    accepted_at: datetime
    tenant: str
    event_id: str
    id: str
    part: int
    """The number of the run that has it."""
    webhook_id: str
    channel: str
    type: str
    """The type of the event."""
    status: DeliveryStatus
    reason: Reason | None
    attempts: int
    """The highest number of an attempt that it ever had."""
    status_code: int | None
    """Of the latest attempt, as the next two."""
    status_class: int | None
    """5 for 503."""
    error: str | None
    next_attempt_at: datetime | None
    finished_at: datetime | None
    line: str | None
    place: int | None
    """If ordered: that in its line, until later deliveries need not wait for it."""
    as_of: datetime
    state: str | None = None
    """A `Delivery` with its attempts as JSON, where it was read; None until a run has recorded it."""

    @property
    def event(self) -> EventKey:
        return EventKey(*self[:3])

    @property
    def key(self) -> DeliveryKey:
        return self.event, self.id

    def delivery(self, given: Delivery) -> Delivery:
        """Return the delivery; `given` is what was accepted."""
        return Delivery.model_validate_json(self.state) if self.state else given


class EventRow(NamedTuple):
    accepted_at: datetime
    tenant: str
    id: str
    type: str
    status: EventStatus
    as_of: datetime
    """When it was written, by Temporal's clock. The later of two counts."""
    needs_attention: bool = False
    """A delivery is retrying, held or failed, and the event is not acknowledged."""
    deliver_at: datetime | None = None
    finished_at: datetime | None = None
    """When its run has closed."""
    run_id: str = ""
    """Empty until its run has recorded a step."""
    digest: str = ""
    shared_run: str | None = None
    """The workflow id of the shared run that has it, or is to have it; None: it has a run of its own."""
    size: int | None = None
    """Bytes of its data as JSON; None if the reporter does not know it: its acceptance is not in this registry."""
    parts: int = 1
    """How many runs its deliveries are divided among (`hookkeeper.messages.partition`)."""
    acknowledged: str | None = None
    """An `Acknowledgement` as JSON."""
    channels: str | None = None
    """Joined by spaces."""
    apart: bool = False
    """Its own run is not named after it alone: another event has its id (`ids.run_apart`)."""
    is_test: bool | None = None
    """Sent to try a webhook: no counter has it. None, as in rows of releases that did not record it: no."""
    input: str = ""
    """What starts its run, where it was read: an `EventInput` as JSON."""
    deliveries: tuple[DeliveryRow, ...] = ()
    """Deliveries that were read; in lists, the worst first, or the one to the webhook of the search."""

    @property
    def key(self) -> EventKey:
        return EventKey(*self[:3])

    @property
    def name(self) -> tuple[str, str]:
        """Tenant and id: no other event has both."""
        return self.tenant, self.id

    @property
    def workflow_id(self) -> str:
        own = ids.run_apart(*self.name, self.accepted_at) if self.apart else ids.workflow_id(*self.name)
        return self.shared_run or own

    @property
    def latest(self) -> DeliveryRow | None:
        """The first of its deliveries."""
        return self.deliveries[0] if self.deliveries else None

    @property
    def event(self) -> EventInput:
        """What starts its run."""
        return EventInput.model_validate_json(self.input)

    @property
    def is_unstarted(self) -> bool:
        """Whether no run has recorded anything of it."""
        return not self.run_id and self.finished_at is None
