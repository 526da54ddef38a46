"""Renders an email as MIME (RFC 5322). The standard library makes the body; headers are written here.

When Python 3.11 folds a header with addresses, it loses quotes, so a comma in a name breaks the next address. Here,
names and subjects that are not plain become encoded words (RFC 2047), which need no quotes and can be folded anywhere
between words. Addresses are ASCII, so SMTPUTF8 is not needed.
"""

import re
from base64 import b64encode
from collections.abc import Iterable
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import sha256
from urllib.parse import quote

from hookkeeper.content import json_text
from hookkeeper.content.emails import Mailbox, RenderedEmail
from hookkeeper.mail.provider import Tags
from hookkeeper.times import utc_now

MAX_LINE = 998
"""Maximum bytes of a line (RFC 5322, section 2.1.1)."""
MAX_PLAIN = 200
"""Maximum characters of text that is not encoded, so that lines stay short enough."""
ENCODED_WORD_BYTES = 39
"""Bytes of text in an encoded word: a line has at most 76 characters (RFC 2047, section 2)."""
MAX_DATA = 256 * 1024
"""Maximum characters of template data in a draft."""

_PLAIN = re.compile(r"(?!.*=\?)[^ ]+( [^ ]+)*")
"""Text without leading, trailing or double spaces, and without encoded words."""
_ATOMS = re.compile(r"[\w!#$%&'*+/=?^`{|}~ -]*")
"""Names that need no quotes (RFC 5322, section 3.2.3; RFC 6532 for non-ASCII)."""


def file_name(tags: Tags) -> str:
    """Return a name that is safe in a path and in a `Message-ID`, and the same for each attempt."""
    name = quote(f"{tags.event_id}.{tags.delivery}", safe="")
    return f"{name}.{sha256(tags.copy.encode()).hexdigest()[:12]}" if tags.copy else name


def mime_of(email: RenderedEmail, tags: Tags, sender: Mailbox, *, draft: bool = False) -> bytes:
    """Return the email in ASCII.

    A `draft` is for reading, not for sending: it is unencoded UTF-8 and shows `bcc` and the data of templates.
    """
    lines = [f"{name}: {value}" for name, value in _headers(email, tags, sender, draft) if value]
    return "\r\n".join([*lines, ""]).encode() + _body(email, draft)


def _headers(email: RenderedEmail, tags: Tags, sender: Mailbox, draft: bool) -> Iterable[tuple[str, str]]:
    domain = sender.address.rpartition("@")[2]
    yield "From", _address(sender, draft)
    yield "To", _addresses(email.to, draft)
    yield "Cc", _addresses(email.cc, draft)
    if draft:
        yield "X-Bcc", _addresses(email.bcc, draft)
    if email.reply_to:
        yield "Reply-To", _address(email.reply_to, draft)
    yield "Subject", _text(email.subject, draft)
    yield "Date", format_datetime(utc_now())
    yield "Message-ID", f"<{file_name(tags)}@{domain}>"
    yield "Auto-Submitted", "auto-generated"  # RFC 3834: prevents out-of-office replies
    yield "X-Hookkeeper-Event", _text(tags.event_id, draft)
    yield "X-Hookkeeper-Delivery", _text(tags.delivery, draft)


def _addresses(mailboxes: Iterable[Mailbox], draft: bool) -> str:
    return ",\r\n ".join(_address(mailbox, draft) for mailbox in mailboxes)


def _address(mailbox: Mailbox, draft: bool) -> str:
    if not mailbox.name:
        return mailbox.address
    name = _text(mailbox.name, draft)
    if name != mailbox.name:
        return f"{name}\r\n <{mailbox.address}>"
    if not _ATOMS.fullmatch(name):
        name = '"' + name.replace("\\", r"\\").replace('"', r"\"") + '"'
    return f"{name} <{mailbox.address}>"


def _text(text: str, draft: bool) -> str:
    """Return plain text unchanged, and any other as encoded words."""
    plain = len(text) <= MAX_PLAIN and text.isprintable() and (draft or text.isascii()) and _PLAIN.fullmatch(text)
    return text if plain or not text else "\r\n ".join(_encoded_words(text))


def _encoded_words(text: str) -> Iterable[str]:
    word = b""
    for character in map(str.encode, text):
        if len(word) + len(character) > ENCODED_WORD_BYTES:
            yield _encoded_word(word)
            word = b""
        word += character
    yield _encoded_word(word)


def _encoded_word(word: bytes) -> str:
    return f"=?utf-8?b?{b64encode(word).decode()}?="


def _body(email: RenderedEmail, draft: bool) -> bytes:
    """Return the headers `Content-…` and `MIME-Version`, an empty line, and the content."""
    message = EmailMessage(SMTP.clone(cte_type="8bit" if draft else "7bit", max_line_length=76))
    add = message.set_content
    for subtype, text in _parts(email):
        add(text, subtype=subtype, cte=_encoding(text, draft))
        add = message.add_alternative
    return message.as_bytes()


def _parts(email: RenderedEmail) -> Iterable[tuple[str, str]]:
    if email.template_id:
        data = json_text.readable(email.template_data, MAX_DATA)
        yield "plain", f"SendGrid renders this email from its template {email.template_id} and this data:\n\n{data}\n"
        return
    if email.text is not None or email.html is None:
        yield "plain", email.text or ""
    if email.html is not None:
        yield "html", email.html


def _encoding(text: str, draft: bool) -> str | None:
    """Return the encoding of a part; None lets the standard library choose."""
    if "\0" in text:
        return "base64"
    has_short_lines = all(len(line) <= MAX_LINE for line in text.encode().splitlines())
    return "8bit" if draft and has_short_lines else None
