"""SendGrid: its own library writes the message, our client sends it; the library's blocks and knows no timeout."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError
from sendgrid.helpers.mail import (  # type: ignore[import-untyped]
    ApiKeyIncludedException,
    Bcc,
    Category,
    Cc,
    Content,
    CustomArg,
    From,
    Mail,
    Personalization,
    ReplyTo,
    To,
)

from hookkeeper import outcomes
from hookkeeper.content import json_text
from hookkeeper.content.emails import RenderedEmail
from hookkeeper.content.mailboxes import Mailbox
from hookkeeper.egress import http
from hookkeeper.mail.provider import Clock, MailAnswer, Tags, Verdict, sender_of, without, words
from hookkeeper.times import utc_now
from hookkeeper.version import VERSION

TIMEOUT = 15.0
CURABLE = frozenset({408, 425, 429})
"""Of 4xx, those that say nothing against the letter."""


class _Error(BaseModel):
    message: str
    field: str | None = None


class _Errors(BaseModel):
    """What SendGrid says of a request that it does not take."""

    errors: tuple[_Error, ...]


class SendGrid:
    """Sends through SendGrid's v3 API, all recipients in one message.

    `trackable` says that SendGrid's event webhook reaches us, so that it will tell of arrivals. Raises ValueError for
    a key or a sender that cannot be one.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        api_key: str,
        host: str,
        sender: str,
        trackable: bool = False,
        timeout: float = TIMEOUT,
    ) -> None:
        if not re.fullmatch(r"[\x21-\x7e]+", api_key):  # httpx would repeat it in what it raises
            raise ValueError("SendGrid's API key must be printable ASCII without spaces")
        self._client = client
        self._key = api_key
        self._url = f"{host.rstrip('/')}/v3/mail/send"
        self._sender = sender_of(sender)
        self._trackable = trackable
        self._timeout = timeout

    async def send(self, letter: RenderedEmail, tags: Tags) -> MailAnswer:
        """Hand the letter to SendGrid, in 15 s at most. Taken is not yet arrived."""
        clock = Clock()
        kept = without(letter, tags.taken)
        if not kept.to:
            text = "not sent: SendGrid needs an address in `to`, but all of them already have the email"
            return clock.answer("rejected", error="nobody_in_to", text=text)
        try:
            body = json_text.compact(_mail(kept, tags, self._sender)).encode()
        except ApiKeyIncludedException:
            text = "not sent: SendGrid's library refuses a text that starts like one of SendGrid's keys"
            return clock.answer("rejected", error="key_in_text", text=text)
        headers = {
            "authorization": f"Bearer {self._key}",
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": f"Hookkeeper/{VERSION}",
        }
        answer = await http.send(
            self._client, "POST", self._url, body=body, headers=headers, timeout=self._timeout, keep=http.READ_LIMIT
        )
        return self._judge(answer, clock)

    def _judge(self, answer: http.Answer, clock: Clock) -> MailAnswer:
        """Judge by the status where there is one: with it SendGrid has decided, even if the body breaks off."""
        status = answer.status_code
        verdict = _verdict(status)
        if verdict == "succeeded":
            message_id = answer.headers.get("x-message-id")
            text = f"accepted as {message_id}" if message_id else ""
        else:
            text = _said(answer.body)
        return clock.answer(
            verdict,
            status_code=status,
            error=None if verdict == "succeeded" else answer.error or f"http_{status}",
            text=words(text, self._key),
            retry_after=_retry_after(status, answer.headers, utc_now()),
            trackable=self._trackable and verdict == "succeeded",
        )


def _mail(letter: RenderedEmail, tags: Tags, sender: Mailbox) -> dict[str, Any]:
    """Give the body of the request. Raises ApiKeyIncludedException."""
    mail = Mail(from_email=_email(From, sender))
    mail.subject = letter.subject
    mail.add_personalization(_envelope(letter, tags))
    if letter.reply_to:
        mail.reply_to = _email(ReplyTo, letter.reply_to)
    if letter.template_id:
        mail.template_id = letter.template_id
    for kind, text in (("text/plain", letter.text), ("text/html", letter.html)):
        if text:
            mail.add_content(Content(kind, text))
    for category in letter.categories:
        mail.add_category(Category(category))
    return mail.get()  # type: ignore[no-any-return]


def _envelope(letter: RenderedEmail, tags: Tags) -> Personalization:
    """Address the message, and tell SendGrid what it is to repeat in its events."""
    envelope = Personalization()
    for kind, mailboxes in ((To, letter.to), (Cc, letter.cc), (Bcc, letter.bcc)):
        for mailbox in mailboxes:
            envelope.add_email(_email(kind, mailbox))
    for name in ("tenant", "event_id", "delivery", "attempt"):
        envelope.add_custom_arg(CustomArg(f"hookkeeper_{name}", str(getattr(tags, name))))
    if letter.template_id:
        envelope.dynamic_template_data = letter.template_data
    return envelope


def _email(kind: Any, mailbox: Mailbox) -> Any:
    email = kind(name=mailbox.name or None)
    email.email = mailbox.address  # given to the constructor without a name, it would be parsed
    return email


def _verdict(status: int | None) -> Verdict:
    if status is not None and 200 <= status < 300:
        return "succeeded"
    rejects = status is not None and 400 <= status < 500 and status not in CURABLE
    return "rejected" if rejects else "failed"


def _said(body: bytes) -> str:
    """Give SendGrid's own sentences, or the answer as it came where somebody else gave it."""
    try:
        errors = _Errors.model_validate_json(body).errors
    except ValidationError:
        return body.decode(errors="replace")
    return "; ".join(f"{error.field}: {error.message}" if error.field else error.message for error in errors)


def _retry_after(status: int | None, headers: Mapping[str, str], now: datetime) -> float | None:
    """Read `retry-after`; of a 429 also `x-ratelimit-reset`, in Unix seconds, which other answers have, too."""
    asked = outcomes.parse_retry_after(headers.get("retry-after"), now)
    reset = headers.get("x-ratelimit-reset", "")
    if asked is not None or status != 429 or not re.fullmatch(r"[0-9]{1,12}", reset):
        return asked
    return min(max(float(reset) - now.timestamp(), 0.0), outcomes.MAX_RETRY_AFTER)
