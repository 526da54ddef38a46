"""Notifications as tenants define them, and as they are rendered."""

import json
from typing import Any

import pytest
from pydantic import ValidationError
from samples import alerting, seeing

from cases import each
from hookkeeper.content import notifications
from hookkeeper.content.errors import BadTemplate
from hookkeeper.content.notifications import (
    HttpCall,
    Notification,
    OnFailure,
    RenderedHttpCall,
    RenderedNotification,
    render_notification,
)

SLACK = "slack://T000/B000/secret"
URL = "https://api.example/hooks/secret"
DATA = {"x": 'a"ü', "path": "a b/c", "n": 1}


def rendered(data: Any = DATA, **fields: Any) -> RenderedNotification:
    made = render_notification(Notification(**({"service": SLACK} | fields)), seeing(data))
    assert isinstance(made, RenderedNotification)
    return made


def call(data: Any = DATA, context: dict[str, Any] | None = None, **fields: Any) -> RenderedHttpCall:
    made = render_notification(by_http(**fields), context or seeing(data))
    assert isinstance(made, RenderedHttpCall)
    return made


def by_http(**fields: Any) -> Notification:
    return Notification(http=HttpCall(**({"url": URL} | fields)))


# Services


def test_a_notification_without_a_body_shows_the_event() -> None:
    shown = rendered()
    assert (shown.service, shown.title) == (SLACK, "order.paid")
    assert shown.body.startswith("order.paid happened at 2026-01-02T03:04:05.678Z (event evt_1 of acme).\n\n{\n")
    assert len(rendered({"x": "y" * 5000}).body) == 2000


def test_title_and_body_are_templates() -> None:
    shown = rendered(title="{{ event.type }}: {{ event.data.x }}\n", body="<{{ event.data.x }}>\n{{ event.data.n }}")
    assert (shown.title, shown.body) == ('order.paid: a"ü', '<a"ü>\n1')
    assert rendered(title="", body="x").title == ""
    assert len(rendered(title="{{ 'x' * 300 }}").title) <= 255


def test_each_attempt_of_a_notification_has_the_same_key_and_another_event_another() -> None:
    keys = [rendered().key, rendered().key, rendered({"x": "other"}).key, rendered(body="another text").key]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_an_alert_has_words_of_its_own() -> None:
    alert = render_notification(Notification(service=SLACK), alerting(unreported=2))
    assert isinstance(alert, RenderedNotification)
    assert alert.title == "Delivery failed: order.paid to Orders (acme)"
    for named in (
        "acme",
        "Orders",
        "order.paid evt_1",
        "503, http_503",
        "https://temporal.example/run",
        "since the last alert: 2",
    ):
        assert named in alert.body


@each(
    ("fields", "error"),
    [
        ({"title": "{{ 'a\\nb' }}"}, "title: must be one line"),
        ({"title": "{{ event.typo.x }}"}, "title: "),
        ({"body": "{{ ' ' }}"}, "body: is empty for this event"),
        ({"body": "\n{{ event.typo.x }}"}, r"body: .*\(line 2, column [0-9]+\)"),
    ],
)
def test_a_notification_that_cannot_be_rendered_is_a_bad_template(fields: dict[str, Any], error: str) -> None:
    with pytest.raises(BadTemplate, match=f"^{error}"):
        rendered(**fields)


# Calls


def test_an_http_call_without_a_body_sends_the_event() -> None:
    made = call()
    assert (made.method, made.url, made.headers) == ("POST", URL, {"content-type": "application/json"})
    assert json.loads(made.body) == {
        "id": "evt_1",
        "type": "order.paid",
        "timestamp": "2026-01-02T03:04:05.678Z",
        "data": DATA,
    }
    body = json.loads(call(context=alerting()).body)
    assert (body["alert"]["reason"], body["event"]["id"]) == ("exhausted", "evt_1")


def test_url_headers_and_body_are_templates() -> None:
    made = call(
        method="PUT",
        url="https://api.example/{{ event.id }}?q={{ event.data.path | urlencode }}",
        headers={"Authorization": "Bearer {{ webhook.id }}\n", "x-plain": "1"},
        body='{"text": {{ event.data.x }}}',
    )
    assert (made.method, made.url) == ("PUT", "https://api.example/evt_1?q=a%20b/c")
    assert made.headers == {"Authorization": "Bearer wh_1", "x-plain": "1", "content-type": "application/json"}
    assert json.loads(made.body) == {"text": 'a"ü'}


@each(
    ("content_type", "body", "sent"),
    [
        ("application/json", "[{{ event.data.x }}]", '["a\\"ü"]'),
        ("application/vnd.api+json; charset=utf-8", "[{{ event.data.x }}]", '["a\\"ü"]'),
        ("text/plain", "[{{ event.data.x }}]", '[a"ü]'),
        ("application/x-www-form-urlencoded", "x={{ event.data.path | urlencode }}", "x=a%20b/c"),
    ],
)
def test_the_content_type_decides_how_data_is_escaped(content_type: str, body: str, sent: str) -> None:
    made = call(headers={"Content-Type": content_type}, body=body)
    assert (made.headers, made.body.decode()) == ({"Content-Type": content_type}, sent)


def test_a_get_has_no_body() -> None:
    made = call(method="GET")
    assert (made.method, made.headers, made.body) == ("GET", {}, b"")


@each(
    ("fields", "error"),
    [
        ({"url": "{{ event.data.x }}"}, "http.url: must be printable ASCII"),
        ({"url": "https://api.example/{{ event.data.path }}"}, "http.url: must be printable ASCII.*urlencode"),
        ({"url": "{{ 'ftp://a.example/' }}"}, "http.url: must start with https:// or http://"),
        ({"url": "https://{{ 'user@evil.example' }}/"}, "http.url: must not contain user names"),
        ({"url": "https://a.example/{{ 'a\\nb' }}"}, "http.url: must be one line"),
        ({"url": "https://a.example/{{ 'a' }}{{ '#b' }}"}, "http.url: must not have a fragment"),
        ({"url": "https://a.example/" + "{{ event.id }}" * 140, "body": "1"}, None),
        ({"url": "https://a.example/{% for _ in range(500) %}aaaaa{% endfor %}"}, "http.url: is longer than 2048"),
        ({"url": "https://********/********"}, "http.url: must name a host"),
        ({"headers": {"x-a": "{{ event.data.x }}"}}, "http.headers.x-a: the value of x-a must be 1 to 4096 printable"),
        ({"headers": {"x-a": "{{ '' }}"}}, "http.headers.x-a: the value"),
        ({"headers": {"x-a": "{{ 'a\\r\\nb: c' }}"}}, "http.headers.x-a: must be one line"),
        (
            {"body": "{{ event.data.x }} {{ event.data.x }}"},
            "http.body: the output of the template is not JSON: trailing",
        ),
        ({"body": "{% if false %}1{% endif %}"}, "http.body: the template renders nothing"),
        ({"body": "\n{{ event.typo.x }}"}, r"http.body: .*\(line 2, column [0-9]+\)"),
    ],
)
def test_an_http_call_that_cannot_be_rendered_is_a_bad_template(fields: dict[str, Any], error: str | None) -> None:
    if error is None:
        assert len(call(**fields).url) < 2048
        return
    with pytest.raises(BadTemplate, match=f"^{error}"):
        call(**fields)


# What is refused


@each(
    ("fields", "sentence"),
    [
        ({}, "give either service or http"),
        ({"service": SLACK, "http": {"url": URL}}, "give either service or http"),
        ({"http": {"url": URL}, "title": "x"}, "title and body belong to a service"),
        ({"service": "slack"}, "must be the address of a service"),
        ({"service": "slack://a b"}, "must be the address of a service"),
        ({"service": "slack://a\nb"}, "must be the address of a service"),
        ({"service": "gotify://a"}, "; use http for any other"),
        ({"service": f"slack://{'a' * 2048}"}, "at most 2048"),
        ({"service": SLACK, "body": "x" * 65537}, "at most 65536"),
        ({"http": {"url": "api.example"}}, "must start with https:// or http://"),
        ({"http": {"url": "ftp://api.example/{{ event.id }}"}}, "must start with https:// or http://"),
        (
            {"http": {"url": "https://user:secret@api.example/{{ event.id }}"}},
            "must not contain user names or passwords",
        ),
        ({"http": {"url": "https://api.example:99999/{{ event.id }}"}}, "has a port that is not between"),
        ({"http": {"url": "https://api.example/{{\nevent.id }}"}}, "must be one line"),
        ({"http": {"url": f"https://api.example/{'a' * 2048}"}}, "at most 2048"),
        ({"http": {"url": URL, "method": "DELETE"}}, "Input should be 'POST'"),
        ({"http": {"url": URL, "method": "GET", "body": "x"}}, "a GET request has no body"),
        ({"http": {"url": URL, "headers": {"content-type": "text/plain"}}}, "needs a body if"),
        ({"http": {"url": URL, "headers": {"content-type": "{{ event.id }}"}, "body": "x"}}, "must be a media type"),
        ({"http": {"url": URL, "headers": {"content-length": "3"}}}, "content-length is set by Hookkeeper or by HTTP"),
        ({"http": {"url": URL, "headers": {"Host": "x"}}}, "Host is set by"),
        ({"http": {"url": URL, "headers": {"x a": "x"}}}, "'x a' is not the name of a header"),
        ({"http": {"url": URL, "headers": {"x-{{ event.id }}": "x"}}}, "is not the name of a header"),
        ({"http": {"url": URL, "headers": {"x-a": "ü"}}}, "the value of x-a must be 1 to 4096 printable ASCII"),
        ({"http": {"url": URL, "headers": {"x-a": "{{ 1 }}" + "a" * 4096}}}, "the value of x-a is longer than"),
        ({"http": {"url": URL, "headers": {"x-a": "1", "X-A": "2"}}}, "differ only in case"),
        ({"http": {"url": URL, "headers": {f"x-{n}": "1" for n in range(31)}}}, "at most 30 headers"),
        ({"http": {"url": URL, "body": "x" * 65537}}, "at most 65536"),
        ({"service": SLACK, "colour": "red"}, "Extra inputs"),
    ],
)
def test_an_invalid_notification_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence) as raised:
        Notification.model_validate(fields)
    assert "secret" not in str(raised.value)


@each(
    ("notification", "field"),
    [
        (Notification(service=SLACK, title="{{ x"), "title"),
        (Notification(service=SLACK, body="{% if %}"), "body"),
        (by_http(url="https://a.example/{{ event. }}"), "http.url"),
        (by_http(headers={"x-a": "{{ event. }}"}), "http.headers.x-a"),
        (by_http(body="{{ event. }}"), "http.body"),
    ],
)
def test_a_template_that_cannot_be_read_is_named(notification: Notification, field: str) -> None:
    with pytest.raises(BadTemplate, match=f"^{field}: "):
        notifications.check(notification)
    notifications.check(by_http(url="https://a.example/{{ event.id }}", body="{{ event.data }}"))


def test_on_failure_has_a_recipient() -> None:
    with pytest.raises(ValidationError, match="needs at least one email or notification"):
        OnFailure()
    with pytest.raises(ValidationError, match="at most 10 items"):
        OnFailure(notifications=(Notification(service=SLACK),) * 11)
    assert OnFailure(notifications=(Notification(service=SLACK),)).emails == ()
