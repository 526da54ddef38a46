"""Real mail servers for tests: one that speaks SendGrid's API, and one that speaks SMTP. Both keep what they take."""

import asyncio
import email
import email.policy
import json
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema_rs
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from receivers import Answer, Request
from timeouts import WAIT_TIMEOUT

KEY = "SG.for-tests.never-a-real-one"
_SCHEMA = jsonschema_rs.validator_for(json.loads(Path(__file__).with_name("sendgrid_mail_send.json").read_text()))


async def _until(there: list[Any], count: int, seconds: float) -> list[Any]:
    async with asyncio.timeout(seconds):
        while len(there) < count:
            await asyncio.sleep(0.01)
    return there


# SendGrid


@dataclass
class SendGridServer:
    """Answers with each of `answers` once, and then as SendGrid would."""

    host: str
    answers: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of the requests that were taken."""

    def fails(self, *statuses: int) -> None:
        self.answers += [_refusal(status, f"answer {status}") for status in statuses]

    def limits(self, seconds: float) -> None:
        """Answer that the rate limit is reached, for this many seconds from now."""
        answer = _refusal(429, "too many requests")
        self.answers.append(Answer(429, answer.body, {"X-RateLimit-Reset": str(int(time.time() + seconds))}))

    async def got(self, count: int, seconds: float = WAIT_TIMEOUT) -> list[dict[str, Any]]:
        """Wait until `count` messages have been taken."""
        return await _until(self.messages, count, seconds)

    def answer(self, request: Request) -> Answer:
        """Judge a request as SendGrid does."""
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return _refusal(401, "The provided authorization grant is invalid, expired, or revoked")
        if request.path == "/v3/scopes":
            return Answer(200, json.dumps({"scopes": ["mail.send", "sender_verification_eligible"]}))
        if request.headers.get("content-type") != "application/json":
            return _refusal(415, "Content-Type should be application/json.")
        message = json.loads(request.body)
        if errors := [*_schema_errors(message), *_other_errors(message)]:
            return _refusals(400, errors)
        self.messages.append(message)
        return Answer(202, "", {"X-Message-Id": uuid.uuid4().hex})


def _refusal(status: int, message: str) -> Answer:
    return _refusals(status, [(None, message)])


def _refusals(status: int, errors: list[tuple[str | None, str]]) -> Answer:
    body = {"errors": [{"message": message, "field": field, "help": None} for field, message in errors]}
    return Answer(status, json.dumps(body), {"Content-Type": "application/json"})


def _schema_errors(message: Any) -> Iterator[tuple[str | None, str]]:
    for error in _SCHEMA.iter_errors(message):
        yield ".".join(map(str, error.instance_path)) or None, error.message


def _other_errors(message: Any) -> Iterator[tuple[str | None, str]]:
    """Check what SendGrid refuses and no schema can say."""
    if "template_id" not in message:
        for name in ("subject", "content"):
            if name not in message:
                yield name, f"The {name} is required unless there is a template."
    kinds = [part["type"] for part in message.get("content", ())]
    if kinds != sorted(set(kinds), reverse=True):
        yield "content", "text/plain must come first, and each type once."
    for index, envelope in enumerate(message.get("personalizations", ())):
        seen = [mailbox["email"].lower() for kind in ("to", "cc", "bcc") for mailbox in envelope.get(kind, ())]
        if len(set(seen)) < len(seen):
            yield f"personalizations.{index}", "Each address should be unique between to, cc, and bcc."
        if len(json.dumps(envelope.get("custom_args", {}))) > 10_000:
            yield f"personalizations.{index}.custom_args", "The custom arguments are larger than 10,000 bytes."


@asynccontextmanager
async def sendgrid_server() -> AsyncIterator[SendGridServer]:
    """Serve `POST /v3/mail/send` and `GET /v3/scopes` for the key `KEY` until the block ends."""
    state = SendGridServer("")

    async def handle(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        arrived = Request(request.path_qs, headers, await request.read(), asyncio.get_running_loop().time())
        state.requests.append(arrived)
        answer = state.answers.pop(0) if state.answers else state.answer(arrived)
        await asyncio.sleep(answer.delay)
        if answer.gate:
            await answer.gate.wait()
        return web.Response(status=answer.status, body=answer.body.encode(), headers=answer.headers)

    app = web.Application(client_max_size=30 * 1024 * 1024)
    app.router.add_post("/v3/mail/send", handle)
    app.router.add_get("/v3/scopes", handle)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    state.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield state
    finally:
        await runner.cleanup()


# SMTP


@dataclass(frozen=True)
class Delivered:
    """One message as an SMTP server took it."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    options: tuple[str, ...]
    """Parameters of the command `MAIL`."""
    tls: bool
    user: str | None

    @cached_property
    def email(self) -> EmailMessage:
        message = email.message_from_bytes(self.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        return message


@dataclass
class SmtpServer:
    """Takes everything but what a test scripts. It is also the handler that aiosmtpd calls."""

    host: str = "127.0.0.1"
    port: int = 0
    implicit_tls: bool = False
    user: str | None = None
    password: str | None = None
    replies: dict[str, list[str]] = field(default_factory=dict)
    """By command (`MAIL`, `DATA`), what to answer instead, each once."""
    refused: dict[str, str] = field(default_factory=dict)
    """By recipient, what to answer each time."""
    messages: list[Delivered] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    """`EHLO` and `QUIT` as they came, with the argument."""

    @property
    def url(self) -> str:
        scheme = "smtps" if self.implicit_tls else "smtp"
        credentials = f"{self.user}:{self.password}@" if self.user else ""
        return f"{scheme}://{credentials}{self.host}:{self.port}"

    async def got(self, count: int, seconds: float = WAIT_TIMEOUT) -> list[Delivered]:
        """Wait until `count` messages have been taken."""
        return await _until(self.messages, count, seconds)

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == (self.user, self.password), handled=False, auth_data=data)

    def _scripted(self, command: str) -> str | None:
        replies = self.replies.get(command)
        return replies.pop(0) if replies else None

    async def handle_EHLO(  # noqa: N802 (aiosmtpd's name)
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.commands.append(f"EHLO {hostname}")
        session.host_name = hostname
        return responses

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.commands.append("QUIT")
        return "221 Bye"

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.user and not session.authenticated:
            return "530 5.7.0 Authentication required"
        if reply := self._scripted("MAIL"):
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if reply := self.refused.get(address):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if reply := self._scripted("DATA"):
            return reply
        assert envelope.mail_from and envelope.original_content
        tls = self.implicit_tls or session.ssl is not None
        login: Any = session.auth_data
        user = login.login.decode() if session.authenticated else None
        options = tuple(envelope.mail_options)
        recipients = tuple(envelope.rcpt_tos)
        self.messages.append(
            Delivered(envelope.mail_from, recipients, bytes(envelope.original_content), options, tls, user)
        )
        return f"250 2.0.0 queued as {len(self.messages)}"


@asynccontextmanager
async def smtp_server(
    *, certificate: Path | None = None, implicit_tls: bool = False, credentials: tuple[str, str] | None = None
) -> AsyncIterator[SmtpServer]:
    """Serve until the block ends: with a certificate (PEM, with its key) STARTTLS is offered, or `implicit_tls` is.

    Credentials are needed where given, and asked for within TLS only.
    """
    state = SmtpServer(implicit_tls=implicit_tls)
    state.user, state.password = credentials or (None, None)
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        return SMTP(
            state,
            hostname="mail.example",
            tls_context=None if implicit_tls else context,
            auth_require_tls=not implicit_tls,  # aiosmtpd knows only of the TLS that it started itself
            authenticator=state.authenticate,
            loop=loop,
        )

    server = await loop.create_server(protocol, state.host, 0, ssl=context if implicit_tls else None)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
