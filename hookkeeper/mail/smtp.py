"""SMTP: any mail server that takes our letters."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
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

from hookkeeper.content.emails import RenderedEmail
from hookkeeper.egress import http
from hookkeeper.mail.mime import email_of
from hookkeeper.mail.provider import Clock, MailAnswer, Tags, Verdict, sender_of, words

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

    async def send(self, letter: RenderedEmail, tags: Tags) -> MailAnswer:
        """Hand the letter to the server, in 15 s and a goodbye at most. Taken is not yet arrived."""
        clock = Clock()
        if letter.template_id:
            text = "not sent: an email with a SendGrid template needs SendGrid"
            return clock.answer("rejected", error="needs_sendgrid", text=text)
        recipients = _recipients(letter, tags)
        client = self._client()
        try:
            async with asyncio.timeout(self._timeout):
                refused, said = await self._hand_over(client, recipients, email_of(letter, tags, self._sender))
        except (SMTPException, OSError) as exc:
            if http.is_internal(exc):
                raise
            return self._failure(exc, clock)
        finally:
            await _leave(client)
        return self._settle(recipients, refused, said, tags, clock)

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

    async def _hand_over(
        self, client: SMTP, recipients: Sequence[str], email: bytes
    ) -> tuple[list[SMTPRecipientRefused], str]:
        """Give the recipients that were refused, and what the server said of the letter if it took it."""
        await client.connect()
        if self._server.user is not None:
            if client.get_transport_info("sslcontext") is None:
                raise NoTls("the server offers no STARTTLS, and passwords are not sent without it")
            await client.login(self._server.user, self._server.password)
        try:
            refused, said = await client.sendmail(self._sender.address, recipients, email)
        except SMTPRecipientsRefused as exc:
            return exc.recipients, ""
        return [SMTPRecipientRefused(response.code, response.message, to) for to, response in refused.items()], said

    def _settle(
        self, recipients: Sequence[str], refused: Sequence[SMTPRecipientRefused], said: str, tags: Tags, clock: Clock
    ) -> MailAnswer:
        """Judge a letter that nothing was said against: it failed while somebody is put off, or where nobody has it.

        A server that greylists puts everybody off once: they are tried again, and those who have it are left alone.
        """
        put_off = [each for each in refused if 400 <= each.code < 500]
        never = [each for each in refused if each not in put_off]
        lines = (_listed("refused", never), _listed("not accepted yet", put_off), said)
        facts: dict[str, Any] = {
            "text": words("\n".join(filter(None, lines)), *self._server.secrets),
            "left_out": _lowered(each.recipient for each in never),
        }
        taken = _lowered(recipients) - _lowered(each.recipient for each in refused)
        if put_off or not (taken or tags.taken):
            verdict, code, error = _by_code(min(each.code for each in put_off or never))
            return clock.answer(verdict, status_code=code, error=error, taken=taken, **facts)
        return clock.answer("succeeded", status_code=250 if taken else None, **facts)

    def _failure(self, exc: Exception, clock: Clock) -> MailAnswer:
        verdict, code, error, text = _judge(exc)
        return clock.answer(verdict, status_code=code, error=error, text=words(text, *self._server.secrets))


def server_of(url: str) -> Server:
    """Read a URL. Raises ValueError."""
    wanted = "must be smtp://user:password@host:587 or smtps://…:465, with optional, percent-encoded user and password"
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


def _recipients(letter: RenderedEmail, tags: Tags) -> list[str]:
    """Give the address of everybody who does not have the letter yet once, as it is written."""
    addresses = [mailbox.address for mailbox in (*letter.to, *letter.cc, *letter.bcc)]
    once = {address.lower(): address for address in reversed(addresses)}
    return [address for lowered, address in reversed(once.items()) if lowered not in tags.taken]


def _listed(what: str, refused: Iterable[SMTPRecipientRefused]) -> str:
    listed = "; ".join(f"{each.recipient}: {each.code} {each.message}" for each in refused)
    return f"{what} for {listed}" if listed else ""


def _lowered(addresses: Iterable[str]) -> frozenset[str]:
    return frozenset(map(str.lower, addresses))


def _judge(exc: Exception) -> tuple[Verdict, int | None, str, str]:
    """Give verdict, reply code, error and text of a letter that was not taken."""
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
