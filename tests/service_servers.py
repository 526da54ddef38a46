"""Services for tests, on loopback under the names of the real ones: Slack's incoming webhooks, and any other.

Nothing of the client is patched: requests go to the real host's name, certificate and path. Only the
address behind the name is set, by the transport.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

SLACK_HOST = "hooks.slack.com"


@dataclass(frozen=True)
class Post:
    """One request as it arrived."""

    host: str
    path: str
    headers: dict[str, str]
    body: str


@dataclass(frozen=True)
class Reply:
    status: int = 200
    text: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass
class ServiceServer:
    """A server under other servers' names. Answers with each of `replies` once, then as it would."""

    port: int = 0
    certificate: Path = Path()
    posts: list[Post] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)

    def transport(self) -> HTTPAdapter:
        """Make what leads every name here; for `Services(…, transport=server.transport)`."""
        return _Detour(self)

    def judge(self, post: Post) -> Reply:
        """Answer as a service does that takes anything."""
        return Reply(text=json.dumps({"ok": True, "code": 0, "errcode": 0, "StatusCode": 0}))


@dataclass
class Slack(ServiceServer):
    """Slack's incoming webhooks (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks)."""

    token: str = "xTokenOfTheTestsForSlack"

    @property
    def url(self) -> str:
        return f"slack://T0TEAMTEST/B0HOOKTEST/{self.token}"

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Return what was posted to the right address."""
        return [_payload(post) or {} for post in self.posts if post.path.endswith(self.token)]

    def judge(self, post: Post) -> Reply:
        parts = post.path.strip("/").split("/")
        if post.host != SLACK_HOST or len(parts) != 4 or parts[0] != "services":
            return Reply(404, "no_service")
        if parts[3] != self.token:
            return Reply(403, "invalid_token")
        payload = _payload(post)
        if payload is None:
            return Reply(400, "invalid_payload")
        return Reply() if payload.keys() & {"text", "attachments", "blocks"} else Reply(400, "no_text")


def _payload(post: Post) -> dict[str, Any] | None:
    form = post.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    try:
        read = json.loads(dict(parse_qsl(post.body)).get("payload", "") if form else post.body)
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


class _Detour(HTTPAdapter):
    """Connects to a server on loopback instead of any name, and trusts its certificate alone."""

    def __init__(self, server: ServiceServer) -> None:
        super().__init__()
        self._server = server

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        where, how = super().build_connection_pool_key_attributes(request, verify, cert)
        name = where["host"]
        assert where["scheme"] == "https", f"{name} was to be reached without TLS"
        how |= {"server_hostname": name, "assert_hostname": name}
        return {"scheme": "https", "host": "127.0.0.1", "port": self._server.port}, how

    def send(self, request: PreparedRequest, **settings: Any) -> Response:  # type: ignore[override]
        assert settings["verify"] is True
        request.headers["Host"] = urlsplit(str(request.url)).netloc
        return super().send(request, **(settings | {"verify": str(self._server.certificate)}))


@asynccontextmanager
async def slack(folder: Path) -> AsyncIterator[Slack]:
    """Serve as hooks.slack.com until the block ends; the certificate is written into the folder."""
    async with _serving(Slack(certificate=certify(folder, SLACK_HOST))) as server:
        yield server


@asynccontextmanager
async def any_service(folder: Path, names: Collection[str]) -> AsyncIterator[ServiceServer]:
    """Serve under these names until the block ends."""
    async with _serving(ServiceServer(certificate=certify(folder, *names))) as server:
        yield server


S = TypeVar("S", bound=ServiceServer)


@asynccontextmanager
async def _serving(server: S) -> AsyncIterator[S]:
    async def handle(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        post = Post(request.host, request.path_qs, headers, await request.text())
        server.posts.append(post)
        reply = server.replies.pop(0) if server.replies else server.judge(post)
        await asyncio.sleep(reply.delay)
        return web.Response(status=reply.status, text=reply.text, headers=reply.headers)

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(server.certificate)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


def certify(folder: Path, *names: str) -> Path:
    """Write a certificate, its own authority, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "service")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "service.pem"
    path.write_bytes(private + certificate.public_bytes(pem))
    return path
