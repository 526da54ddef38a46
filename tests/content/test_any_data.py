"""With any event data, a tenant's content yields a result or a ContentError, never an internal error."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import alerting, seeing

from hookkeeper.content import emails, filters, notifications, payload, templates
from hookkeeper.content.emails import Email
from hookkeeper.content.errors import ContentError
from hookkeeper.content.notifications import HttpCall, Notification
from hookkeeper.content.payload import Payload
from hookkeeper.sandbox.pool import Sandbox

Calling = Callable[..., Any]


@pytest.fixture(scope="module")
def calling() -> Iterator[Calling]:
    """Calls a function in a sandbox that all tests of this file share; gives what it gave, or its ContentError."""
    with asyncio.Runner() as runner:
        sandbox = Sandbox(functions="sandbox_functions")

        def call(function: Callable[..., Any], *args: Any) -> Any:
            try:
                return runner.run(sandbox.for_("").call(function, *args))
            except ContentError as error:
                return error

        yield call
        runner.run(sandbox.close())


def nested(depth: int, kind: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = kind(value)
    return value


NASTY = {
    "beyond 64 bits": 2**64,
    "beyond 128 bits": -(2**130),
    "beyond a double": 10**309,
    "far below a double": -(10**4000),
    "the most digits that an event may have": int("9" * 308),
    "the most digits that Python reads": int("9" * 4300),
    "a double's largest": 1.7976931348623157e308,
    "a double's smallest": 5e-324,
    "a negative zero": -0.0,
    "a list in lists": nested(64, lambda value: [value]),
    "a list in some lists": nested(400, lambda value: [value]),
    "a list in many lists": nested(5000, lambda value: [value]),
    "an object in objects": nested(64, lambda value: {"a": value}),
    "an object in many objects": nested(5000, lambda value: {"a": value}),
    "half a surrogate pair": "\ud800",
    "the other half": "a\udfff",
    "halves as keys": {"\ud800": "\udc00"},
    "NUL": "a\0b",
    "NUL as a key": {"\0": "\0", "": ""},
    "line ends": "a\r\nb\u2028c\u0085",
    "code": "{{ 7 * 7 }}{% raw %}",
    "names of Python's": {"__class__": 1, "items": 2, "get": 3, "keys": 4},
    "nothing": None,
    "a long text": "é" * 100_000,
    "many": list(range(10_000)),
}
ESCAPES = ("none", "html", "json")
FILTERS = (
    "event.data > 1",
    "event.data == event.data",
    "-event.data < 0",
    "event.data + event.data > 0",
    "event.data * 2.0 == 1.0",
    "double(event.data) > 0.0 || int(event.data) > 0 || string(event.data) == ''",
    "size(event.data) > 1",
    "event.data.exists(x, x == 1)",
    "event.data.a.a == 1",
    "event.data in [1, 1.0, 'a']",
    "event.data[0][0] == 1",
    "event.data.matches('^a') || event.data.startsWith('a')",
    "has(event.data.a)",
    "timestamp(event.data) > timestamp(0) || duration(event.data) > duration('1s')",
)
TEMPLATES = (
    "{{ event.data }}",
    "{{ event.data|tojson }}",
    "{{ event.data|string|upper }} {{ event.data|urlencode }}",
    "{{ event.data * event.data }}",
    "{{ event.data + 1 }} {{ event.data ** 9 }}",
    "{{ -event.data }} {{ event.data % 7 }} {{ event.data // 3 }}",
    "{{ event.data|int }} {{ event.data|float }} {{ event.data|round }} {{ event.data|abs }}",
    "{{ event.data|length }} {{ event.data|list }} {{ event.data|first }}",
    "{{ event.data|datetimeformat }}",
    "{{ 0|datetimeformat(event.data) }} {{ 0|datetimeformat(tz=event.data) }}",
    "{% for a in event.data %}{{ a }}{% endfor %}",
    "{% if event.data > 1 %}{{ event.data < 'a' }}{% endif %}",
    "{{ event.data.a.a.a }} {{ event.data['a'] }} {{ event.data[0] }}",
    "{{ event.data.items() }} {{ event.data.get('a') }}",
    "{{ event.data|sort }} {{ event.data|unique }} {{ event.data|sum }}",
    "{{ range(event.data) }} {{ 'a' * event.data }} {{ event.data|indent(event.data) }}",
)


@pytest.mark.parametrize("data", NASTY.values(), ids=NASTY)
def test_nasty_data_yields_content_or_a_content_error(calling: Calling, data: Any) -> None:
    event = seeing(data)["event"]
    for expression in FILTERS:
        calling(filters.matches, expression, event)
    for n, template in enumerate(TEMPLATES):
        calling(templates.render, template, seeing(data), ESCAPES[n % len(ESCAPES)])
    for template in TEMPLATES:
        for function, element in elements(template):
            calling(function, element, seeing(data))
    for context in (seeing(data), alerting(reason="exhausted") | seeing(data)):
        for function, element in WITHOUT_TEMPLATE:
            calling(function, element, context)


FORM = "application/x-www-form-urlencoded"
WITHOUT_TEMPLATE: list[tuple[Callable[..., Any], Any]] = [
    (payload.body_of, None),
    (payload.body_of, Payload(content_type=FORM)),
    (payload.body_of, Payload(format="cloudevents")),
    (payload.body_of, Payload(format="cloudevents-binary")),
    (emails.render_email, Email(to=("ann@acme.example",))),
    (emails.render_email, Email(to=("ann@acme.example",), template_id="d-1")),
    (notifications.render_notification, Notification(service="slack://a/b/c")),
    (notifications.render_notification, Notification(http=HttpCall(url="https://api.example/"))),
]


def elements(template: str) -> list[tuple[Callable[..., Any], Any]]:
    """Return each element with this template in all its fields."""
    call = HttpCall(url="https://api.example/" + template, headers={"x-a": template}, body=template)
    return [
        (payload.body_of, Payload(template=template)),
        (payload.body_of, Payload(template=template, content_type="text/plain")),
        (payload.body_of, Payload(template=template, content_type=FORM)),
        (payload.body_of, Payload(template='{"a": ' + template + "}", content_type=FORM)),
        (payload.body_of, Payload(template=template, format="cloudevents-binary")),
        (emails.render_email, Email(to=("ann@acme.example",), subject=template, text=template, html=template)),
        (emails.render_email, Email(to=(template, "ann@acme.example"), reply_to=template)),
        (notifications.render_notification, Notification(service="slack://a/b/c", title=template, body=template)),
        (notifications.render_notification, Notification(http=call)),
        (
            notifications.render_notification,
            Notification(http=HttpCall(url="https://a.example/", headers={"x": template})),
        ),
    ]


TEXTS = st.text(max_size=20) | st.text(st.characters(categories=["Cs", "Cc", "Lu"]), max_size=4)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(10**400), 10**400) | FINITE | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(JSON, st.sampled_from(FILTERS), st.sampled_from(TEMPLATES))
def test_any_data_yields_content_or_a_content_error(
    calling: Calling, data: Any, expression: str, template: str
) -> None:
    calling(filters.matches, expression, seeing(data)["event"])
    for function, element in (*WITHOUT_TEMPLATE, *elements(template)):
        calling(function, element, seeing(data))
