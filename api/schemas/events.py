"""Requests and answers about events."""

from typing import Any, Literal

from pydantic import Field

from api.problems import ProblemDocument
from hookkeeper.kinds import Channel
from hookkeeper.messages.event import Reason, ReceiptKind, Trigger
from hookkeeper.services.fields import (
    CountedPage,
    Explained,
    GivenTime,
    Line,
    RequestModel,
    ResponseModel,
    Time,
    with_examples,
)
from hookkeeper.statuses import DeliveryStatus, EventStatus


class EventBatch(RequestModel):
    model_config = with_examples(
        {
            "events": [
                {"type": "order.paid", "tenant": "acme", "data": {"order": 4711}},
                {"type": "order.paid", "tenant": "acme", "data": {"order": 4712}},
            ]
        }
    )

    events: list[Any] = Field(min_length=1, max_length=1000)
    """Events in the format of `POST /v1/events`."""


class EventLinks(ResponseModel):
    self: str
    temporal: str | None
    """The run in the Temporal web UI. Null for a key of one tenant, and in streams."""


class DeliverySummary(ResponseModel):
    id: str
    webhook_id: str
    channel: Channel


class ResultSoFar(Explained):
    """The status of a delivery, and the result of its latest attempt."""

    status: DeliveryStatus
    reason: Reason | None
    attempts: int
    """Attempts made. `status_code` and `error` are those of the latest."""
    status_code: int | None
    error: str | None
    next_attempt_at: Time | None


class AcceptedEvent(ResponseModel):
    id: str
    type: str
    tenant: str
    status: EventStatus
    duplicate: bool
    """True if the event was accepted before. It is not delivered again."""
    workflow_id: str
    run_id: str
    """Empty until the run has recorded its first step."""
    deliveries: list[DeliverySummary]
    note: str | None = None
    """Why it goes nowhere, if its status is `no_webhook`, and which webhooks left it out because their filters failed.
    A key of all tenants is told which tenants have webhooks."""
    links: EventLinks


class EventBatchItem(ResponseModel):
    """The result for one event of a batch. `status` is the status that `POST /v1/events` would have returned."""

    status: int
    event: AcceptedEvent | None = None
    problem: ProblemDocument | None = None


class EventBatchResult(ResponseModel):
    items: list[EventBatchItem]


class AttemptView(Explained):
    number: int
    """From 1; a redelivery continues the numbers."""
    trigger: Trigger
    """`scheduled`: the first attempt or one of the retry schedule. `manual`: by a command, or of a
    test event."""
    started_at: Time
    duration_ms: float
    """The whole request: `connect_ms`, `first_byte_ms` and the body of the response."""
    queue_ms: float | None
    """From the time at which the attempt was due to its start; null if it is not known."""
    connect_ms: float | None
    """Name lookup, connection and TLS handshake. Null if the connection was reused, and for services and SMTP."""
    first_byte_ms: float | None
    """From the connection to the headers of the response. Null if there was none, and for services and SMTP."""
    status_code: int | None
    """The status of the answer, for an email the SMTP code; null without an answer."""
    error: str | None
    """Such as `timeout`, `dns`, `tls` or `http_503`; null after a success."""
    request_digest: str | None
    """A digest of a request to a webhook's URL: signing key, URL, headers and body, separated by dots. Attempts with
    the same digest have sent the same, apart from time and signature."""
    response_headers: dict[str, str]
    """At most 2 KiB. Values that can be secret are masked."""
    response_excerpt: str
    """The beginning of the response's body, at most 4 KiB."""


class ReceiptView(ResponseModel):
    """A report of the email provider about a sent email."""

    attempt: int
    address: str
    kind: ReceiptKind
    at: Time
    detail: str


class DeliveryView(DeliverySummary):
    target: str
    """The URL without its query, the addresses of an email, or the service of a notification."""
    status: DeliveryStatus
    """`pending`: waits for its first attempt, or for one by a command. `retrying`: for the next attempt of its
    schedule. `held`: for a command, or until the webhook is enabled or resumed. `sent`: for the provider's report that
    the email has arrived. The others are final."""
    reason: Reason | None
    """Why the delivery is held, waits or has ended. `held_too_long`: it was held longer than `HOOKKEEPER_MAX_HOLD`."""
    next_attempt_at: Time | None
    attempts: list[AttemptView]
    attempts_omitted: int
    """Number of older attempts that are not listed here; the Temporal history has them."""
    awaiting: list[str]
    """Addresses for which the email provider has not confirmed the delivery yet."""
    receipts: list[ReceiptView]


class EventBase(ResponseModel):
    id: str
    type: str
    tenant: str
    status: EventStatus
    accepted_at: Time
    finished_at: Time | None
    """When the run ended. This can be hours after the final status, while alerts are retried."""
    deliver_at: Time | None
    workflow_id: str
    run_id: str
    """Empty until the run has recorded its first step, in lists and streams, and while there is no run."""
    links: EventLinks


class AcknowledgementView(ResponseModel):
    at: Time
    by: str
    """The name of the key."""
    note: str


class LeftOutView(Explained):
    webhook_id: str
    error: str
    """`bad_filter`"""
    text: str
    """What the filter lacks."""


class EventView(EventBase):
    timestamp: Time
    """When the event happened: what was posted as `timestamp`, or when it was accepted."""
    data: Any
    channels: list[str]
    acknowledged: AcknowledgementView | None
    """Null if the event was not acknowledged, or a delivery has failed since."""
    left_out: list[LeftOutView]
    """Webhooks that listen to the event and did not get it, because their filters failed."""
    deliveries: list[DeliveryView]


class RunView(ResponseModel):
    workflow_id: str
    run_id: str
    status: str
    """The status of the workflow as Temporal names it: `RUNNING`, `COMPLETED`, `FAILED`, `CANCELED`, `TERMINATED` …"""
    deliveries: list[DeliveryView]
    """As the workflow itself has them. None if the event goes on in another run."""


class RunsView(ResponseModel):
    items: list[RunView]
    """The run of the event, or all among which its deliveries are divided. None if Temporal has none."""


class LatestResultView(ResultSoFar):
    """The result so far of one delivery."""

    delivery: str
    webhook_id: str
    webhook_name: str | None
    """Its name, or its URL without the query. Null without `webhooks:read`, and if the webhook was deleted."""
    channel: Channel


class EventSummary(EventBase):
    channels: list[str]
    webhooks: list[str]
    needs_attention: list[str]
    """Webhooks with a delivery that has failed, or has been retrying for over 15 minutes, unless it is acknowledged."""
    latest: LatestResultView | None
    """The result of a delivery that has failed, else of one that is retrying, else of one that is held, else of any.
    With the filter `webhook`, the result of a delivery to it. Null without deliveries."""
    acknowledged: AcknowledgementView | None


class EventPage(CountedPage[EventSummary]):
    searched_until: Time | None = Field(
        None,
        description="How far back this page has searched, if data were read to find `q`. `next_cursor` searches on, "
        "also after a page without items.",
    )


class ChangedDelivery(ResultSoFar, DeliverySummary):
    finished_at: Time | None


class EventChange(EventBase):
    """What has changed of an event: the data of a message of the stream."""

    is_new: bool
    """The event was accepted since the stream began or was resumed."""
    needs_attention: bool
    """A delivery is retrying, held or failed, and the event is not acknowledged."""
    deliveries: list[ChangedDelivery]
    """The deliveries that have changed, such as by an attempt."""


class EventCommandRequest(RequestModel):
    model_config = with_examples({"delivery": "wh_7w1gq0f3k2xd"})

    delivery: str | None = Field(None, max_length=256)
    """The delivery that the command is for; by default all deliveries of the event."""


class RescheduleRequest(RequestModel):
    model_config = with_examples({"deliver_at": "2026-01-03T09:00:00Z"})

    deliver_at: GivenTime


class AcknowledgeRequest(RequestModel):
    model_config = with_examples({"note": "The receiver is being replaced."})

    note: Line = Field("", max_length=500)


class EventCommandAccepted(ResponseModel):
    """The run has accepted the command, or the event's row has the acknowledgement."""

    id: str
    command: Literal["cancel", "retry", "hold", "release", "redeliver", "reschedule", "acknowledge", "unacknowledge"]
    delivery: str | None = None


class ErasureAccepted(ResponseModel):
    """The erasure has started."""

    id: str
    runs: int
    """Workflow runs that are being deleted: one, one more for each redelivery, and as many for each further hundred
    targets. 0 if Temporal has none any more."""
