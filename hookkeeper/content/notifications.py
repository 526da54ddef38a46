"""Notifications as tenants define them, to a service or an HTTP API, and as they are rendered for an event; recipients
of alerts."""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from hookkeeper.content import defaults, json_text, services, template_fields
from hookkeeper.content.context import Context
from hookkeeper.content.emails import Email
from hookkeeper.content.errors import BadTemplate
from hookkeeper.content.headers import (
    MASK,
    MAX_VALUE,
    check_names,
    check_origin,
    check_total,
    check_value,
    masked_values,
)
from hookkeeper.content.payload import JSON, body_of
from hookkeeper.content.sizes import DEFAULT_LIMITS, MAX_HEADER_BYTES, RenderLimits, check_body
from hookkeeper.content.text import LINES, check_line, truncate
from hookkeeper.content.urls import MAX_URL, UrlRules, check_reachable, check_scheme, check_url

MAX_BODY = 64 * 1024
MAX_DEFAULT_BODY = 2000
MAX_RECIPIENTS = 10
"""Emails of `on_failure`, and its notifications."""
NO_HOST = tuple(f"{scheme}://{MASK}/{MASK}" for scheme in ("https", "http"))
"""Shown instead of a host from a template."""
_PLAIN_HOST = re.compile(r"https?://(?P<host>[^/?#{}]+)(?=[/?#]|$)", re.IGNORECASE)
_START = re.compile(r"https?://|\{[{%#]", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+( *; *[\w-]+=[\w.+-]+)*", re.ASCII)


class HttpCall(BaseModel):
    """An HTTP request. Templates (`{{ … }}`) are rendered for each event."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    method: Literal["POST", "PUT", "PATCH", "GET"] = "POST"
    url: str = Field(title="Address", min_length=1, max_length=MAX_URL, repr=False)
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    """Values are masked in responses."""
    body: Annotated[str, LINES] | None = Field(None, min_length=1, max_length=MAX_BODY)
    """If the content-type is JSON, `{{ … }}` writes a JSON value, and inside quotes its text. By default the event,
    which chats refuse: use `service` for them."""

    @field_validator("url")
    @classmethod
    def _reachable(cls, url: str) -> str:
        if url in NO_HOST:
            return url
        if not template_fields.is_template(url):
            return check_url(url)
        check_line(url)
        if not _START.match(url):
            raise ValueError("must start with https:// or http://")
        if plain := _PLAIN_HOST.match(url):
            check_url(plain[0])
        return url

    @field_validator("headers")
    @classmethod
    def _allowed(cls, headers: dict[str, str]) -> dict[str, str]:
        check_names(headers, free=("content-type",))
        for name, value in headers.items():
            if len(value) > MAX_VALUE:
                raise ValueError(f"the value of {name} is longer than {MAX_VALUE} characters")
            if not template_fields.is_template(value):
                check_value(name, value)
            if name.lower() == "content-type" and not _MEDIA_TYPE.fullmatch(value):
                raise ValueError(f"{name} must be a media type such as {JSON}, and no template")
        return headers

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.method == "GET" and self.body is not None:
            raise ValueError("a GET request has no body")
        if self.method != "GET" and self.body is None and not self.is_json:
            raise ValueError("needs a body if the content-type is not JSON")
        return self

    @property
    def content_type(self) -> str:
        return next((value for name, value in self.headers.items() if name.lower() == "content-type"), JSON)

    @property
    def is_json(self) -> bool:
        media_type = self.content_type.partition(";")[0].strip().lower()
        return media_type == JSON or media_type.endswith("+json")

    @property
    def host(self) -> str | None:
        """Scheme and host; None if a template makes them."""
        plain = _PLAIN_HOST.match(self.url)
        return plain[0] if plain and "@" not in plain[0] else None

    @property
    def target(self) -> str:
        """For display: without the path, which is often a secret."""
        return f"{self.method} {self.host or '…'}"


class RenderedHttpCall(BaseModel):
    """A call rendered for an event, checked and ready to be sent."""

    model_config = ConfigDict(frozen=True)

    method: str
    url: str = Field(repr=False)
    headers: dict[str, str] = Field(repr=False)
    body: bytes

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body)

    @property
    def shown(self) -> dict[str, Any]:
        return {"headers": masked_values(self.headers), "body": self.body.decode()}


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

    @property
    def destination(self) -> tuple[str | None, ...]:
        return (self.service, *((self.http.method, self.http.url) if self.http else ()))


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
    """The same for each attempt, and for all alerts of an incident."""
    resolves: bool = False
    """It says that the incident is over."""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body.encode())

    @property
    def shown(self) -> dict[str, Any]:
        return {"title": self.title, "body": self.body}

    def call(self) -> RenderedHttpCall:
        """Return the request to the service."""
        request = services.request_of(self.service, services.Note(self.title, self.body, self.key, self.resolves))
        headers = request.headers | {"content-type": JSON}
        body = json_text.compact(request.content).encode()
        return RenderedHttpCall(method="POST", url=request.url, headers=headers, body=body)


def check(notification: Notification) -> None:
    """Raise BadTemplate, with the field's name, for an invalid template."""
    if notification.http:
        check_call(notification.http)
        return
    template_fields.check("title", notification.title)
    template_fields.check("body", notification.body)


def faults(notification: Notification, rules: UrlRules) -> list[tuple[str, str]]:
    """Return field and error of what no template decides."""
    found = []
    for field, check in _checks(notification, rules):
        try:
            check()
        except ValueError as error:
            found.append((field, str(error)))
    return found


def _checks(notification: Notification, rules: UrlRules) -> Iterator[tuple[str, Callable[[], None]]]:
    call, service = notification.http, notification.service
    if call:
        yield "http.headers", lambda: check_total(call.headers, MAX_HEADER_BYTES)
        yield "http.url", lambda: check_scheme(call.url, rules.require_https)
    if call and (host := call.host):
        yield "http.url", lambda: check_reachable(host, rules.allowed)
    if service and MASK not in service:
        url = services.url_of(service)
        yield "service", lambda: check_scheme(url, rules.require_https)
        yield "service", lambda: check_reachable(url, rules.allowed)


def render_notification(
    notification: Notification, context: Context, limits: RenderLimits = DEFAULT_LIMITS
) -> RenderedNotification | RenderedHttpCall:
    """Render a notification for an event. Raises a `ContentError` if a field cannot be rendered."""
    if notification.http:
        return call_of(notification.http, context, limits)
    title, body = _title(notification, context), _body(notification, context)
    if not body.strip():
        raise BadTemplate("body: is empty for this event")
    if notification.body is not None:
        check_body("body", len(body.encode()), limits.body_bytes)
    alert = context.get("alert", {})
    return RenderedNotification(
        service=notification.service or "",
        title=title.strip(),
        body=body.strip(),
        key=_key(context, title, body),
        resolves=bool(alert.get("incident")) and alert["kind"] == "recovered",
    )


def _key(context: Context, title: str, body: str) -> str:
    event = context["event"]
    if incident := context.get("alert", {}).get("incident"):
        return hashlib.sha256(f"{event['tenant']}\n{incident}".encode()).hexdigest()[:32]
    return hashlib.sha256(f"{event['tenant']}\n{event['id']}\n{title}\n{body}".encode()).hexdigest()[:32]


def _title(notification: Notification, context: Context) -> str:
    if notification.title is None:
        return defaults.subject(context)
    return truncate(template_fields.fill_line("title", notification.title, context).strip(), defaults.MAX_LINE)


def _body(notification: Notification, context: Context) -> str:
    if notification.body is None:
        return defaults.text(context, MAX_DEFAULT_BODY)
    return template_fields.fill("body", notification.body, context)


def check_call(call: HttpCall) -> None:
    """Raise BadTemplate, with the field's name, for an invalid template, or a reserved header."""
    template_fields.check("http.url", call.url)
    with template_fields.named("http.headers"):
        check_origin(call.headers)
    for name, value in call.headers.items():
        if template_fields.is_template(value):
            template_fields.check(f"http.headers.{name}", value)
    template_fields.check("http.body", call.body, "json" if call.is_json else "none")


def call_of(call: HttpCall, context: Context, limits: RenderLimits = DEFAULT_LIMITS) -> RenderedHttpCall:
    """Render a call for an event. Raises a `ContentError` if a field cannot be rendered."""
    headers = {name: _value(name, value, context) for name, value in call.headers.items()}
    if call.method != "GET" and not any(name.lower() == "content-type" for name in headers):
        headers["content-type"] = JSON
    with template_fields.named("http.headers"):
        check_total(headers, limits.header_bytes)
    body = _call_body(call, context)
    if call.body is not None:
        check_body("http.body", len(body), limits.body_bytes)
    return RenderedHttpCall(method=call.method, url=_url(call.url, context), headers=headers, body=body)


def _url(template: str, context: Context) -> str:
    url = (
        template_fields.fill_line("http.url", template, context) if template_fields.is_template(template) else template
    )
    try:
        check_url(url)
    except ValueError as error:
        raise BadTemplate(f"http.url: {error} (use the filter urlencode for data in a URL)") from None
    if len(url) > MAX_URL:
        raise BadTemplate(f"http.url: is longer than {MAX_URL} characters for this event")
    return url


def _value(name: str, template: str, context: Context) -> str:
    field = f"http.headers.{name}"
    value = (
        template_fields.fill_line(field, template, context).strip()
        if template_fields.is_template(template)
        else template
    )
    with template_fields.named(field):
        check_value(name, value)
    return value


def _call_body(call: HttpCall, context: Context) -> bytes:
    if call.method == "GET":
        return b""
    if call.body is None:
        return _the_event(context)
    text = template_fields.fill("http.body", call.body, context, "json" if call.is_json else "none")
    if call.is_json:
        json_text.parse("http.body", text)
    return text.encode()


def _the_event(context: Context) -> bytes:
    """Return the standard body of a webhook; for an alert, with the alert in it."""
    body = body_of(None, context).content
    if "alert" not in context:
        return body
    return b'{"alert":%b,"event":%b}' % (json_text.compact(context["alert"]).encode(), body)
