"""The requests that Hookkeeper sends, for the `webhooks` section of the OpenAPI document. None of them is served."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Response

from hookkeeper.content.context import AlertKind
from hookkeeper.kinds import Channel
from hookkeeper.services.fields import ResponseModel, Time

Answers = dict[int | str, dict[str, Any]]

ANSWERS: Answers = {
    200: {"description": "Any 2xx: the attempt succeeded."},
    "default": {
        "description": "Any other response, or none in time: the attempt failed. The webhook's retry policy decides"
        " when the next one is made."
    },
}
GONE: Answers = {410: {"description": "The attempt failed for good, and the webhook is disabled."}}
ALERT_ANSWERS: Answers = {
    200: {"description": "Any 2xx: the alert was received."},
    "default": {"description": "Any other response, or none in time: the alert is sent again, for about five hours."},
}
WEBHOOK_ID, EVENT_ID = "wh_7w1gq0f3k2xd", "evt_5c1d0e6a2f7b4d3890ab12cd"
RUN_ID = "019b7c3a-7d2e-7c55-9a3e-4f1f3a0f2b61"
DATA = {"order": 4711, "amount": "12.50"}

router = APIRouter(tags=["outgoing"], default_response_class=Response)


class SentEvent(ResponseModel):
    """An event in the default payload."""

    id: str
    type: str
    timestamp: Time
    """When the event happened."""
    data: Any
    """The event's data, as it was posted."""


class AlertedWebhook(ResponseModel):
    id: str
    name: str
    url: str
    """Without user, password, query and fragment; empty if it has none."""
    enabled: bool


class LastOutcome(ResponseModel):
    status_code: int | None
    error: str | None
    """A code such as `http_500`, `timeout` or `connection_refused`."""
    text: str
    """The start of the response."""


class FailingElement(ResponseModel):
    target: str
    """`webhook` for the URL, `email.2` or `notification.1` for the others."""
    failures: int
    since: Time
    status_code: int | None
    error: str | None
    text: str


class AlsoFailed(ResponseModel):
    event: str
    type: str
    delivery: str
    target: str
    status_code: int | None
    error: str | None


class AlertDetails(ResponseModel):
    kind: AlertKind
    """`failing`: the webhook's `alert_after` is reached. `reminder`: it still fails. `disabling`: it will be disabled
    within a day, or an hour. `disabled`: it was disabled because of failures. `recovered`: it works again. `failed`: a
    delivery failed for good."""
    recipient: Literal["owner", "operator"]
    at: Time
    incident: str
    """The same for all alerts from `failing` to `recovered`; empty for `failed`."""
    tenant: str
    delivery: str
    channel: Channel
    target: str
    attempts: int
    reason: str | None
    """Why the delivery failed, or why the webhook was disabled."""
    failures: int
    """Failed attempts in a row, of this target."""
    failing_since: Time | None
    also_failing: list[FailingElement]
    """Other targets of the webhook whose latest attempts have failed."""
    also_failed: list[AlsoFailed]
    """Of `failed`: up to ten of the other deliveries that have failed at the same time."""
    waiting: int
    """Deliveries that are held, or wait for a retry, at most 1,000; 0 for `failed`."""
    next_attempt_at: Time | None
    disable_at: Time | None
    """A failure of the URL after this time disables the webhook."""
    webhook: AlertedWebhook
    last_outcome: LastOutcome
    link: str
    """The page of the webhook, or for `failed` that of the event, in the dashboard; for owners, in their portal."""
    temporal: str | None
    """For operators: the incident, or for `failed` the run of the event, in the Temporal web UI."""
    unreported: int
    """What has failed since the last alert without an alert of its own."""


class SentAlert(ResponseModel):
    """An alert, with the event whose delivery has failed; for other kinds, with one that only names the alert."""

    alert: AlertDetails
    event: SentEvent


EVENT = SentEvent(
    id=EVENT_ID,
    type="order.paid",
    timestamp=datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC),
    data=DATA,
)
ALERT = SentAlert(
    alert=AlertDetails(
        kind="failing",
        recipient="operator",
        at=datetime(2026, 1, 2, 3, 19, 5, 678_000, tzinfo=UTC),
        incident=f"{RUN_ID}/1",
        tenant="acme",
        delivery=WEBHOOK_ID,
        channel="webhook",
        target="https://acme.example/hook",
        attempts=0,
        reason=None,
        failures=5,
        failing_since=EVENT.timestamp,
        also_failing=[],
        also_failed=[],
        waiting=181,
        next_attempt_at=datetime(2026, 1, 2, 3, 34, 5, 678_000, tzinfo=UTC),
        disable_at=datetime(2026, 1, 7, 3, 4, 5, 678_000, tzinfo=UTC),
        webhook=AlertedWebhook(id=WEBHOOK_ID, name="Orders", url="https://acme.example/hook", enabled=True),
        last_outcome=LastOutcome(status_code=500, error="http_500", text="Internal Server Error"),
        link=f"https://hooks.acme.example/webhooks/{WEBHOOK_ID}",
        temporal=f"https://temporal.acme.example/namespaces/default/workflows/incident-{WEBHOOK_ID}/{RUN_ID}/timeline",
        unreported=0,
    ),
    event=EVENT.model_copy(update={"type": "hookkeeper.alert", "data": {}}),
)


@router.post("delivery", operation_id="send_delivery", summary="Event delivery", responses=GONE | ANSWERS)
def delivery(
    body: SentEvent,
    webhook_id: Annotated[
        str,
        Header(
            description="The event's id. It is the same on each attempt: use it to drop duplicates",
            examples=[EVENT_ID],
        ),
    ],
    webhook_timestamp: Annotated[
        int, Header(description="When this attempt was made, in Unix seconds", examples=[1767323045])
    ],
    webhook_signature: Annotated[
        str,
        Header(
            description="Signatures of `{webhook-id}.{webhook-timestamp}.{body}`, separated by spaces: `v1,` and a"
            " base64 HMAC-SHA256, or `v1a,` and a base64 ed25519 signature. One for each valid key: two during a"
            " rotation's grace period",
            examples=["v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="],
        ),
    ],
) -> None:
    """Sent to the `url` of each webhook that matches an event, as
    [Standard Webhooks](https://www.standardwebhooks.com) define it.

    This is the default body; `payload` of the webhook can change it. The webhook's own `headers` are sent too. Verify
    the signature over the raw body before parsing it, and answer within the webhook's `timeout`. Redirects are not
    followed.
    """


@router.post("notification", operation_id="send_notification", summary="HTTP notification", responses=ANSWERS)
def notification(body: SentEvent) -> None:
    """Sent to the `http.url` of a webhook's notification whose `http` has no `body` of its own.

    It is not signed. The notification's own `headers` are sent, and its `method` is used in place of POST.
    """


@router.post("alert", operation_id="send_alert", summary="HTTP alert", responses=ALERT_ANSWERS)
def alert(body: SentAlert) -> None:
    """Sent to the `http.url` of a notification in `on_failure`, whose `http` has no `body` of its own.

    It is not signed. A webhook sends at most one alert `failing` and one `failed` an hour; `unreported` is the number
    of failures since the last alert.
    """
