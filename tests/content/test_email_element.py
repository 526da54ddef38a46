"""Emails as tenants define them, and as they are rendered."""

from typing import Any

import pytest
from pydantic import ValidationError
from samples import seeing

from cases import each
from hookkeeper.content import emails
from hookkeeper.content.emails import Email, Mailbox, RenderedEmail, check_addresses, render_email
from hookkeeper.content.errors import BadTemplate

TO = "ann@acme.example.com"
DATA = {"name": "Ann & Söhne", "email": "ann@acme.example.com", "none": ""}


def render(data: Any = DATA, **fields: Any) -> RenderedEmail:
    return render_email(Email(**({"to": [TO]} | fields)), seeing(data))


def addresses(mailboxes: tuple[Mailbox, ...]) -> list[str]:
    return [mailbox.address for mailbox in mailboxes]


def test_an_email_with_its_address_alone_shows_the_event() -> None:
    sent = render()
    assert (sent.to, sent.cc, sent.bcc, sent.reply_to) == ((Mailbox(address=TO),), (), (), None)
    assert (sent.subject, sent.html, sent.template_id, sent.tracking) == ("order.paid", None, None, False)
    assert sent.text == (
        "order.paid happened at 2026-01-02T03:04:05.678Z (event evt_1 of acme).\n\n"
        '{\n  "name": "Ann & Söhne",\n  "email": "ann@acme.example.com",\n  "none": ""\n}'
    )


def test_a_text_for_endless_data_ends() -> None:
    nested: Any = 0
    for _ in range(60):
        nested = [nested] * 2 if _ < 14 else [nested]
    text = render(nested).text
    assert text is not None
    assert len(text) == 65536
    assert text.endswith("…")


def test_every_field_can_be_a_template() -> None:
    sent = render(
        to=["{{ event.data.name }} <{{ event.data.email }}>", "bob@acme.com"],
        cc=["{% if event.data.none %}cc@acme.com{% endif %}"],
        bcc=["log+{{ event.id }}@acme.com"],
        reply_to="{{ webhook.name }} <{{ event.type }}@acme.com>",
        subject="{{ event.type }} of {{ event.data.name }}\n",
        text="Hi {{ event.data.name }},\nbye\n",
        html="<p>{{ event.data.name }}</p>",
        categories=["orders"],
        tracking=True,
    )
    assert sent.to == (Mailbox(address=TO, name="Ann & Söhne"), Mailbox(address="bob@acme.com"))
    assert (sent.cc, addresses(sent.bcc)) == ((), ["log+evt_1@acme.com"])
    assert sent.reply_to == Mailbox(address="order.paid@acme.com", name="Orders")
    assert sent.subject == "order.paid of Ann & Söhne"
    assert (sent.text, sent.html) == ("Hi Ann & Söhne,\nbye\n", "<p>Ann &amp; Söhne</p>")
    assert (sent.categories, sent.tracking) == (("orders",), True)


def test_an_address_is_written_to_once() -> None:
    sent = render(to=["a@b.com", "Ann <A@B.com>"], cc=["a@B.COM", "c@d.com"], bcc=["{{ 'C@d.com' }}", "e@f.com"])
    assert [addresses(sent.to), addresses(sent.cc), addresses(sent.bcc)] == [["a@b.com"], ["c@d.com"], ["e@f.com"]]
    assert sent.recipients == ("a@b.com", "c@d.com", "e@f.com")
    assert render(to=["Ann@b.com"]).recipients == ("ann@b.com",)


@each(
    ("fields", "error"),
    [
        ({"to": ["{{ event.data.none }}"]}, "to: has no address for this event"),
        ({"to": ["{{ event.data.none }}"], "cc": ["a@b.com"]}, "to: has no address for this event"),
        ({"to": ["a@b.com", "{{ event.data.name }}"]}, "to.1: 'Ann & Söhne' is not an email address"),
        ({"to": ["a@b.com, {{ event.data.email }}"]}, "to.0: .*more than one address"),
        ({"cc": ["{{ event.data.email }},{{ event.data.email }}"]}, "cc.0: .*more than one address"),
        ({"reply_to": "{{ event.id }}"}, "reply_to: 'evt_1' is not an email address"),
        ({"subject": "{{ event.data.none }} "}, "subject: is empty for this event"),
        ({"subject": "{{ 'a\\nb' }}"}, "subject: must be one line"),
        ({"subject": "{{ 'a\\n' }}"}, "subject: must be one line"),
        ({"text": "{{ event.data.none }}\n"}, "text: the email is empty for this event"),
        ({"html": "{{ event.data.none }}"}, "html: the email is empty for this event"),
        ({"subject": "{{ event.data.typo.x }}"}, "subject: "),
        ({"html": "\n{{ event.data.typo.x }}"}, r"html: .*\(line 2, column [0-9]+\)"),
    ],
)
def test_an_email_that_cannot_be_rendered_is_a_bad_template(fields: dict[str, Any], error: str) -> None:
    with pytest.raises(BadTemplate, match=f"^{error}"):
        render(**fields)


def test_a_part_that_renders_empty_is_left_out() -> None:
    sent = render(text="{{ event.data.none }}", html="<p>x</p>")
    assert (sent.text, sent.html) == (None, "<p>x</p>")
    assert render(reply_to="{{ event.data.none }}").reply_to is None


def test_a_long_subject_is_cut() -> None:
    assert render({"x": "ü" * 256}, subject="{{ event.data.x }}").subject == "ü" * 254 + "…"
    assert render({"x": "ü" * 255}, subject="{{ event.data.x }}").subject == "ü" * 255


def test_a_dynamic_template_gets_the_event() -> None:
    sent = render(template_id="d-0123456789abcdef", template_data={"shop": "Acme"})
    assert (sent.text, sent.html, sent.template_id) == (None, None, "d-0123456789abcdef")
    assert sent.template_data.keys() == {"shop", "event", "webhook"}
    assert sent.template_data["shop"] == "Acme"
    assert sent.template_data["event"]["data"] == DATA


@each(
    ("fields", "sentence"),
    [
        ({"to": []}, "at least 1 item"),
        ({"to": [f"a{n}@b.com" for n in range(51)]}, "at most 50 items"),
        ({"cc": [f"a{n}@b.com" for n in range(50)]}, "to, cc and bcc together may have at most 50"),
        ({"subject": ""}, "at least 1 character"),
        ({"subject": "x" * 4097}, "at most 4096"),
        ({"html": "x" * 65537}, "at most 65536"),
        ({"template_id": "welcome"}, "should match pattern"),
        ({"template_id": "d-1", "text": "x"}, "either template_id, or text and html"),
        ({"template_data": {"a": 1}}, "needs a template_id"),
        ({"template_id": "d-1", "template_data": {"event": 1}}, "event is set by Hookkeeper"),
        ({"template_id": "d-1", "template_data": {"a": "x" * 16384}}, "must be at most 16 KiB of JSON"),
        ({"template_id": "d-1", "template_data": {"a": "\ud800"}}, "must be JSON"),
        ({"categories": [str(n) for n in range(11)]}, "at most 10 items"),
        ({"categories": ["a", "a"]}, "categories must be unique"),
        ({"categories": ["a\nb"]}, "must be one line without control characters"),
        ({"tracking": "yes"}, "valid boolean"),
        ({"from": "a@b.com"}, "Extra inputs are not permitted"),
    ],
)
def test_an_invalid_email_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Email(**({"to": [TO]} | fields))


@each(
    ("fields", "field", "sentence"),
    [
        ({"to": ["ann"]}, "to.0", "'ann' is not an email address"),
        ({"to": [TO, "a@b.com, c@d.com"]}, "to.1", "use one entry for each"),
        ({"bcc": ["{{ event.id }}", "b@"]}, "bcc.1", "'b@' is not an email address"),
        ({"reply_to": "nobody"}, "reply_to", "'nobody' is not an email address"),
    ],
)
def test_an_invalid_address_is_refused(fields: dict[str, Any], field: str, sentence: str) -> None:
    ((found, detail),) = check_addresses(Email(**({"to": [TO]} | fields)))
    assert found == field
    assert sentence in detail


@each(
    ("fields", "field"),
    [
        ({"to": [TO, "{{ event.data. }}"]}, "to.1"),
        ({"cc": ["{% if %}"]}, "cc.0"),
        ({"bcc": ["{{"]}, "bcc.0"),
        ({"reply_to": "{{ 1 +"}, "reply_to"),
        ({"subject": "{% for %}"}, "subject"),
        ({"text": "a {% endif %}"}, "text"),
        ({"html": "{{ x | }}"}, "html"),
    ],
)
def test_a_template_that_cannot_be_read_is_named(fields: dict[str, Any], field: str) -> None:
    email = Email(**({"to": [TO]} | fields))
    with pytest.raises(BadTemplate, match=f"^{field}: "):
        emails.check(email)
    emails.check(Email(to=[TO, "{{ event.data.email }}"], subject="{{ event.type }}", text="x"))
