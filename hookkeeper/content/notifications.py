"""Notifications as tenants define them, and as they are rendered for an event; recipients of alerts."""

import hashlib
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from hookkeeper.content import defaults, http_calls, json_text, services, template_fields
from hookkeeper.content.context import Context
from hookkeeper.content.emails import Email
from hookkeeper.content.errors import BadTemplate
from hookkeeper.content.http_calls import HttpCall, RenderedHttpCall
from hookkeeper.content.payload import JSON
from hookkeeper.content.sizes import DEFAULT_LIMITS, RenderLimits, check_body
from hookkeeper.content.text import LINES, truncate

MAX_BODY = 64 * 1024
MAX_DEFAULT_BODY = 2000
MAX_RECIPIENTS = 10
"""Emails of `on_failure`, and its notifications."""


class Notification(BaseModel):
    """A notification through a service such as Slack, or a call of an HTTP API."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    service: Annotated[str, Field(max_length=services.MAX_ADDRESS), AfterValidator(services.check)] | None = Field(
        None, repr=False
    )
    """The address that a service shows, such as `https://hooks.slack.com/services/…`, or `pagerduty://ROUTING_KEY`. Is
    shown as `slack://********`."""
    http: HttpCall | None = Field(None, title="HTTP call")
    title: str | None = Field(None, max_length=4096)
    """For a service. By default the type of the event. Truncated to 255 characters."""
    body: Annotated[str, LINES] | None = Field(None, min_length=1, max_length=MAX_BODY)
    """For a service. By default the event as text, at most 2,000 characters."""

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if (self.service is None) == (self.http is None):
            raise ValueError("give either service or http")
        if self.http and (self.title is not None or self.body is not None):
            raise ValueError("title and body belong to a service; an HTTP call has http.body")
        return self

    @property
    def target(self) -> str:
        """For display: `slack`, or `POST https://api.example`."""
        return services.name_of(self.service) if self.service else (self.http.target if self.http else "")


class OnFailure(BaseModel):
    """Emails and notifications for alerts. Their templates have `alert` besides `event`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    emails: tuple[Email, ...] = Field((), title="Alert emails", max_length=MAX_RECIPIENTS)
    notifications: tuple[Notification, ...] = Field((), title="Alert notifications", max_length=MAX_RECIPIENTS)

    @model_validator(mode="after")
    def _has_a_recipient(self) -> Self:
        if not self.emails and not self.notifications:
            raise ValueError("needs at least one email or notification")
        return self


class RenderedNotification(BaseModel):
    """A notification to a service, rendered for an event."""

    model_config = ConfigDict(frozen=True)

    service: str = Field(repr=False)
    title: str
    body: str
    key: str = ""
    """The same for each attempt."""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body.encode())

    def call(self) -> RenderedHttpCall:
        """Return the request to the service."""
        request = services.request_of(self.service, services.Note(self.title, self.body, self.key))
        headers = request.headers | {"content-type": JSON}
        body = json_text.compact(request.content).encode()
        return RenderedHttpCall(method="POST", url=request.url, headers=headers, body=body)


def check(notification: Notification) -> None:
    """Raise BadTemplate, with the field's name, for an invalid template."""
    if notification.http:
        http_calls.check(notification.http)
        return
    template_fields.check("title", notification.title)
    template_fields.check("body", notification.body)


def render_notification(
    notification: Notification, context: Context, limits: RenderLimits = DEFAULT_LIMITS
) -> RenderedNotification | RenderedHttpCall:
    """Render a notification for an event. Raises a `ContentError` if a field cannot be rendered."""
    if notification.http:
        return http_calls.call_of(notification.http, context, limits)
    title, body = _title(notification, context), _body(notification, context)
    if not body.strip():
        raise BadTemplate("body: is empty for this event")
    if notification.body is not None:
        check_body("body", len(body.encode()), limits.body_bytes)
    return RenderedNotification(
        service=notification.service or "", title=title.strip(), body=body.strip(), key=_key(context, title, body)
    )


def _key(context: Context, title: str, body: str) -> str:
    event = context["event"]
    return hashlib.sha256(f"{event['tenant']}\n{event['id']}\n{title}\n{body}".encode()).hexdigest()[:32]


def _title(notification: Notification, context: Context) -> str:
    if notification.title is None:
        return defaults.subject(context)
    return truncate(template_fields.fill_line("title", notification.title, context).strip(), defaults.MAX_LINE)


def _body(notification: Notification, context: Context) -> str:
    if notification.body is None:
        return defaults.text(context, MAX_DEFAULT_BODY)
    return template_fields.fill("body", notification.body, context)
