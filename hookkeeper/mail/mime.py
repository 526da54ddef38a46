"""A letter as the bytes of an email (RFC 5322). The body is the standard library's; the header lines are made here.

Where the standard library folds a line of addresses it loses quotes, at least in Python 3.11: a comma in one name
takes the next address with it. So a name or subject that is not plain becomes encoded words (RFC 2047), which need no
quotes and which no line break can split. Addresses are ASCII, so no server needs SMTPUTF8.
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
from hookkeeper.content.emails import RenderedEmail
from hookkeeper.content.mailboxes import Mailbox
from hookkeeper.mail.provider import Tags
from hookkeeper.times import utc_now

MAX_LINE = 998
"""Bytes of a line, by RFC 5322, 2.1.1."""
MAX_PLAIN = 200
"""Characters of text that stays as it is; of a longer one a line might get too long."""
WORD = 39
"""Bytes of text in one encoded word, so that a line stays within the 76 characters of RFC 2047, 2."""
MAX_DATA = 256 * 1024
"""Characters of a template's data that a draft shows."""

_PLAIN = re.compile(r"(?!.*=\?)[^ ]+( [^ ]+)*")
"""No space that a reader would lose, nothing that looks like an encoded word."""
_ATOMS = re.compile(r"[\w!#$%&'*+/=?^`{|}~ -]*")
"""What a name may hold without quotes (RFC 5322, 3.2.3; RFC 6532 adds what is not ASCII)."""


def file_name(tags: Tags) -> str:
    """Name a sending so that it is safe in a path and in a `Message-ID`, and the same at each attempt."""
    name = quote(f"{tags.event_id}.{tags.delivery}", safe="")
    return f"{name}.{sha256(tags.copy.encode()).hexdigest()[:12]}" if tags.copy else name


def email_of(letter: RenderedEmail, tags: Tags, sender: Mailbox, *, draft: bool = False) -> bytes:
    """Write the email, in ASCII. A `draft` is for people to look at, and none to send.

    It is UTF-8 and hides nothing in an encoding, shows `bcc`, and shows what a template's provider would be given.
    """
    lines = [f"{name}: {value}" for name, value in _headers(letter, tags, sender, draft) if value]
    return "\r\n".join([*lines, ""]).encode() + _body(letter, draft)


def _headers(letter: RenderedEmail, tags: Tags, sender: Mailbox, draft: bool) -> Iterable[tuple[str, str]]:
    domain = sender.address.rpartition("@")[2]
    yield "From", _address(sender, draft)
    yield "To", _addresses(letter.to, draft)
    yield "Cc", _addresses(letter.cc, draft)
    if draft:
        yield "X-Bcc", _addresses(letter.bcc, draft)
    if letter.reply_to:
        yield "Reply-To", _address(letter.reply_to, draft)
    yield "Subject", _text(letter.subject, draft)
    yield "Date", format_datetime(utc_now())
    yield "Message-ID", f"<{file_name(tags)}@{domain}>"
    yield "Auto-Submitted", "auto-generated"  # RFC 3834: no out-of-office note is to answer
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
    """Leave plain text as it is, and make encoded words of any other."""
    plain = len(text) <= MAX_PLAIN and text.isprintable() and (draft or text.isascii()) and _PLAIN.fullmatch(text)
    return text if plain or not text else "\r\n ".join(_encoded_words(text))


def _encoded_words(text: str) -> Iterable[str]:
    word = b""
    for character in map(str.encode, text):
        if len(word) + len(character) > WORD:
            yield _encoded_word(word)
            word = b""
        word += character
    yield _encoded_word(word)


def _encoded_word(word: bytes) -> str:
    return f"=?utf-8?b?{b64encode(word).decode()}?="


def _body(letter: RenderedEmail, draft: bool) -> bytes:
    """Write the headers `Content-…` and `MIME-Version`, an empty line, and what follows it."""
    message = EmailMessage(SMTP.clone(cte_type="8bit" if draft else "7bit", max_line_length=76))
    add = message.set_content
    for subtype, text in _parts(letter):
        add(text, subtype=subtype, cte=_encoding(text, draft))
        add = message.add_alternative
    return message.as_bytes()


def _parts(letter: RenderedEmail) -> Iterable[tuple[str, str]]:
    if letter.template_id:
        data = json_text.readable(letter.template_data, MAX_DATA)
        yield "plain", f"SendGrid renders this email from its template {letter.template_id} and these data:\n\n{data}\n"
        return
    if letter.text is not None or letter.html is None:
        yield "plain", letter.text or ""
    if letter.html is not None:
        yield "html", letter.html


def _encoding(text: str, draft: bool) -> str | None:
    """Choose how a part is encoded; None lets the standard library choose between 7bit and the shorter of two."""
    if "\0" in text:
        return "base64"
    short = all(len(line) <= MAX_LINE for line in text.encode().splitlines())
    return "8bit" if draft and short else None
