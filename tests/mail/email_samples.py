"""Emails for tests of mail providers, and what the server receives of them."""

import email
import email.policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses
from typing import Any

from hypothesis import strategies as st

from hookkeeper.content.emails import Mailbox, RenderedEmail
from hookkeeper.mail.provider import Tags

SENDER = "Acme <hooks@acme.example>"
TAGS = Tags(tenant="acme", event_id="evt_1", event_type="order.paid", delivery="wh_1.email.0", attempt=1)


def mailboxes(*texts: str) -> tuple[Mailbox, ...]:
    """Make mailboxes of `address` or `address Name`."""
    pairs = (text.partition(" ") for text in texts)
    return tuple(Mailbox(address=address, name=name) for address, _, name in pairs)


def rendered_email(**fields: Any) -> RenderedEmail:
    return RenderedEmail(**{"to": mailboxes("ann@acme.example"), "subject": "Paid", "text": "Thanks.\n"} | fields)


def parsed(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def read_mailboxes(content: bytes, name: str) -> tuple[Mailbox, ...]:
    """Read the addresses of a header.

    By the older half of the standard library: the newer one puts spaces between encoded words, and takes them from
    within.
    """
    line = email.message_from_string(content.decode(), policy=email.policy.compat32).get(name)
    if line is None:
        return ()
    pairs = getaddresses([line.replace("\n", "").replace("\r", "")])
    return tuple(Mailbox(address=address, name=str(make_header(decode_header(name)))) for name, address in pairs)


def read_text(message: EmailMessage, subtype: str) -> str | None:
    """Return the text or the html, with line breaks as `lines` gives them."""
    part = message.get_body((subtype,))
    return None if part is None else lines(part.get_content())


def lines(text: str) -> str:
    """Return a text as an email can carry it: it knows one kind of line break, and ends with one."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


_awkward = st.sampled_from(['"', ",", "<", ">", "@", "=?", "?=", "=?utf-8?q?x?=", "\\", "  ", "Bcc: x@y.de", "é", "𐀀"])
_in_a_line = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
_line = st.lists(_awkward | st.text(_in_a_line, max_size=60), max_size=6).map("".join).map(str.strip)
_text = st.lists(st.text(max_size=40) | st.sampled_from(["\r\n", ".", "\r", "\n.\r\nFrom x", "a" * 1200]), min_size=1)
_texts = _text.map("".join).filter(str.strip)
_addresses = st.from_regex(r"[a-z0-9]{1,8}(\.[a-z0-9+_-]{1,8})?@[a-z]{1,8}\.example", fullmatch=True)


@st.composite
def rendered_emails(draw: st.DrawFn) -> RenderedEmail:
    """Draw any email that `render_email` can return, except those with templates of SendGrid."""
    addresses = draw(st.lists(_addresses, min_size=1, max_size=7, unique=True))
    everyone = [Mailbox(address=address, name=draw(_line)) for address in addresses]
    first, second = draw(st.integers(1, len(everyone))), draw(st.integers(1, len(everyone)))
    text, html = draw(st.tuples(_texts, st.none()) | st.tuples(st.none(), _texts) | st.tuples(_texts, _texts))
    return RenderedEmail(
        to=everyone[:first],
        cc=everyone[first:second],
        bcc=everyone[max(first, second) :],
        reply_to=draw(st.none() | st.builds(Mailbox, address=_addresses, name=_line)),
        subject=draw(_line.filter(bool)),
        text=text,
        html=html,
        categories=draw(st.lists(_line, max_size=3, unique=True)),
    )
