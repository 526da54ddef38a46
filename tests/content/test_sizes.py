"""The limits of rendered content, and the memory that JSON data takes."""

import json
import sys
from typing import Any

import pytest
from samples import seeing

from cases import each
from hookkeeper.content.emails import Email, render_email
from hookkeeper.content.errors import BadTemplate
from hookkeeper.content.notifications import HttpCall, Notification, render_notification
from hookkeeper.content.payload import Payload, body_of
from hookkeeper.content.sizes import RenderLimits, memory_of

TWICE = "{{ event.data }}{{ event.data }}"
DATA = "é" * 40
"""80 bytes in UTF-8."""


@each(
    ("make", "written", "field"),
    [
        (body_of, Payload(template=TWICE, content_type="text/plain"), "payload.template"),
        (body_of, Payload(template='"' + TWICE + '"'), "payload.template"),
        (body_of, Payload(template='{"a": {{ event.data }}}', format="cloudevents"), "payload.template"),
        (body_of, Payload(content_type="application/x-www-form-urlencoded"), "payload"),
        (render_email, Email(to=("a@b.example",), text="{{ event.data }}", html="{{ event.data }}"), "text and html"),
        (render_notification, Notification(service="slack://a/b/c", body=TWICE), "body"),
        (
            render_notification,
            Notification(http=HttpCall(url="https://a.example", body='"' + TWICE + '"')),
            "http.body",
        ),
    ],
)
def test_a_rendered_body_has_a_largest_size(make: Any, written: Any, field: str) -> None:
    make(written, seeing(DATA), RenderLimits(10_000))
    with pytest.raises(BadTemplate, match=f"{field}: makes [0-9,]+ bytes of this event, and may make at most 150"):
        make(written, seeing(DATA), RenderLimits(150))


def test_a_body_that_the_webhook_does_not_shape_is_as_large_as_its_event() -> None:
    assert len(body_of(None, seeing(DATA), RenderLimits(10)).content) > 80


DATA_OF_MANY_SHAPES: list[Any] = [
    [[] for _ in range(1000)],
    [{} for _ in range(1000)],
    [{"a": number} for number in range(1000)],
    {f"key{number}": number for number in range(1000)},
    [number + 0.5 for number in range(1000)],
    [number * 10**9 for number in range(1000)],
    [f"text {number}" for number in range(1000)],
    ["é" * 20 + chr(number + 0x1F600) for number in range(1000)],
    "x" * 10_000,
    "\N{SNOWMAN}" * 10_000,
    [[[{"a": [None, True, "b", 1.5]}]] for _ in range(500)],
]


@each("data", DATA_OF_MANY_SHAPES)
def test_the_memory_of_data_is_not_underestimated(data: Any) -> None:
    actual = _size(json.loads(json.dumps(data)))
    assert actual <= memory_of(data) <= 8 * actual


def _size(value: Any) -> int:
    """Count the objects one by one. Garbage collection takes 16 bytes more of a container."""
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + 16 + sum(_size(key) + _size(item) for key, item in value.items())
    if isinstance(value, list):
        return size + 16 + sum(map(_size, value))
    return size
