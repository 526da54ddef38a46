"""The body of a webhook's request. Pure: exactly these bytes are signed and sent.

The body is the same at each attempt. CloudEvents 1.0 are written by the official SDK: one JSON object, or with the
attributes in headers.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hookkeeper.content import json_text, template_fields
from hookkeeper.content.context import Context
from hookkeeper.content.json_text import compact
from hookkeeper.content.sizes import DEFAULT_LIMITS, RenderLimits, check_body
from hookkeeper.content.text import LINES, is_line

MAX_STATIC = 16 * 1024
MAX_TEMPLATE = 64 * 1024
STANDARD_FIELDS = ("id", "type", "timestamp", "data")
JSON, TEXT, FORM = "application/json", "text/plain", "application/x-www-form-urlencoded"
TEMPLATE = "payload.template"
"""The name of the template in errors."""


ATTRIBUTES = frozenset(
    {"id", "source", "type", "specversion", "datacontenttype", "dataschema", "subject", "time", "data"}
)
EXTENSION = re.compile(r"[a-z0-9]{1,20}", re.ASCII)
MAX_VALUE = 1024
INTEGERS = range(-(2**31), 2**31)
"""CloudEvents 1.0, "Type System": an Integer has 32 bits."""


class Payload(BaseModel):
    """The format of a webhook's requests."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    format: Literal["standard", "cloudevents", "cloudevents-binary", "svix"] = "standard"
    """`cloudevents`: CloudEvents 1.0 as one JSON object. `cloudevents-binary`: attributes in headers. `svix`: the data
    alone, signed in `svix-…` headers too."""
    static: dict[str, Any] = Field(default_factory=dict, title="Fixed fields", examples=[{"source": "shop"}])
    """Fields to add to each event, after the standard fields; extension attributes of CloudEvents."""
    template: Annotated[str, LINES] | None = Field(
        None,
        title="Template of the body",
        min_length=1,
        max_length=MAX_TEMPLATE,
        examples=['{"order": {{ event.data.order }}}'],
    )
    """A template of the body (for CloudEvents: of the data) with `event`, `webhook` and `static`. In JSON, `{{ … }}`
    writes a JSON value, and inside quotes its text."""
    content_type: Literal["application/json", "text/plain", "application/x-www-form-urlencoded"] = "application/json"
    """A form is encoded from a flat JSON object."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        try:
            json_text.check_size(self.static, MAX_STATIC)
        except ValueError as error:
            raise ValueError(f"static {error}") from None
        if self.format == "svix":
            if self.content_type != JSON or self.static:
                raise ValueError(f"the data alone has the content type {JSON}: omit content_type and static")
        elif self.format != "standard":
            if self.content_type != JSON:
                raise ValueError(f"the data of a CloudEvent has the content type {JSON}: omit content_type")
            check_extensions(self.static)
        elif taken := [name for name in STANDARD_FIELDS if name in self.static]:
            raise ValueError(f"static must not contain {taken[0]}: it is a standard field of events")
        if self.content_type == TEXT and self.template is None:
            raise ValueError(f"{TEXT} needs a template")
        return self


class Body(NamedTuple):
    content: bytes
    headers: dict[str, str]
    """`content-type`, and `ce-…` of a binary CloudEvent."""

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return len(self.content)


def body_of(payload: Payload | None, context: Context, limits: RenderLimits = DEFAULT_LIMITS) -> Body:
    """Return the body for an event. Raises a `ContentError` if a template cannot be rendered.

    The body of a payload is limited. Without a payload, the body is the event, whose size is limited already.
    """
    if payload is None:
        return _body(Payload(), context)
    body = _body(payload, context)
    check_body(TEMPLATE if payload.template else "payload", len(body.content), limits.body_bytes)
    return body


def _body(payload: Payload, context: Context) -> Body:
    if payload.format != "standard":
        return _of_data(payload, context)
    match payload.content_type:
        case "application/json":
            return Body(_json(payload, context).encode(), {"content-type": JSON})
        case "text/plain":
            text = template_fields.fill(TEMPLATE, payload.template or "", _with_static(payload, context))
            return Body(text.encode(), {"content-type": f"{TEXT}; charset=utf-8"})
    return Body(_form(payload, context).encode(), {"content-type": FORM})


def check(payload: Payload) -> None:
    """Raise BadTemplate, with the field's name, for a template that is wrong for every event."""
    template_fields.check(TEMPLATE, payload.template, "none" if payload.content_type == TEXT else "json")


def _of_data(payload: Payload, context: Context) -> Body:
    """Return the data in a CloudEvent, or alone."""
    event, extensions = context["event"], payload.static
    text = _filled(payload, context)
    data = json_text.parse(TEMPLATE, text) if text is not None else event["data"]
    if payload.format == "cloudevents":
        return Body(*structured(event, extensions, data))
    alone = (text or compact(data)).encode()
    if payload.format == "svix":
        return Body(alone, {"content-type": JSON})
    return Body(*binary(event, extensions, alone))


def _json(payload: Payload, context: Context) -> str:
    text = _filled(payload, context)
    if text is None:
        return compact(_standard(payload, context))
    json_text.parse(TEMPLATE, text)
    return text


def _form(payload: Payload, context: Context) -> str:
    """Encode a form: strings unchanged, null omitted, other values as JSON."""
    text = _filled(payload, context)
    if text is None:
        standard = _standard(payload, context)
        pairs = {**standard, "data": compact(standard["data"])}.items()
    else:
        pairs = json_text.flat_object(TEMPLATE, text).items()
    return urlencode([(name, _form_value(value)) for name, value in pairs if value is not None])


def _form_value(value: Any) -> str:
    return value if isinstance(value, str) else compact(value)


def _standard(payload: Payload, context: Context) -> dict[str, Any]:
    return {name: context["event"][name] for name in STANDARD_FIELDS} | payload.static


def _filled(payload: Payload, context: Context) -> str | None:
    """Render the template, if any, as JSON."""
    if payload.template is None:
        return None
    return template_fields.fill(TEMPLATE, payload.template, _with_static(payload, context), "json")


def _with_static(payload: Payload, context: Context) -> dict[str, Any]:
    return {**context, "static": payload.static}


def check_extensions(extensions: Mapping[str, Any]) -> None:
    """Raise ValueError for what cannot be an extension attribute: CloudEvents 1.0, "Attribute Naming Convention"."""
    for name, value in extensions.items():
        if not EXTENSION.fullmatch(name):
            raise ValueError(f"static: {name[:64]!r} must be 1 to 20 characters a-z and 0-9 in CloudEvents")
        if name in ATTRIBUTES:
            raise ValueError(f"static must not contain {name}: it is a standard attribute of CloudEvents")
        if not _is_value(value):
            raise ValueError(
                f"static: {name} must be true, false, an integer of 32 bits, "
                f"or a line of 1 to {MAX_VALUE} characters to be an attribute of a CloudEvent"
            )


def structured(event: Mapping[str, Any], extensions: Mapping[str, Any], data: Any) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of an event that is one JSON object."""
    from cloudevents.core.bindings import http  # few webhooks send CloudEvents
    from cloudevents.core.v1.event import CloudEvent

    message = http.to_structured_event(CloudEvent(_attributes(event, extensions), data))
    return message.body, message.headers


def binary(event: Mapping[str, Any], extensions: Mapping[str, Any], data: bytes) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of an event whose body is its data alone."""
    from cloudevents.core.bindings import http
    from cloudevents.core.v1.event import CloudEvent

    # The SDK would write `True`; CloudEvents 1.0 writes a Boolean as `true`.
    spelled = {name: str(value).lower() if isinstance(value, bool) else value for name, value in extensions.items()}
    message = http.to_binary_event(CloudEvent(_attributes(event, spelled), data))
    return message.body, message.headers


def _attributes(event: Mapping[str, Any], extensions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes. The id is unique for its tenant, so the source is the tenant: `/acme`, a URI-reference."""
    return {
        "specversion": "1.0",
        "id": event["id"],
        "source": f"/{quote(event['tenant'], safe='')}",
        "type": event["type"],
        "time": datetime.fromisoformat(event["timestamp"]),
        "datacontenttype": "application/json",
        **extensions,
    }


def _is_value(value: Any) -> bool:
    match value:
        case bool():
            return True
        case int():
            return value in INTEGERS
        case str():
            return 1 <= len(value) <= MAX_VALUE and is_line(value)
    return False
