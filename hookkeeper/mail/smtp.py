"""Sends emails to an SMTP server."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import httpx
from aiosmtplib import (
    SMTP,
    SMTPConnectError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPRecipientsRefused,
    SMTPResponseException,
)
from cryptography import x509

from hookkeeper.content.emails import RenderedEmail
from hookkeeper.egress.http import error_code, is_internal
from hookkeeper.findings import Finding, judge_end, warning, well, wrong
from hookkeeper.mail.mime import mime_of
from hookkeeper.mail.provider import AttemptTimer, MailAnswer, Tags, parse_sender, provider_text
from hookkeeper.messages.outcomes import Verdict

TIMEOUT, CHECK_TIMEOUT = 15.0, 5.0
QUIT_TIMEOUT = 1.0
"""Seconds. The result is known before QUIT."""
PORTS = {"smtp": 587, "smtps": 465}


class NoTls(SMTPException):
    """The server offers no STARTTLS, and without it a password is not sent."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """The settings of a mail server, from its URL."""

    host: str
    port: int
    implicit_tls: bool
    """TLS from the first byte."""
    user: str | None = None
    password: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The password, also in the encodings in which it is sent: a server may repeat them."""
        if self.user is None:
            return ()
        sent = (f"\0{self.user}\0{self.password}", self.password)
        return (self.password, *(b64encode(text.encode()).decode() for text in sent))


class Smtp:
    """Sends to one mail server, with a separate connection for each email.

    `url` is `smtp://user:password@host:587` or `smtps://…:465`, user and password percent-encoded. TLS is used if the
    server offers it, and required with a password. `tls` replaces the context that trusts certifi's roots, or those in
    `SSL_CERT_FILE`. Raises ValueError for an invalid URL or sender; the message contains no password.
    """

    def __init__(self, url: str, *, sender: str, tls: ssl.SSLContext | None = None, timeout: float = TIMEOUT) -> None:
        self._server = parse_server(url)
        self._sender = parse_sender(sender)
        self._tls = tls or httpx.create_ssl_context()
        self._timeout = timeout

    async def send(self, email: RenderedEmail, tags: Tags) -> MailAnswer:
        """Pass the email to the server, within 15 s and the timeout of QUIT. Success means accepted, not arrived."""
        timer = AttemptTimer()
        if email.template_id:
            text = "not sent: an email with a SendGrid template needs SendGrid"
            return timer.answer("rejected", error="needs_sendgrid", text=text)
        recipients = _recipients(email, tags)
        client = self._client()
        try:
            async with asyncio.timeout(self._timeout):
                refused, reply = await self._transmit(client, recipients, mime_of(email, tags, self._sender))
        except (SMTPException, OSError) as exc:
            if is_internal(exc):
                raise
            return self._failure(exc, timer)
        finally:
            await _quit(client)
        return self._result(recipients, refused, reply, tags, timer)

    async def check(self, now: datetime) -> Sequence[Finding]:
        """Connect and log in, as for an email, and look at the server's certificate."""
        client = self._client()
        where = f"{self._server.host}:{self._server.port}"
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await self._connect(client)
            connection = client.get_transport_info("ssl_object")
            if connection is None:
                return warning(f"{where} offers no TLS: emails are readable on the way", "use a server with STARTTLS")
            end = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True)).not_valid_after_utc
        except (SMTPException, OSError) as exc:
            _, _, code, text = _judge(exc)
            text = provider_text(f"{where} refuses: {code} {text}", *self._server.secrets)
            return wrong(text, "correct HOOKKEEPER_SMTP_URL")
        finally:
            await _quit(client)
        logged_in = "accepts the password" if self._server.user else "answers"
        return [*well(f"{where} {logged_in}"), *judge_end(f"the certificate of {where}", end, now)]

    async def _connect(self, client: SMTP) -> None:
        """Connect, and log in if there is a password."""
        await client.connect()
        if self._server.user is None:
            return
        if client.get_transport_info("sslcontext") is None:
            raise NoTls("the server offers no STARTTLS, and passwords are not sent without it")
        await client.login(self._server.user, self._server.password)

    def _client(self) -> SMTP:
        return SMTP(
            hostname=self._server.host,
            port=self._server.port,
            # Not the host name: looking it up can take long, and some relays, such as Google's, refuse it.
            local_hostname=self._sender.address.rpartition("@")[2],
            use_tls=self._server.implicit_tls,
            start_tls=None,  # if the server offers it
            tls_context=self._tls,
            timeout=None,  # `send` has one for all steps
        )

    async def _transmit(
        self, client: SMTP, recipients: Sequence[str], message: bytes
    ) -> tuple[list[SMTPRecipientRefused], str]:
        """Return the refused recipients and the server's reply to an accepted email."""
        await self._connect(client)
        try:
            refused, reply = await client.sendmail(self._sender.address, recipients, message)
        except SMTPRecipientsRefused as exc:
            return exc.recipients, ""
        return [SMTPRecipientRefused(response.code, response.message, to) for to, response in refused.items()], reply

    def _result(
        self,
        recipients: Sequence[str],
        refused: Sequence[SMTPRecipientRefused],
        reply: str,
        tags: Tags,
        timer: AttemptTimer,
    ) -> MailAnswer:
        """Return the result by recipient: `failed` if some are deferred, or if none has accepted the email.

        A server with greylisting defers all recipients once. Only those who have not accepted are tried again.
        """
        deferred = [recipient for recipient in refused if 400 <= recipient.code < 500]
        rejected = [recipient for recipient in refused if recipient not in deferred]
        lines = (_listed("refused", rejected), _listed("not accepted yet", deferred), reply)
        facts: dict[str, Any] = {
            "text": provider_text("\n".join(filter(None, lines)), *self._server.secrets),
            "excluded": _lowered(recipient.recipient for recipient in rejected),
        }
        accepted = _lowered(recipients) - _lowered(recipient.recipient for recipient in refused)
        if deferred or not (accepted or tags.accepted):
            verdict, code, error = _by_code(min(recipient.code for recipient in deferred or rejected))
            return timer.answer(verdict, status_code=code, error=error, accepted=accepted, **facts)
        return timer.answer("succeeded", status_code=250 if accepted else None, **facts)

    def _failure(self, exc: Exception, timer: AttemptTimer) -> MailAnswer:
        verdict, code, error, text = _judge(exc)
        return timer.answer(verdict, status_code=code, error=error, text=provider_text(text, *self._server.secrets))


def parse_server(url: str) -> MailServer:
    """Parse a URL. Raises ValueError."""
    wanted = "must be smtp://user:password@host:587 or smtps://…:465, with optional, percent-encoded user and password"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:  # its message may contain a part of the password
        raise ValueError(f"HOOKKEEPER_SMTP_URL {wanted}") from None
    whole = parts.path in ("", "/") and not (parts.query or parts.fragment or url.endswith(("?", "#")))
    paired = bool(parts.username) == bool(parts.password) and bool(parts.username) == ("@" in parts.netloc)
    if parts.scheme not in PORTS or not host or not whole or not paired:
        raise ValueError(f"HOOKKEEPER_SMTP_URL {wanted}")
    user, password = (unquote(part) if part else None for part in (parts.username, parts.password))
    return MailServer(host, port or PORTS[parts.scheme], parts.scheme == "smtps", user, password or "")


def _recipients(email: RenderedEmail, tags: Tags) -> list[str]:
    """Return each address that has not yet accepted the email, once."""
    addresses = [mailbox.address for mailbox in (*email.to, *email.cc, *email.bcc)]
    once = {address.lower(): address for address in reversed(addresses)}
    return [address for lowered, address in reversed(once.items()) if lowered not in tags.accepted]


def _listed(what: str, refused: Iterable[SMTPRecipientRefused]) -> str:
    listed = "; ".join(f"{recipient.recipient}: {recipient.code} {recipient.message}" for recipient in refused)
    return f"{what} for {listed}" if listed else ""


def _lowered(addresses: Iterable[str]) -> frozenset[str]:
    return frozenset(map(str.lower, addresses))


def _judge(exc: Exception) -> tuple[Verdict, int | None, str, str]:
    """Return verdict, reply code, error and text for an exception."""
    if isinstance(exc, SMTPResponseException):
        return *_by_code(exc.code), exc.message
    if isinstance(exc, NoTls):
        return "failed", None, "tls", exc.message
    code = error_code(exc)
    if code == "connection_reset" and isinstance(exc, SMTPConnectError):
        # asyncio raises one plain OSError if all addresses of a name refuse the connection.
        code = "connection_refused" if type(exc.__cause__) in (ConnectionRefusedError, OSError) else code
    return "failed", None, code, str(exc)


def _by_code(code: int) -> tuple[Verdict, int | None, str]:
    if 400 <= code < 600:
        return "failed" if code < 500 else "rejected", code, f"smtp_{code}"
    return "failed", None, "protocol"


async def _quit(client: SMTP) -> None:
    """Send QUIT, then abort the connection."""
    transport = client.transport
    try:
        with suppress(SMTPException, OSError):
            async with asyncio.timeout(QUIT_TIMEOUT):
                await client.quit()
    finally:
        client.close()
        if transport is not None:
            cast(asyncio.WriteTransport, transport).abort()  # `close` would wait until the peer has read everything
