"""Event data cannot inject headers, recipients, HTML or JSON: the content is clean, or a `ContentError` is raised."""

import json
import unicodedata
from typing import Any
from urllib.parse import urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st
from samples import alerting, seeing

from hookkeeper.content.emails import Email, render_email
from hookkeeper.content.errors import ContentError
from hookkeeper.content.notifications import (
    HttpCall,
    Notification,
    RenderedHttpCall,
    RenderedNotification,
    render_notification,
)
from hookkeeper.content.payload import Payload, body_of

some = settings(max_examples=100, deadline=None)
nasty = st.sampled_from(
    [
        "\r\nBcc: evil@evil.example",
        "\n",
        "\r",
        "\0",
        "\x0b",
        "\x85",
        "\u2028",
        "\x7f",
        "a@b.com, evil@evil.example",
        "a@b.com>, <evil@evil.example",
        "evil@evil.example> (",
        '" <evil@evil.example>, "',
        "<script>alert(1)</script>",
        "'><img src=x>",
        '"',
        "\\",
        "{{ 7 * 7 }}",
        "{% raw %}",
        "https://evil.example",
        "@evil.example/",
        "/../../",
        "#",
        "?a=b&c=d",
        "a@b.com",
        "Ann",
        "",
    ]
)
texts = st.lists(nasty | st.text(max_size=6), max_size=4).map("".join)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
)


def clean(text: str) -> bool:
    return not any(unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") for character in text)


@some
@given(data=anything)
def test_an_email_has_clean_headers_and_one_recipient_an_entry(data: Any) -> None:
    email = Email(
        to=("{{ event.data }}", "{{ event.data }} <fixed@acme.com>", "first@acme.com"),
        cc=("<{{ event.data }}@acme.com>",),
        reply_to="Reply {{ event.data }} <reply@acme.com>",
        subject="About {{ event.data }}",
        text="{{ event.data }}",
    )
    try:
        rendered = render_email(email, seeing(data))
    except ContentError:
        return
    mailboxes = [*rendered.to, *rendered.cc, *([rendered.reply_to] if rendered.reply_to else [])]
    for mailbox in mailboxes:
        assert clean(mailbox.address) and mailbox.address.isascii() and mailbox.address.count("@") == 1
        assert not set(mailbox.address) & set("<>,;: ")
        assert clean(mailbox.name)
    assert "fixed@acme.com" in rendered.recipients
    assert len(rendered.recipients) <= 4
    assert all(address.endswith("@acme.com") for address in [mailbox.address for mailbox in rendered.cc])
    assert clean(rendered.subject) and len(rendered.subject) <= 255


@some
@given(data=texts, name=texts)
def test_each_email_field_is_clean_or_a_content_error(data: str, name: str) -> None:
    context = seeing({"x": data, "name": name})
    for fields in (
        {"to": ("{{ event.data.x }}",)},
        {"to": ("{{ event.data.name }} <{{ event.data.x }}>",)},
        {"to": ("a@b.com",), "bcc": ("{{ event.data.x }}",)},
        {"to": ("a@b.com",), "subject": "{{ event.data.x }}{{ event.data.name }}"},
        {"to": ("a@b.com",), "reply_to": "{{ event.data.x }}"},
    ):
        try:
            rendered = render_email(Email(**fields), context)
        except ContentError:
            continue
        shown = rendered.model_dump_json(include={"to", "bcc", "reply_to", "subject"})
        assert all(clean(part) for part in _strings(json.loads(shown)))


@some
@given(data=anything)
def test_html_in_event_data_is_escaped_in_an_email(data: Any) -> None:
    rendered = render_email(
        Email(to=("a@b.com",), html='<i title="{{ event.data }}">{{ event.data }}</i>'), seeing(data)
    )
    assert rendered.html is not None
    inside = rendered.html.removeprefix('<i title="').removesuffix("</i>")
    assert inside.count("<") == 0 and inside.count(">") == 1 and inside.count('"') == 1
    assert "'" not in inside


@some
@given(data=anything)
def test_an_http_call_has_clean_headers_and_valid_json(data: Any) -> None:
    notification = Notification(
        http=HttpCall(
            url="https://api.example/{{ event.data.url }}?q={{ event.data.url }}",
            headers={"x-data": "v {{ event.data.header }}"},
            body='{"a": {{ event.data.body }}, "b": [{{ event.data.body }}]}',
        )
    )
    for field in ("url", "header", "body"):
        context = seeing({"url": "u", "header": "h", "body": "b"} | {field: data})
        try:
            call = render_notification(notification, context)
        except ContentError:
            assert field != "body"
            continue
        assert isinstance(call, RenderedHttpCall)
        assert call.url.isascii() and call.url.isprintable() and " " not in call.url
        assert call.url.startswith("https://api.example/")
        assert all(value.isascii() and value.isprintable() for value in call.headers.values())
        assert json.loads(call.body)["b"] == [json.loads(call.body)["a"]]


@some
@given(data=texts)
def test_a_host_from_event_data_is_a_valid_host(data: str) -> None:
    for url in ("{{ event.data }}", "https://{{ event.data }}/hook", "https://api.example{{ event.data }}"):
        try:
            call = render_notification(Notification(http=HttpCall(url=url)), seeing(data))
        except ContentError:
            continue
        assert isinstance(call, RenderedHttpCall)
        assert call.url.startswith(("https://", "http://"))
        assert call.url.isascii() and call.url.isprintable() and not set(call.url) & set(' \\"<>^`{|}#')
        assert "@" not in urlsplit(call.url).netloc


@some
@given(data=anything, title=texts)
def test_a_note_has_a_clean_title(data: Any, title: str) -> None:
    context = seeing({"x": data, "title": title})
    for fields in ({}, {"title": "{{ event.data.title }}", "body": "{{ event.data.x }}"}):
        try:
            note = render_notification(Notification(service="slack://a/b/c", **fields), context)
        except ContentError:
            continue
        assert isinstance(note, RenderedNotification)
        assert clean(note.title) and len(note.title) <= 255
        assert note.body.strip()


def test_a_template_cannot_change_the_data_of_others() -> None:
    context = seeing({"x": [1], "email": "a@b.com"})
    before = json.dumps(context)
    changing = "{% if event.data.x.append(2) or event.data.clear() or event.clear() %}{% endif %}"
    email = Email(to=(changing + "first@b.com", "{{ event.data.email }}"), html=changing + "x")
    rendered = render_email(email, context)
    assert (rendered.recipients, rendered.subject) == (("first@b.com", "a@b.com"), "order.paid")
    for notification in (
        Notification(service="slack://a/b/c", title=changing),
        Notification(http=HttpCall(url=changing + "https://api.example/", headers={"x-a": changing + "a"})),
    ):
        render_notification(notification, context)
    body_of(Payload(format="cloudevents", template=changing + "1"), context)
    assert json.dumps(context) == before


@some
@given(name=texts, text=texts)
def test_an_alert_is_rendered_for_any_receivers_and_names(name: str, text: str) -> None:
    context = alerting(
        webhook={"id": "wh_1", "name": name}, last_outcome={"status_code": 500, "error": "http_500", "text": text}
    )
    rendered = render_email(Email(to=("a@b.com",)), context)
    assert clean(rendered.subject)
    assert rendered.text is not None
    assert clean(rendered.text.replace("\n", ""))
    assert rendered.text.count("\n") == 8


@some
@given(data=anything)
def test_payloads_are_json_and_their_headers_clean(data: Any) -> None:
    for payload in (
        None,
        Payload(template='{"a": {{ event.data }}}'),
        Payload(format="cloudevents"),
        Payload(format="cloudevents-binary"),
        Payload(format="cloudevents", template="[{{ event.data }}]"),
        Payload(format="cloudevents-binary", template="[{{ event.data }}]"),
    ):
        body = body_of(payload, seeing(data))
        json.loads(body.content, parse_constant=_refuse)
        assert all(value.isascii() and value.isprintable() for value in body.headers.values())


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for item in inner for text in _strings(item)]
