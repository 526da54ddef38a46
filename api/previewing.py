"""What an event would send through a webhook, made as it would be made, and not sent."""

from collections.abc import Callable
from typing import Any

from pydantic import Field

from api import examples
from api.fields import EVENT_ID, RequestModel, ResponseModel
from api.problems import Invalid
from api.schemas.webhooks import NewWebhook, SampleEvent
from hookkeeper.content import filters
from hookkeeper.content.context import About, Event, context_of
from hookkeeper.content.emails import Email, RenderedEmail, render_email
from hookkeeper.content.faults import Fault
from hookkeeper.content.headers import masked
from hookkeeper.content.masking import masked_headers
from hookkeeper.content.notifications import Call, Notification, render_notification
from hookkeeper.content.payload import body_of
from hookkeeper.registry.models import Webhook
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.times import utc_now

EXAMPLE_ID = "evt_example"


class PreviewRequest(RequestModel):
    """Either a webhook that is not registered, or the id of a registered one."""

    model_config = examples.shows(
        {
            "webhook": {"url": "https://acme.example/hook", "payload": {"static": {"source": "shop"}}},
            "event": {"type": "order.paid", "data": {"order": 4711}},
        }
    )

    webhook: NewWebhook | None = None
    webhook_id: str | None = Field(None, pattern=EVENT_ID)
    event: SampleEvent = Field(default_factory=SampleEvent)


class RequestPreview(ResponseModel):
    url: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    """Without `webhook-timestamp` and `webhook-signature`, which differ for each attempt."""
    body: str | None = None
    problem: str | None = None
    """Why nothing can be sent: the delivery would fail as `bad_template`."""


class EmailPreview(ResponseModel):
    letter: RenderedEmail | None = None
    problem: str | None = None


class NotificationPreview(ResponseModel):
    target: str
    title: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    body: str | None = None
    problem: str | None = None


class Preview(ResponseModel):
    matches: bool
    """Whether the webhook's patterns and filter match the event."""
    filter_error: str | None = None
    request: RequestPreview | None = None
    emails: list[EmailPreview]
    notifications: list[NotificationPreview]


class Previewer:
    """Makes everything of a webhook for one event."""

    def __init__(
        self, sandbox: Sandbox, webhook: Webhook, example: SampleEvent, listens: bool, max_body_bytes: int
    ) -> None:
        self._sandbox = sandbox.for_(webhook.tenant)
        self._webhook = webhook
        self._event = Event(EXAMPLE_ID, example.type, webhook.tenant, utc_now(), example.data)
        self._context = context_of(self._event, About(webhook.id, webhook.name, webhook.metadata_))
        self._listens = listens
        self._max_body_bytes = max_body_bytes

    async def preview(self) -> Preview:
        matches, filter_error = await self._filtered()
        return Preview(
            matches=matches and self._listens,
            filter_error=filter_error,
            request=await self._request() if self._webhook.url else None,
            emails=[await self._email(email) for email in self._webhook.emails],
            notifications=[await self._notification(each) for each in self._webhook.notifications],
        )

    async def _filtered(self) -> tuple[bool, str | None]:
        if self._webhook.filter is None:
            return True, None
        try:
            return await self._sandbox.call(filters.matches, self._webhook.filter, self._event.shown()), None
        except Fault as fault:
            return False, str(fault)

    async def _request(self) -> RequestPreview:
        body, problem = await self._made(body_of, self._webhook.payload)
        if body is None:
            return RequestPreview(url=self._webhook.target, problem=problem)
        headers = masked(self._webhook.headers) | body.headers | {"webhook-id": EXAMPLE_ID}
        return RequestPreview(url=self._webhook.target, headers=headers, body=body.content.decode())

    async def _email(self, email: Email) -> EmailPreview:
        letter, problem = await self._made(render_email, email)
        return EmailPreview(letter=letter, problem=problem)

    async def _notification(self, notification: Notification) -> NotificationPreview:
        note, problem = await self._made(render_notification, notification)
        if note is None:
            return NotificationPreview(target=notification.target, problem=problem)
        if isinstance(note, Call):
            return NotificationPreview(
                target=notification.target, headers=masked_headers(note.headers), body=note.body.decode()
            )
        return NotificationPreview(target=notification.target, title=note.title, body=note.body)

    async def _made(self, make: Callable[[Any, Any, int], Any], element: Any) -> tuple[Any, str | None]:
        try:
            return await self._sandbox.call(make, element, self._context, self._max_body_bytes), None
        except Fault as fault:
            return None, str(fault)


def unsaved(new: NewWebhook) -> Webhook:
    """Make a webhook that is in no registry."""
    return Webhook(
        id="wh_example",
        tenant=new.tenant,
        name=new.name,
        url=new.url or "",
        events=new.events,
        secret="",
        headers=new.headers,
        metadata_=new.metadata,
        filter=new.filter,
        payload=new.payload,
        emails=new.emails,
        notifications=new.notifications,
    )


def check_one_of_the_two(request: PreviewRequest) -> None:
    """Raise `Invalid` where not exactly one of `webhook` and `webhook_id` is given."""
    if (request.webhook is None) == (request.webhook_id is None):
        raise Invalid("Give either webhook or webhook_id.")
