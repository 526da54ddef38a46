"""SendGrid. Its library builds the message; Hookkeeper's HTTP client sends it, without blocking."""

import re
import time
from collections.abc import Sequence
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

from hookkeeper.content import json_text
from hookkeeper.content.emails import Mailbox, RenderedEmail
from hookkeeper.egress import http
from hookkeeper.findings import Finding, well, wrong
from hookkeeper.mail.provider import AttemptTimer, MailAnswer, Tags, parse_sender, provider_text, without
from hookkeeper.messages import outcomes
from hookkeeper.messages.outcomes import Verdict
from hookkeeper.version import USER_AGENT

TIMEOUT, CHECK_TIMEOUT = 15.0, 5.0
RETRYABLE = frozenset({408, 425, 429})
"""4xx statuses that do not reject the email."""


class _Error(BaseModel):
    message: str
    field: str | None = None


class _Errors(BaseModel):
    """SendGrid's response to a rejected request."""

    errors: tuple[_Error, ...]


class SendGrid:
    """Sends with SendGrid's v3 API, one message for all recipients.

    `trackable`: SendGrid's event webhook is configured, so SendGrid reports arrivals. Raises ValueError for an invalid
    key or sender.
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
        if not re.fullmatch(r"[\x21-\x7e]+", api_key):  # httpx would repeat it in its error
            raise ValueError("HOOKKEEPER_SENDGRID_API_KEY must be printable ASCII without spaces")
        self._client = client
        self._key = api_key
        self._headers = {"authorization": f"Bearer {api_key}", "accept": "application/json", "user-agent": USER_AGENT}
        self._url = f"{host.rstrip('/')}/v3/mail/send"
        self._scopes_url = f"{host.rstrip('/')}/v3/scopes"
        self._sender = parse_sender(sender)
        self._trackable = trackable
        self._timeout = timeout

    async def send(self, email: RenderedEmail, tags: Tags) -> MailAnswer:
        """Pass the email to SendGrid, within 15 s. Success means accepted, not arrived."""
        timer = AttemptTimer()
        remaining = without(email, tags.accepted)
        if not remaining.to:
            text = "not sent: SendGrid needs an address in `to`, but all of them already have the email"
            return timer.answer("rejected", error="no_recipients", text=text)
        try:
            body = json_text.compact(_mail(remaining, tags, self._sender)).encode()
        except ApiKeyIncludedException:
            text = "not sent: SendGrid's library refuses a text that starts like one of SendGrid's keys"
            return timer.answer("rejected", error="key_in_text", text=text)
        headers = {**self._headers, "content-type": "application/json"}
        answer = await http.send(
            self._client, "POST", self._url, body=body, headers=headers, timeout=self._timeout, keep=http.READ_LIMIT
        )
        return self._judge(answer, timer)

    async def check(self, now: datetime) -> Sequence[Finding]:
        """Ask SendGrid what the key may do."""
        answer = await http.send(
            self._client,
            "GET",
            self._scopes_url,
            body=b"",
            headers=self._headers,
            timeout=CHECK_TIMEOUT,
            keep=http.READ_LIMIT,
        )
        if answer.status_code in (401, 403):
            text = provider_text(_error_text(answer.body), self._key)
            return wrong(f"SendGrid refuses the key: {text}", "correct HOOKKEEPER_SENDGRID_API_KEY")
        if answer.status_code != 200:
            return wrong(f"{self._scopes_url} cannot be asked: {answer.error}", "correct HOOKKEEPER_SENDGRID_HOST")
        if b'"mail.send"' not in answer.body:
            return wrong("the key lacks the permission mail.send", "give it in SendGrid: Settings, API Keys, Mail Send")
        return well("SendGrid accepts the key")

    def _judge(self, answer: http.HttpAnswer, timer: AttemptTimer) -> MailAnswer:
        """Return the result by status, even if the body broke off after it."""
        status = answer.status_code
        verdict = _verdict(status)
        if verdict == "succeeded":
            message_id = answer.headers.get("x-message-id")
            text = f"accepted as {message_id}" if message_id else ""
        else:
            text = _error_text(answer.body)
        return timer.answer(
            verdict,
            status_code=status,
            error=None if verdict == "succeeded" else answer.error or f"http_{status}",
            text=provider_text(text, self._key),
            retry_after=_retry_after(answer),
            connect_ms=answer.connect_ms,
            first_byte_ms=answer.first_byte_ms,
            trackable=self._trackable and verdict == "succeeded",
        )


def _mail(email: RenderedEmail, tags: Tags, sender: Mailbox) -> dict[str, Any]:
    """Return the body of the request. Raises ApiKeyIncludedException."""
    mail = Mail(from_email=_email(From, sender))
    mail.subject = email.subject
    mail.add_personalization(_envelope(email, tags))
    if email.reply_to:
        mail.reply_to = _email(ReplyTo, email.reply_to)
    if email.template_id:
        mail.template_id = email.template_id
    for kind, text in (("text/plain", email.text), ("text/html", email.html)):
        if text:
            mail.add_content(Content(kind, text))
    for category in email.categories:
        mail.add_category(Category(category))
    return mail.get()  # type: ignore[no-any-return]


def _envelope(email: RenderedEmail, tags: Tags) -> Personalization:
    """Return the recipients, and the arguments that SendGrid repeats in its events."""
    envelope = Personalization()
    for kind, mailboxes in ((To, email.to), (Cc, email.cc), (Bcc, email.bcc)):
        for mailbox in mailboxes:
            envelope.add_email(_email(kind, mailbox))
    for name in ("tenant", "event_id", "delivery", "attempt"):
        envelope.add_custom_arg(CustomArg(f"hookkeeper_{name}", str(getattr(tags, name))))
    if email.template_id:
        envelope.dynamic_template_data = email.template_data
    return envelope


def _email(kind: Any, mailbox: Mailbox) -> Any:
    address = kind(name=mailbox.name or None)
    address.email = mailbox.address  # the constructor would parse an address without a name
    return address


def _verdict(status: int | None) -> Verdict:
    if status is not None and 200 <= status < 300:
        return "succeeded"
    rejects = status is not None and 400 <= status < 500 and status not in RETRYABLE
    return "rejected" if rejects else "failed"


def _error_text(body: bytes) -> str:
    """Return SendGrid's error messages, or the body if it has none."""
    try:
        errors = _Errors.model_validate_json(body).errors
    except ValidationError:
        return body.decode(errors="replace")
    return "; ".join(f"{error.field}: {error.message}" if error.field else error.message for error in errors)


def _retry_after(answer: http.HttpAnswer) -> float | None:
    """Return `retry-after`, or for a 429 `x-ratelimit-reset` (Unix seconds), which other responses have too."""
    reset = answer.headers.get("x-ratelimit-reset", "")
    if answer.retry_after is not None or answer.status_code != 429 or not re.fullmatch(r"[0-9]{1,12}", reset):
        return answer.retry_after
    return min(max(float(reset) - time.time(), 0.0), outcomes.MAX_RETRY_AFTER)
