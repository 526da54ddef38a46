"""Deliveries through the operator's proxy: real sockets, a scripted proxy, and which errors are the receiver's."""

import socket
import ssl
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from hookkeeper.addresses import Networks, parse_networks
from hookkeeper.egress.http import HttpAnswer, make_client, send
from hookkeeper.egress.proxy import Proxy, ProxyFailed, error_of
from hookkeeper.settings import Settings
from proxies import EgressProxy, proxying
from rawserver import OK, RawReceiver, make_certificate, receiving, says, server_tls
from timeouts import CALL_TIMEOUT, WAIT_TIMEOUT

RECEIVER = "acme.example"
PASSWORD = "pass:wörd"
AUTHORIZED = "Basic " + b64encode(f"user:{PASSWORD}".encode()).decode()


@dataclass
class Scene:
    receiver: RawReceiver
    proxy: EgressProxy
    tls: ssl.SSLContext

    def client(self, allowed: Networks | None = None, credentials: str = "") -> httpx.AsyncClient:
        url = f"http://{credentials}127.0.0.1:{self.proxy.port}"
        return make_client(allowed or Networks(), tls=self.tls, proxy=url)


@pytest.fixture(params=["https", "http"])
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    certificate = make_certificate(tmp_path, RECEIVER)
    tls = server_tls(certificate) if request.param == "https" else None
    async with receiving(says(OK), tls=tls) as receiver, proxying(receiver) as proxy:
        yield Scene(receiver, proxy, ssl.create_default_context(cafile=certificate))


async def deliver(client: httpx.AsyncClient, url: str, timeout: float = 5.0) -> HttpAnswer:
    return await send(client, "POST", url, body=b"{}", headers={"x-name": "value"}, timeout=timeout)


async def test_everything_goes_through_the_proxy_which_looks_names_up(scene: Scene) -> None:
    """Setup: no network is allowed; the proxy itself is on loopback. Proves: it needs no permission, its targets do."""
    async with scene.client() as client:
        for _ in range(2):
            answer = await deliver(client, f"{scene.receiver.scheme}://{RECEIVER}/hook?a=b")
            assert (answer.status_code, answer.error, answer.body) == (200, None, b"ok")
    if scene.receiver.scheme == "https":
        assert scene.proxy.lines == [f"CONNECT {RECEIVER}:443 HTTP/1.1"]  # once: the tunnel is kept
    else:
        assert scene.proxy.lines == [f"POST http://{RECEIVER}/hook?a=b HTTP/1.1"]
    assert len(scene.receiver.requests) == 2
    headers = dict(scene.receiver.requests[0].headers)
    assert headers == {"host": RECEIVER, "x-name": "value", "content-length": "2"}


async def test_the_password_of_a_proxy_is_not_sent_through_its_tunnel(scene: Scene) -> None:
    async with scene.client(credentials="user:pass%3Aw%C3%B6rd@") as client:
        for _ in range(2):
            assert (await deliver(client, f"{scene.receiver.scheme}://{RECEIVER}/")).error is None
    assert all(f"Proxy-Authorization: {AUTHORIZED}\r\n".lower() in head.lower() for head in scene.proxy.heads)
    if scene.receiver.scheme == "https":
        assert all("proxy-authorization" not in dict(request.headers) for request in scene.receiver.requests)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "[::1]",
        "2130706433",
        "127.1",
        "localhost",
        "db.internal",
        "8.8.8.8:25",
    ],
)
async def test_a_forbidden_address_is_not_requested_from_the_proxy(scene: Scene, host: str) -> None:
    async with scene.client() as client:
        answer = await deliver(client, f"{scene.receiver.scheme}://{host}/")
    assert (answer.status_code, answer.error) == (None, "forbidden_address")
    assert scene.proxy.heads == []


async def test_an_allowed_address_is_requested_from_the_proxy(scene: Scene) -> None:
    async with scene.client(parse_networks(["10.0.0.0/8", "127.0.0.1"])) as client:
        for host in ("10.0.0.1", "db.internal", "localhost"):
            await deliver(client, f"{scene.receiver.scheme}://{host}/", timeout=WAIT_TIMEOUT)
    assert len(scene.proxy.heads) == 3


# Errors of the proxy and of the receiver


async def test_a_proxy_that_is_down_is_an_internal_error(scene: Scene) -> None:
    unused = make_client(Networks(), proxy="http://127.0.0.1:8")
    unnamed = make_client(Networks(), proxy="http://user:secret@proxy.invalid:3128")
    for client in (unused, unnamed):
        with pytest.raises(ProxyFailed, match="cannot be reached") as raised:
            await deliver(client, f"{scene.receiver.scheme}://{RECEIVER}/")
        assert "secret" not in str(raised.value)
        await client.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue refuses")
async def test_a_proxy_that_does_not_even_accept_is_an_internal_error(scene: Scene) -> None:
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as full, ExitStack() as waiting:
        for _ in range(4):
            sock = waiting.enter_context(closing(socket.socket()))
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        async with make_client(Networks(), proxy=f"http://127.0.0.1:{full.getsockname()[1]}") as client:
            with pytest.raises(ProxyFailed, match="in time"):
                await deliver(client, f"{scene.receiver.scheme}://{RECEIVER}/", timeout=0.3)


async def test_a_wrong_password_is_an_internal_error(scene: Scene) -> None:
    scene.proxy.answer = b"HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n"
    async with scene.client(credentials="user:wrong@") as client:
        with pytest.raises(ProxyFailed, match="the egress proxy answered 407") as raised:
            await deliver(client, f"{scene.receiver.scheme}://{RECEIVER}/")
    assert "wrong" not in str(raised.value)


@pytest.mark.parametrize("scene", ["https"], indirect=True)
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Oops\r\n",
        b"HTTP/1.1 502 Bad gateway\r\n",
        b"HTTP/1.1 503 Busy\r\nX-Squid-Error: ERR_FORWARDING_DENIED 0\r\n",
        b"HTTP/1.1 503 Busy\r\nProxy-Status: squid; error=proxy_internal_error\r\n",
        b"HTTP/1.1 429 Slowly\r\nX-Smokescreen-Error: too many tunnels\r\n",
        b"HTTP/1.1 405 No CONNECT here\r\n",
        b"HTTP/1.1 301 Elsewhere\r\nLocation: http://127.0.0.1/\r\n",
        b"SSH-2.0-OpenSSH\r\n",
    ],
    ids=lambda answer: answer.decode()[:20],
)
async def test_a_proxy_that_makes_no_tunnel_is_an_internal_error(scene: Scene, answer: bytes) -> None:
    scene.proxy.answer = answer
    async with scene.client() as client:
        with pytest.raises(ProxyFailed):
            await deliver(client, f"https://{RECEIVER}/")
    assert scene.receiver.peers == []


@pytest.mark.parametrize("scene", ["https"], indirect=True)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("502 Bad gateway\r\nProxy-Status: x; error=dns_error; rcode=NXDOMAIN", "dns"),
        ("502 Bad gateway\r\nProxy-Status: x;error=connection_refused", "connection_refused"),
        ("504 Late\r\nProxy-Status: x; next-hop=1.2.3.4; error=connection_timeout", "timeout"),
        ("502 Bad gateway\r\nProxy-Status: x; error=tls_certificate_error", "tls"),
        ("403 No\r\nProxy-Status: x; error=destination_ip_prohibited", "forbidden_address"),
        ("503 Unavailable\r\nX-Squid-Error: ERR_DNS_FAIL 0", "dns"),
        ("503 Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 111", "connection_refused"),
        ("403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0", "forbidden_address"),
        ("407 Request rejected\r\nX-Smokescreen-Error: egress denied", "forbidden_address"),
        ("502 Bad gateway\r\nX-Smokescreen-Error: Failed to connect to remote host", "connection_refused"),
        ("504 Gateway timeout\r\nX-Smokescreen-Error: Timed out", "timeout"),
        ("403 Forbidden", "forbidden_address"),
    ],
)
async def test_an_error_that_the_proxy_ascribes_to_the_receiver_is_an_attempt(
    scene: Scene, answer: str, error: str
) -> None:
    """A dead receiver behind a proxy that is well: raised as an internal error, it would be retried without end."""
    scene.proxy.answer = f"HTTP/1.1 {answer}\r\n".encode()
    async with scene.client() as client:
        got = await deliver(client, f"https://{RECEIVER}/")
    assert (got.status_code, got.error) == (None, error)


@pytest.mark.parametrize("scene", ["https"], indirect=True)
async def test_certificates_are_verified_through_the_tunnel(scene: Scene) -> None:
    async with make_client(Networks(), proxy=scene.proxy.url) as client:
        assert (await deliver(client, f"https://{RECEIVER}/")).error == "tls"
    async with scene.client() as client:
        assert (await deliver(client, "https://other.example/")).error == "tls"
    assert scene.receiver.requests == []


@pytest.mark.parametrize("scene", ["http"], indirect=True)
async def test_over_plain_http_an_answer_of_the_proxy_counts_as_the_receivers(scene: Scene) -> None:
    """The proxy's 503 cannot be distinguished from the receiver's. A 407 is for proxies alone (RFC 9110, 15.5.8)."""
    for said, error in ((b"503 Busy", "http_503"), (b"403 No", "http_403"), (b"407 Mine", "http_407")):
        scene.proxy.answer = b"HTTP/1.1 " + said + b"\r\nContent-Length: 0\r\n"
        async with scene.client() as client:
            assert (await deliver(client, f"http://{RECEIVER}/")).error == error


async def test_a_silent_proxy_takes_no_longer_than_the_timeout(scene: Scene) -> None:
    async with receiving(says(b""), read=True) as silent, make_client(Networks(), proxy=silent.url("")) as client:
        answer = await deliver(client, f"{scene.receiver.scheme}://{RECEIVER}/", timeout=0.3)
    assert answer.error == "timeout"
    assert answer.duration_ms < 1000 * CALL_TIMEOUT


# The setting


@pytest.mark.parametrize(
    "url",
    [
        *("http://proxy", "https://proxy:3128", "socks5://proxy:1080", "proxy:3128", "http://proxy:x"),
        *("http://proxy:3128/path", "http://proxy:3128?a", "http://a b:1", "http://user:secret@:3128"),
    ],
)
def test_an_invalid_proxy_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="must be http://host:port or http://user:password@host:port") as raised:
        Settings(egress_proxy=SecretStr(url))
    assert "secret" not in str(raised.value)
    with pytest.raises(ValueError, match="must be"):
        Proxy.parse(url)


def test_without_a_proxy_url_there_is_no_proxy() -> None:
    assert Settings(egress_proxy=SecretStr("")).egress_proxy is None
    proxy = Proxy.parse("http://user:secret@proxy.example:3128/")
    assert (str(proxy.url), "secret" in repr(proxy)) == ("http://proxy.example:3128", False)


def test_an_unknown_word_blames_only_the_proxy() -> None:
    for headers in ({"proxy-status": "x; error=unknown_thing"}, {"x-squid-error": ""}, {"x-squid-error": "ERR_NEW 1"}):
        assert isinstance(error_of(503, headers), ProxyFailed)
