"""SMTP: any mail server that takes our letters."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote, urlsplit

import httpx
from aiosmtplib import (
    SMTP,
    SMTPConnectError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPRecipientsRefused,
    SMTPResponse,
    SMTPResponseException,
)

from activities import http
from activities.mail.mime import email_of
from activities.mail.provider import Clock, MailAnswer, Tags, Verdict, sender_of, words
from elements.emails import Letter

TIMEOUT = 15.0
FAREWELL = 1.0
"""Seconds that a server has to say goodbye in: the letter's fate is known by then."""
PORTS = {"smtp": 587, "smtps": 465}


class NoTls(SMTPException):
    """The server offers no STARTTLS, and without it a password is not sent."""


@dataclass(frozen=True, slots=True)
class Server:
    """What a URL says of a mail server."""

    host: str
    port: int
    implicit_tls: bool
    """TLS from the first byte on."""
    user: str | None = None
    password: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The password, and the forms in which it is sent; a server may repeat what it was sent."""
        if self.user is None:
            return ()
        sent = (f"\0{self.user}\0{self.password}", self.password)
        return (self.password, *(b64encode(text.encode()).decode() for text in sent))


class Smtp:
    """Sends through one mail server, over a connection of its own for each letter.

    `url` is `smtp://user:password@host:587` or `smtps://…:465`, user and password percent-encoded. TLS is used where
    the server offers it, and needed where there is a password. `tls` replaces the context that trusts certifi's
    roots, or those in `SSL_CERT_FILE`. Raises ValueError, which repeats no password, for what is no such URL or sender.
    """

    def __init__(self, url: str, *, sender: str, tls: ssl.SSLContext | None = None, timeout: float = TIMEOUT) -> None:
        self._server = server_of(url)
        self._sender = sender_of(sender)
        self._tls = tls or httpx.create_ssl_context()
        self._timeout = timeout

    async def send(self, letter: Letter, tags: Tags) -> MailAnswer:
        """Hand the letter to the server, in 15 s and a goodbye at most. Taken is not yet arrived."""
        clock = Clock()
        if letter.template_id:
            text = "not sent: a letter made of a SendGrid template needs SendGrid"
            return clock.answer("rejected", error="needs_sendgrid", text=text)
        client = self._client()
        try:
            async with asyncio.timeout(self._timeout):
                refused, said = await self._hand_over(client, letter, email_of(letter, tags, self._sender))
        except (SMTPException, OSError) as exc:
            if http.is_ours(exc):
                raise
            return self._failure(exc, clock)
        finally:
            await _leave(client)
        return self._success(refused, said, clock)

    def _client(self) -> SMTP:
        return SMTP(
            hostname=self._server.host,
            port=self._server.port,
            # Not the machine's own name: to look it up can take long, and relays such as Google's refuse many.
            local_hostname=self._sender.address.rpartition("@")[2],
            use_tls=self._server.implicit_tls,
            start_tls=None,  # where the server offers it
            tls_context=self._tls,
            timeout=None,  # `send` has one for all steps together
        )

    async def _hand_over(self, client: SMTP, letter: Letter, email: bytes) -> tuple[dict[str, SMTPResponse], str]:
        """Give the recipients that were refused, and what the server said of the letter."""
        await client.connect()
        if self._server.user is not None:
            if client.get_transport_info("sslcontext") is None:
                raise NoTls("the server offers no STARTTLS, and without it a password is not sent")
            await client.login(self._server.user, self._server.password)
        return await client.sendmail(self._sender.address, _recipients(letter), email)

    def _success(self, refused: dict[str, SMTPResponse], said: str, clock: Clock) -> MailAnswer:
        errors = [SMTPRecipientRefused(response.code, response.message, to) for to, response in refused.items()]
        text = f"not taken for {_listed(errors)}\n{said}" if errors else said
        left_out = frozenset(address.lower() for address in refused)
        return clock.answer("succeeded", status_code=250, text=words(text, *self._server.secrets), left_out=left_out)

    def _failure(self, exc: Exception, clock: Clock) -> MailAnswer:
        verdict, code, error, text = _judge(exc)
        return clock.answer(verdict, status_code=code, error=error, text=words(text, *self._server.secrets))


def server_of(url: str) -> Server:
    """Read a URL. Raises ValueError."""
    wanted = "must be smtp://user:password@host:587 or smtps://…:465, user and password percent-encoded or left out"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:  # it may repeat a part of the password
        raise ValueError(f"the mail server {wanted}") from None
    whole = parts.path in ("", "/") and not (parts.query or parts.fragment or url.endswith(("?", "#")))
    paired = bool(parts.username) == bool(parts.password) and bool(parts.username) == ("@" in parts.netloc)
    if parts.scheme not in PORTS or not host or not whole or not paired:
        raise ValueError(f"the mail server {wanted}")
    user, password = (unquote(part) if part else None for part in (parts.username, parts.password))
    return Server(host, port or PORTS[parts.scheme], parts.scheme == "smtps", user, password or "")


def _recipients(letter: Letter) -> list[str]:
    """Give every address once, as it is written."""
    addresses = [mailbox.address for mailbox in (*letter.to, *letter.cc, *letter.bcc)]
    return list({address.lower(): address for address in reversed(addresses)}.values())[::-1]


def _judge(exc: Exception) -> tuple[Verdict, int | None, str, str]:
    """Give verdict, reply code, error and text of a letter that was not taken."""
    if isinstance(exc, SMTPRecipientsRefused):
        # While one of them may be taken later, the letter may be.
        worst = next((error for error in exc.recipients if error.code < 500), exc.recipients[0])
        return *_by_code(worst.code), _listed(exc.recipients)
    if isinstance(exc, SMTPResponseException):
        return *_by_code(exc.code), exc.message
    if isinstance(exc, NoTls):
        return "failed", None, "tls", exc.message
    code = http.error_code(exc)
    if code == "connection_reset" and isinstance(exc, SMTPConnectError):
        # asyncio makes one plain OSError of the refusals of all addresses of a name.
        code = "connection_refused" if type(exc.__cause__) in (ConnectionRefusedError, OSError) else code
    return "failed", None, code, str(exc)


def _by_code(code: int) -> tuple[Verdict, int | None, str]:
    if 400 <= code < 600:
        return "failed" if code < 500 else "rejected", code, f"smtp_{code}"
    return "failed", None, "protocol"


def _listed(errors: Iterable[SMTPRecipientRefused]) -> str:
    return "; ".join(f"{error.recipient}: {error.code} {error.message}" for error in errors)


async def _leave(client: SMTP) -> None:
    """Say goodbye where the server listens, and keep nothing of the connection."""
    transport = client.transport
    try:
        with suppress(SMTPException, OSError):
            async with asyncio.timeout(FAREWELL):
                await client.quit()
    finally:
        client.close()
        if transport is not None:
            cast(asyncio.WriteTransport, transport).abort()  # a mere close waits until the peer has read all
