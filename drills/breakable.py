"""Receivers of the glance drill, which break and are mended: HTTP, HTTPS, SMTP, and the name server of one of them."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from pathlib import Path
from typing import NamedTuple

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

from drills.authorities import Authority
from drills.name_server import name_server
from drills.receiver import serving

HOST = "127.0.0.1"
NAME = "shop.test"
"""The host that the name server knows, unless it is broken (RFC 6761)."""
LOST_MAILBOX = "left@customer.example"
SLACK = "/services/T0DRILL/B0DRILL/xTokenOfTheDrill"
BROKEN = {
    "/fails": (500, "the database is on fire"),
    "/leaves": (410, "this integration was removed"),
    SLACK: (404, "no_service"),  # api.slack.com/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks
}
"""What is answered by path while broken; all else as before."""


class Mail(NamedTuple):
    """A message that was accepted."""

    subject: str
    text: str


@dataclass
class Receivers:
    """All receivers. They work until they `break_`, and again when they `mend`."""

    tls: ssl.SSLContext
    certificates: Path
    names: set[str]
    http: str = ""
    https: str = ""
    smtp: str = ""
    dns: str = ""
    mails: list[Mail] = field(default_factory=list)
    """Messages that the mail server has accepted for other mailboxes than the one that gets lost."""
    _works: asyncio.Event = field(default_factory=asyncio.Event)

    def break_(self) -> None:
        self._works.clear()
        self._present("unknown")
        self.names.clear()

    def mend(self) -> None:
        self._works.set()
        self._present("trusted")
        self.names.add(NAME)

    @property
    def authority(self) -> str:
        """The certificate that the webhook with TLS trusts."""
        return (self.certificates / "trusted-authority.pem").read_text()

    def _present(self, certificate: str) -> None:
        self.tls.load_cert_chain(self.certificates / f"{certificate}.pem")

    async def receive(self, request: web.Request) -> web.Response:
        """Answer a request. Connections are not kept: the next request meets the certificate and name of its time."""
        await request.read()
        answer = await self._answer(request.path)
        answer.force_close()
        return answer

    async def _answer(self, path: str) -> web.Response:
        if self._works.is_set():
            return web.Response(text="ok")
        if path == "/hangs":
            await self._works.wait()
        status, text = BROKEN.get(path, (200, "ok"))
        return web.Response(status=status, text=text)

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's name)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address == LOST_MAILBOX and not self._works.is_set():
            return f"550 5.1.1 <{address}>: Recipient address rejected: User unknown"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.original_content, bytes)
        if envelope.rcpt_tos != [LOST_MAILBOX]:
            message = message_from_bytes(envelope.original_content, policy=policy.default)
            body = message.get_body(("plain",))
            text = body.get_content() if body else ""
            self.mails.append(Mail(str(message["subject"]), text))
        return "250 OK"


@asynccontextmanager
async def receiving() -> AsyncIterator[Receivers]:
    """Serve on free ports until the block ends; at first all work."""
    names: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("trusted", "unknown"):
            authority = Authority()
            made = authority.certify(HOST)
            (Path(folder) / f"{name}.pem").write_text(made.certificate + made.key)
            (Path(folder) / f"{name}-authority.pem").write_text(authority.pem)
        state = Receivers(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Path(folder), names)
        state.mend()
        loop = asyncio.get_running_loop()
        mail = await loop.create_server(lambda: SMTP(state, hostname="mail.test", loop=loop), HOST, 0)
        try:
            state.smtp = f"smtp://{HOST}:{mail.sockets[0].getsockname()[1]}"
            async with serving(state.receive, state.tls) as ports, name_server(names, ttl=1) as state.dns:
                state.http, state.https = f"http://{HOST}:{ports[0]}", f"https://{HOST}:{ports[1]}"
                yield state
        finally:
            mail.close()
