"""The HTTP client against real sockets: whatever a receiver does becomes an `HttpAnswer`, in time, in little memory."""

import asyncio
import gzip
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import httpx
import pytest

from cases import each
from hookkeeper.addresses import ForbiddenAddress, Networks, parse_networks
from hookkeeper.causes import sentence_of
from hookkeeper.egress import http
from hookkeeper.egress.http import HttpAnswer, error_code, make_client
from name_servers import name_server
from rawserver import OK, Peer, Script, make_certificate, no_descriptors_left, receiving, says, server_tls
from receivers import Answer
from receivers import receiver as scripted_receiver
from timeouts import CALL_TIMEOUT, WAIT_TIMEOUT

LOOPBACK = parse_networks(["127.0.0.0/8"])
HEADERS = {"content-type": "application/json", "user-agent": "Hookkeeper/test", "webhook-id": "evt_1"}
BODY = '{"name":"Zoë"}'.encode()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with make_client(LOOPBACK) as client:
        yield client


async def send(client: httpx.AsyncClient, url: str, *, timeout: float = WAIT_TIMEOUT, body: bytes = BODY) -> HttpAnswer:
    return await http.send(client, "POST", url, body=body, headers=HEADERS, timeout=timeout)


# What is sent


async def test_sends_these_bytes_and_these_headers_and_no_others(client: httpx.AsyncClient) -> None:
    body = bytes(range(256)) * 16
    async with receiving(says(OK)) as receiver:
        answer = await send(client, receiver.url("/a%2Fb/?q=a%2Bb+c&x=%E9"), body=body)
    [request] = receiver.requests
    assert request.line == "POST /a%2Fb/?q=a%2Bb+c&x=%E9 HTTP/1.1"
    assert request.body == body
    ours = {"host": f"127.0.0.1:{receiver.port}", "content-length": "4096"}
    assert sorted(request.headers) == sorted((HEADERS | ours).items())
    assert (answer.status_code, answer.error, answer.body) == (200, None, b"ok")


async def test_an_empty_body_is_sent_as_one(client: httpx.AsyncClient) -> None:
    async with receiving(says(OK)) as receiver:
        answer = await send(client, receiver.url(), body=b"")
    assert answer.error is None
    assert dict(receiver.requests[0].headers)["content-length"] == "0"


async def test_headers_that_frame_a_message_are_not_a_webhooks_to_set(client: httpx.AsyncClient) -> None:
    async with receiving(says(OK)) as receiver:
        headers = {"Content-Length": "1", "Transfer-Encoding": "chunked", "Expect": "100-continue"}
        headers |= {"Host": "internal", "Connection": "close", "x-name": "Zoë"}
        answer = await http.send(client, "POST", receiver.url(), body=BODY, headers=headers, timeout=WAIT_TIMEOUT)
    assert answer.error is None
    [request] = receiver.requests
    assert request.body == BODY
    names = {name for name, _ in request.headers}
    assert names == {"host", "content-length", "x-name"}
    assert dict(request.headers)["x-name"].encode("latin-1") == "Zoë".encode()
    assert dict(request.headers)["host"] == f"127.0.0.1:{receiver.port}"


@each("given", [{}, {"authorization": "Bearer x"}])
async def test_credentials_in_the_url_are_sent_unless_a_header_has_some(
    client: httpx.AsyncClient, given: dict[str, str]
) -> None:
    async with receiving(says(OK)) as receiver:
        url = receiver.url().replace("http://", "http://user:p%40ss@")
        answer = await http.send(client, "POST", url, body=BODY, headers=given, timeout=WAIT_TIMEOUT)
    assert answer.error is None
    [request] = receiver.requests
    assert dict(request.headers)["authorization"] == given.get("authorization", "Basic dXNlcjpwQHNz")


async def test_cookies_are_not_sent_back(client: httpx.AsyncClient) -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with receiving(says(answer)) as receiver:
        for _ in range(2):
            assert (await send(client, receiver.url())).error is None
    assert [name for request in receiver.requests for name, _ in request.headers if name == "cookie"] == []
    assert not client.cookies


async def test_proxies_and_netrc_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    async with receiving(says(OK)) as receiver, receiving(says(OK)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("NO_PROXY", "")
        async with make_client(LOOPBACK) as client:
            assert (await send(client, receiver.url())).error is None
    assert proxy.peers == []
    assert "authorization" not in dict(receiver.requests[0].headers)


# What comes back


@each(
    ("status", "error"),
    [(200, None), (201, None), (299, None), (400, "http_400"), (410, "http_410"), (500, "http_500"), (999, "http_999")],
)
async def test_a_complete_answer_is_returned(client: httpx.AsyncClient, status: int, error: str | None) -> None:
    before = datetime.now(UTC)
    said = b"HTTP/1.1 %d X\r\nRETRY-after: 120\r\nDate: today\r\nX-Other: 1\r\nContent-Length: 4\r\n\r\nbody" % status
    async with receiving(says(said)) as receiver:
        answer = await send(client, receiver.url())
    assert (answer.status_code, answer.error, answer.body) == (status, error, b"body")
    assert (answer.headers["retry-after"], answer.headers.get("Retry-After")) == ("120", "120")
    assert dict(answer.headers) == {"retry-after": "120"}
    assert before <= answer.started_at <= datetime.now(UTC)
    assert 0 < answer.duration_ms < 1000 * CALL_TIMEOUT


@each("location", ["/elsewhere", "http://169.254.169.254/", "http://[::", ""])
async def test_redirects_are_not_followed(client: httpx.AsyncClient, location: str) -> None:
    said = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    async with receiving(says(said)) as receiver:
        answer = await send(client, receiver.url())
    assert (answer.status_code, answer.error) == (302, "http_302")
    assert len(receiver.requests) == 1


@each(
    ("said", "body"),
    [
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="no body"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end", id="HTTP/1.0"),
        pytest.param(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"", id="no reason"),
        pytest.param(b"HTTP/1.1 200 \xff\xfe\r\nContent-Length: 0\r\n\r\n", b"", id="reason that is not UTF-8"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: \xff\r\nDate: \xfe\r\nContent-Length: 0\r\n\r\n", b"", id="header bytes"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc", id="chunked"
        ),
        pytest.param(b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", id="interim"),
    ],
)
async def test_forms_of_success(client: httpx.AsyncClient, said: bytes, body: bytes) -> None:
    async with receiving(says(said, close=True)) as receiver:
        answer = await send(client, receiver.url())
    assert answer.error is None
    assert answer.body == body


async def test_a_compressed_body_is_left_as_it_is(client: httpx.AsyncClient) -> None:
    packed = gzip.compress(b"0" * 1_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with receiving(says(head + packed)) as receiver:
        answer = await send(client, receiver.url())
    assert answer.error is None
    assert answer.body == packed


async def test_little_of_a_huge_body_is_read_and_less_is_kept(client: httpx.AsyncClient) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
        while sent < 200_000_000:
            peer.writer.write(b"x" * 100_000)
            await peer.writer.drain()
            sent += 100_000

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with receiving(script) as receiver:
        answer = await send(client, receiver.url())
        assert len(answer.body) == 4096
        short = await http.send(client, "POST", receiver.url(), body=BODY, headers={}, timeout=WAIT_TIMEOUT, keep=128)
        assert short.body == b"x" * 128
    assert (answer.status_code, answer.error) == (200, None)
    assert sent < 50_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


# What goes wrong


@each(
    ("script", "error"),
    [
        pytest.param(says(close=True), "connection_reset", id="closed before an answer"),
        pytest.param(says(reset=True), "connection_reset", id="reset before an answer"),
        pytest.param(says(b"HTTP/1.1 200 OK\r\nX: y\r\n", close=True), "connection_reset", id="closed in the headers"),
        pytest.param(says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "protocol", id="not HTTP"),
        pytest.param(says(b"HTTP/1.1 abc OK\r\n\r\n"), "protocol", id="no status"),
        pytest.param(says(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), "protocol", id="no header"),
        pytest.param(
            says(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(10_000)) + b"\r\n"),
            "protocol",
            id="10,000 headers",
        ),
        pytest.param(says(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n"), "protocol", id="long header"),
    ],
)
async def test_an_incomplete_answer_has_its_error(client: httpx.AsyncClient, script: Script, error: str) -> None:
    async with receiving(script) as receiver:
        answer = await send(client, receiver.url())
        assert (answer.status_code, answer.error, answer.body) == (None, error, b"")
        assert len(receiver.requests) == 1


@each(
    "script",
    [
        pytest.param(says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"half", close=True), id="close"),
        pytest.param(says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"half", reset=True), id="reset"),
        pytest.param(
            says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"9\r\nhalf", reset=True), id="in a chunk"
        ),
    ],
)
async def test_a_success_whose_body_breaks_off_is_a_failure(client: httpx.AsyncClient, script: Script) -> None:
    async with receiving(script) as receiver:
        answer = await send(client, receiver.url())
    assert (answer.status_code, answer.error, answer.body) == (200, "connection_reset", b"half")


async def test_a_refused_connection_has_its_error(client: httpx.AsyncClient) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        answer = await send(client, f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert (answer.status_code, answer.error) == (None, "connection_refused")


@each("host", ["nonexistent.invalid", "a..b", "a" * 64 + ".example"])
async def test_an_unknown_name_is_outcome_dns(host: str) -> None:
    async with name_server() as dns, make_client(LOOPBACK, lookups=dns.lookups()) as client:
        answer = await send(client, f"http://{host}/")
    assert (answer.status_code, answer.error) == (None, "dns")


@each("url", ["http://[::", "http://xn--a/", "http://a:99999/", "ftp://127.0.0.1/", "no url"])
async def test_an_invalid_url_has_its_error(client: httpx.AsyncClient, url: str) -> None:
    assert (await send(client, url)).error == "protocol"


# Time


async def trickle(peer: Peer) -> None:
    await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await peer.say(b"1\r\nx\r\n")
        await asyncio.sleep(0.05)


async def silence(peer: Peer) -> None:
    await asyncio.sleep(60)


async def endless_headers(peer: Peer) -> None:
    await peer.say(b"HTTP/1.1 200 OK\r\n")
    while True:
        await peer.say(b"X")
        await asyncio.sleep(0.05)


async def endless_interim(peer: Peer) -> None:
    while True:
        await peer.say(b"HTTP/1.1 102 Processing\r\n\r\n")
        await asyncio.sleep(0.01)


@each(("script", "status"), [(trickle, 200), (silence, None), (endless_headers, None), (endless_interim, None)])
async def test_the_timeout_bounds_everything(client: httpx.AsyncClient, script: Script, status: int | None) -> None:
    timeout = 0.5 if status is None else 2.0  # by when the status has arrived
    async with receiving(script) as receiver:
        start = time.monotonic()
        answer = await send(client, receiver.url(), timeout=timeout)
        assert time.monotonic() - start > 0.9 * timeout
    assert (answer.status_code, answer.error) == (status, "timeout"), "none of them ends by itself"
    assert 900 * timeout < answer.duration_ms < 1000 * CALL_TIMEOUT


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_request_that_timed_out_half_sent_is_cut_off(client: httpx.AsyncClient) -> None:
    """Setup: a receiver with a small buffer that reads nothing. Timeline: the attempt times out, then it reads.

    Proves: the connection is cut with the request half sent, and neither socket nor buffer stay behind.
    """
    taken = 0
    given_up, ended = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal taken
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await given_up.wait()
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        try:
            while chunk := await peer.reader.read(65536):
                taken += len(chunk)
        finally:
            ended.set()

    async with receiving(script, read=False) as receiver:
        body = b"x" * 32_000_000
        answer = await send(client, receiver.url(), timeout=0.3, body=body)
        assert answer.error == "timeout"
        given_up.set()
        async with asyncio.timeout(WAIT_TIMEOUT):
            await ended.wait()
    assert taken < len(body)


async def test_cancellation_goes_through(client: httpx.AsyncClient) -> None:
    async with receiving(silence) as receiver:
        task = asyncio.create_task(send(client, receiver.url()))
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not receiver.requests:
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await receiver.peers[0].reader.read() == b""


# Addresses


@each("host", ["127.0.0.1", "localhost", "127.1", "0x7f.1", "2130706433", "0", "[::1]", "[::ffff:127.0.0.1]"])
async def test_loopback_is_forbidden_and_sees_no_connection(host: str) -> None:
    async with make_client(Networks()) as client, receiving(says(OK)) as receiver:
        answer = await send(client, receiver.url(host=host))
        assert (answer.status_code, answer.error) == (None, "forbidden_address")
        await asyncio.sleep(0.05)
        assert receiver.peers == []


@each("addresses", [("127.0.0.1", "169.254.169.254"), ("fd00:ec2::254", "10.0.0.1", "127.0.0.1")])
async def test_of_a_names_addresses_only_the_allowed_count(addresses: tuple[str, ...]) -> None:
    forbidden = [address for address in addresses if address != "127.0.0.1"]
    async with (
        name_server(acme_example=[*addresses], evil_example=forbidden) as dns,
        make_client(LOOPBACK, lookups=dns.lookups()) as client,
    ):
        async with receiving(says(OK)) as receiver:
            assert (await send(client, receiver.url(host="acme.example"))).error is None
        assert (await send(client, receiver.url(host="ACME.example"))).error == "connection_refused"
        assert (await send(client, receiver.url(host="evil.example"))).error == "forbidden_address"


# TLS


@pytest.mark.parametrize(
    ("names", "days", "trusted", "cause"),
    [
        (("127.0.0.1",), 1, True, None),
        (("127.0.0.1",), 1, False, "The certificate is self-signed"),
        (("other.example",), 1, True, "The certificate is for another host: "),
        (("127.0.0.1",), -1, True, "The certificate has expired"),
    ],
)
async def test_a_certificate_has_to_be_valid_for_its_name_and_authority(
    tmp_path: Path, names: tuple[str, ...], days: int, trusted: bool, cause: str | None
) -> None:
    certificate = make_certificate(tmp_path, *names, days=days)
    tls = ssl.create_default_context(cafile=certificate) if trusted else None
    async with receiving(says(OK), tls=server_tls(certificate)) as receiver, make_client(LOOPBACK, tls=tls) as client:
        answer = await send(client, receiver.url())
        assert answer.error == (cause and "tls")
        assert (said(answer) or "").startswith(cause or "")
        assert len(receiver.requests) == (cause is None)


def said(answer: HttpAnswer) -> str | None:
    return sentence_of(answer.error, answer.status_code, answer.body.decode())


async def test_tls_to_a_plain_port_is_outcome_tls(client: httpx.AsyncClient) -> None:
    async with receiving(says(OK), read=False) as receiver:
        answer = await send(client, receiver.url().replace("http:", "https:"))
    assert answer.error == "tls"
    assert said(answer) == "The receiver does not speak TLS at this port"


async def test_an_attempt_without_a_response_says_what_it_has_met(client: httpx.AsyncClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    refused = await send(client, f"http://127.0.0.1:{port}/")
    assert said(refused) == f"The connection was refused: 127.0.0.1:{port}"
    nameless = await send(client, "http://nonexistent.invalid/hook?key=secret")
    assert said(nameless) == "There is no such host: nonexistent.invalid"

    async def hang(peer: Peer) -> None:
        await asyncio.sleep(WAIT_TIMEOUT)

    async with receiving(hang) as receiver:
        late = await send(client, receiver.url(), timeout=0.2)
    assert said(late) == "No complete response in time: 0.2 s"
    moved = b"HTTP/1.1 301 Moved Permanently\r\nlocation: https://new.example/\r\ncontent-length: 0\r\n\r\n"
    async with receiving(says(moved)) as receiver:
        redirected = await send(client, receiver.url())
    assert (said(redirected) or "").endswith("not followed: 301 Moved Permanently, https://new.example/")


async def test_a_reset_in_the_handshake_has_its_error(client: httpx.AsyncClient) -> None:
    async with receiving(says(reset=True), read=False) as receiver:
        assert (await send(client, receiver.url().replace("http:", "https:"))).error == "connection_reset"


# Connections


async def test_connections_are_reused(client: httpx.AsyncClient) -> None:
    async with receiving(says(OK)) as receiver:
        for _ in range(5):
            assert (await send(client, receiver.url())).error is None
    assert len(receiver.peers) == 1


async def test_many_at_once_do_not_wait_for_each_other(client: httpx.AsyncClient) -> None:
    together = asyncio.Barrier(150)

    async def slow(peer: Peer) -> None:
        await together.wait()  # the first answer waits until all requests have arrived
        await peer.say(OK)

    async with receiving(slow) as receiver:
        answers = await asyncio.gather(*(send(client, receiver.url()) for _ in range(150)))
        assert {answer.error for answer in answers} == {None}


@each("pause", [0.0, 0.05])
async def test_an_idle_connection_that_the_receiver_closed_costs_no_attempt(
    client: httpx.AsyncClient, pause: float
) -> None:
    async with receiving(says(OK, close=True)) as receiver:
        for _ in range(5):
            assert (await send(client, receiver.url())).error is None
            await asyncio.sleep(pause)
    assert len(receiver.peers) == 5


async def test_a_kept_connection_that_breaks_before_the_answer_costs_no_attempt(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        if len(receiver.requests) == 2:  # the second request on the first connection
            peer.reset()
        else:
            await peer.say(OK)

    async with receiving(script) as receiver:
        for _ in range(3):
            assert (await send(client, receiver.url())).error is None
    assert len(receiver.peers) == 2
    assert [request.body for request in receiver.requests] == [BODY] * 4


async def test_the_second_try_takes_no_kept_connection(client: httpx.AsyncClient) -> None:
    """Setup: three kept connections, each of which the receiver resets at its next request."""

    async def script(peer: Peer) -> None:
        served = len(receiver.requests)
        await asyncio.sleep(0.1)  # so that three requests at once take three connections
        if served > 3 and peer in receiver.peers[:3]:
            peer.reset()
        else:
            await peer.say(OK)

    async with receiving(script) as receiver:
        await asyncio.gather(*(send(client, receiver.url()) for _ in range(3)))
        assert (await send(client, receiver.url())).error is None
        assert (len(receiver.peers), len(receiver.requests)) == (4, 5)


async def test_a_receiver_that_breaks_each_connection_is_asked_twice_at_most(client: httpx.AsyncClient) -> None:
    async def script(peer: Peer) -> None:
        if len(receiver.requests) == 1:
            await peer.say(OK)
        else:
            peer.reset()

    async with receiving(script) as receiver:
        assert (await send(client, receiver.url())).error is None
        assert (await send(client, receiver.url())).error == "connection_reset"
        assert len(receiver.requests) == 3


@each("pause", [0.0, 0.05])
async def test_an_unsolicited_response_answers_no_later_request(client: httpx.AsyncClient, pause: float) -> None:
    """Setup: a receiver that says 200 twice to the first request, and 500 to all others.

    Timeline: two requests. Proves: the second 200 is not taken for the answer to the second request.
    """
    failed = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
    said = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.say(*([OK, OK] if len(receiver.requests) == 1 else [failed]), pause=pause)
        said.set()

    async with receiving(script) as receiver:
        assert (await send(client, receiver.url())).error is None
        await said.wait()
        await asyncio.sleep(0.1)
        assert (await send(client, receiver.url())).error == "http_500"


# Internal errors


async def test_a_closed_client_is_an_internal_error() -> None:
    client = make_client(LOOPBACK)
    await client.aclose()
    with pytest.raises(RuntimeError):
        await send(client, "http://127.0.0.1:9/")


async def test_a_header_that_cannot_be_sent_is_an_internal_error(client: httpx.AsyncClient) -> None:
    async with receiving(says(OK)) as receiver:
        with pytest.raises(ValueError, match="header"):
            await http.send(client, "POST", receiver.url(), body=BODY, headers={"x": "a\r\nb: c"}, timeout=5)
        assert receiver.requests == []


async def test_running_out_of_file_descriptors_is_an_internal_error(client: httpx.AsyncClient) -> None:
    async with receiving(says(OK)) as receiver:
        with no_descriptors_left(), pytest.raises(httpx.TransportError, match="Too many open files"):
            await send(client, receiver.url())
        assert (await send(client, receiver.url())).error is None


@each("error", [aiohttp.ClientConnectionError("Connector is closed."), KeyError("bug")])
async def test_other_internal_errors_are_raised(error: Exception) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
        with pytest.raises(type(error)):
            await send(client, "http://127.0.0.1/")


@each(
    ("exc", "code"),
    [
        (TimeoutError(), "timeout"),
        (TimeoutError(110, "Connection timed out"), "timeout"),
        (ConnectionResetError(), "connection_reset"),
        (BrokenPipeError(), "connection_reset"),
        (aiohttp.ServerDisconnectedError(), "connection_reset"),
        (OSError(113, "No route to host"), "connection_reset"),
        (socket.gaierror(), "dns"),
        (ssl.SSLError(), "tls"),
        (ForbiddenAddress(), "forbidden_address"),
        (httpx.InvalidURL("x"), "protocol"),
    ],
)
def test_error_codes_look_through_what_wraps_the_cause(exc: Exception, code: str) -> None:
    wrapped = httpx.ConnectTimeout("x")
    wrapped.__cause__ = exc
    assert error_code(exc) == error_code(wrapped) == code


# How long it takes


async def test_a_request_has_the_times_of_its_phases(client: httpx.AsyncClient) -> None:
    """A connection is made once. Then the receiver is waited for, and its body."""
    async with scripted_receiver() as inbox:
        inbox.otherwise = Answer(delay=0.05)
        first, second = await send(client, inbox.url), await send(client, inbox.url)
    assert first.connect_ms is not None and first.connect_ms > 0
    assert second.connect_ms is None, "the connection is used again"
    for answer in (first, second):
        assert answer.first_byte_ms is not None
        assert answer.first_byte_ms >= 50
        assert (answer.connect_ms or 0) + answer.first_byte_ms <= answer.duration_ms


async def test_a_failed_request_has_the_times_of_the_phases_that_it_reached(client: httpx.AsyncClient) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        refused = await send(client, f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert (refused.error, refused.first_byte_ms) == ("connection_refused", None)
    assert refused.connect_ms is not None and 0 < refused.connect_ms <= refused.duration_ms
    async with scripted_receiver() as inbox:
        inbox.otherwise = Answer(delay=5)
        late = await send(client, inbox.url, timeout=0.2)
    assert (late.error, late.first_byte_ms) == ("timeout", None)
    assert late.connect_ms is not None and late.connect_ms < late.duration_ms


async def test_an_answer_has_all_its_headers(client: httpx.AsyncClient) -> None:
    async with receiving(
        says(b"HTTP/1.1 302 Found\r\nLocation: /a\r\nSet-Cookie: a=b\r\ncontent-length: 0\r\n\r\n")
    ) as peer:
        answer = await send(client, peer.url())
    assert [name for name, _ in answer.all_headers] == [b"Location", b"Set-Cookie", b"content-length"]
