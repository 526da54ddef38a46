"""Services that Apprise calls under the guard: forbidden addresses, slow answers, large answers."""

import asyncio
import resource
import socket
import threading
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import hookkeeper.egress.apprise_sender
from hookkeeper.content.notifications import RenderedNotification
from hookkeeper.egress.addresses import Networks, parse_networks
from hookkeeper.egress.apprise_sender import MAX_THREADS, AppriseBusy, AppriseSender, ServiceAnswer
from rawserver import OK, Peer, Script, make_certificate, receiving, says, server_tls
from receivers import Answer, receiver
from timeouts import CALL_TIMEOUT, WAIT_TIMEOUT

LOOPBACK = parse_networks(["127.0.0.0/8"])
ALLOWED = ("ntfy", "ntfys")
SECOND = timedelta(seconds=1)


@pytest.fixture
async def services() -> AsyncIterator[AppriseSender]:
    services = AppriseSender(ALLOWED, LOOPBACK)
    yield services
    await services.close()


@pytest.fixture
async def strict() -> AsyncIterator[AppriseSender]:
    """Those of an operator who allows no private networks."""
    services = AppriseSender(ALLOWED, Networks())
    yield services
    await services.close()


async def send(services: AppriseSender, url: str, timeout: float = WAIT_TIMEOUT, tenant: str = "") -> ServiceAnswer:
    return await services.notify(RenderedNotification(service=url, title="title", body="body"), timeout, tenant)


# Addresses


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "user:pass@127.0.0.1",
        "2130706433",
        "0.0.0.0",
        "[::1]",
    ],
)
async def test_loopback_is_forbidden_and_sees_no_connection(strict: AppriseSender, host: str) -> None:
    async with receiving(says(OK)) as server:
        answer = await send(strict, f"ntfy://{host}:{server.port}/topic?mode=private")
        assert answer.status_code is None
        assert (answer.verdict, answer.error) == ("forbidden_address", "forbidden_address")
        await asyncio.sleep(0.05)
        assert server.peers == []


async def test_loopback_is_reached_where_it_is_allowed(services: AppriseSender) -> None:
    async with receiver() as local:
        answer = await send(services, f"ntfy://localhost:{urlsplit(local.url).port}/topic")
    assert (answer.verdict, answer.status_code, answer.text) == ("succeeded", 200, "ok")
    [request] = local.requests
    assert request.body == b'{"topic": "topic", "title": "title", "message": "body"}'


def name_server(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Stand in for all name servers: every name has these addresses."""

    def look_up(host: str, port: int, *_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


async def test_of_a_names_addresses_only_the_allowed_count(
    services: AppriseSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving(says(OK)) as server:
        url = f"ntfy://acme.example:{server.port}/topic"
        name_server(monkeypatch, "10.0.0.1", "127.0.0.1", "169.254.169.254")
        assert (await send(services, url)).verdict == "succeeded"
    name_server(monkeypatch, "127.0.0.1", "10.0.0.1")
    assert (await send(services, url)).error == "connection_refused"
    name_server(monkeypatch, "10.0.0.1", "169.254.169.254")
    assert (await send(services, url)).verdict == "forbidden_address"


@pytest.mark.parametrize("arguments", ["", "?redirect=yes"])
async def test_redirects_are_not_followed(services: AppriseSender, arguments: str) -> None:
    async with receiving(says(OK)) as other:
        head = f"HTTP/1.1 302 Found\r\nLocation: {other.url()}\r\nContent-Length: 5\r\n\r\nmoved"
        async with receiving(says(head.encode())) as server:
            answer = await send(services, f"ntfy://127.0.0.1:{server.port}/topic{arguments}")
        assert (answer.verdict, answer.status_code, answer.error) == ("failed", 302, "http_302")
        await asyncio.sleep(0.05)
        assert other.peers == []


async def test_proxies_and_netrc_of_the_environment_are_ignored(
    services: AppriseSender, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    async with receiving(says(OK)) as server, receiving(says(OK)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("NO_PROXY", "")
        assert (await send(services, f"ntfy://127.0.0.1:{server.port}/topic")).verdict == "succeeded"
    assert proxy.peers == []
    assert "authorization" not in {name.lower() for name, _ in server.requests[0].headers}


async def test_a_certificate_of_an_unknown_authority_is_outcome_tls(
    services: AppriseSender, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path, "127.0.0.1")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(certificate))
    async with receiving(says(OK), tls=server_tls(certificate)) as server:
        answer = await send(services, f"ntfys://127.0.0.1:{server.port}/topic")
    assert (answer.verdict, answer.status_code, answer.error) == ("failed", None, "tls")
    assert server.requests == []


# What goes wrong


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param(says(close=True), "connection_reset", id="closed before an answer"),
        pytest.param(says(reset=True), "connection_reset", id="reset before an answer"),
        pytest.param(says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", close=True), "protocol", id="not HTTP"),
        pytest.param(says(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"), "protocol", id="long header"),
        pytest.param(
            says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\njunk"),
            "protocol",
            id="no gzip",
        ),
        pytest.param(
            says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", close=True), "connection_reset", id="half"
        ),
    ],
)
async def test_an_incomplete_answer_has_its_error(services: AppriseSender, script: Script, error: str) -> None:
    async with receiving(script) as server:
        answer = await send(services, f"ntfy://127.0.0.1:{server.port}/topic")
    assert (answer.verdict, answer.error) == ("failed", error)
    assert len(server.requests) == 1


async def test_a_refused_connection_has_its_error(services: AppriseSender) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        answer = await send(services, f"ntfy://127.0.0.1:{unused.getsockname()[1]}/topic")
    assert (answer.verdict, answer.error) == ("failed", "connection_refused")


async def test_an_unknown_name_is_outcome_dns(services: AppriseSender) -> None:
    answer = await send(services, "ntfy://nonexistent.invalid/topic")
    assert (answer.verdict, answer.error) == ("failed", "dns")


async def test_no_file_descriptors_are_an_internal_error(services: AppriseSender) -> None:
    async with receiving(says(OK)) as server:
        url = f"ntfy://127.0.0.1:{server.port}/topic"
        assert (await send(services, url)).verdict == "succeeded"
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken: list[socket.socket] = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
            with suppress(OSError):
                while True:
                    taken.append(socket.socket())
            with pytest.raises(OSError, match="Too many open files"):
                await send(services, url)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for handle in taken:
                handle.close()


# Time and size


async def silence(peer: Peer) -> None:
    await asyncio.sleep(60)


async def trickle(peer: Peer) -> None:
    await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await peer.say(b"1\r\nx\r\n")
        await asyncio.sleep(0.05)


async def endless_headers(peer: Peer) -> None:
    await peer.say(b"HTTP/1.1 200 OK\r\n")
    while True:
        await peer.say(b"X")
        await asyncio.sleep(0.05)


async def ends(peer: Peer) -> bool:
    """Wait until the other side has ended the connection."""
    with suppress(ConnectionError):
        async with asyncio.timeout(WAIT_TIMEOUT):
            await peer.reader.read()
    return True


@pytest.mark.parametrize(("script", "status"), [(silence, None), (trickle, 200), (endless_headers, None)])
async def test_the_timeout_bounds_everything(services: AppriseSender, script: Script, status: int | None) -> None:
    timeout = 3.0  # by when the status has arrived, where there is one
    async with receiving(script) as server:
        url = f"ntfy://127.0.0.1:{server.port}/topic"
        start = time.monotonic()
        answers = await asyncio.gather(*(send(services, url, timeout=timeout) for _ in range(16)))
        assert 0.9 * timeout < time.monotonic() - start < 16 * timeout, "all at once, not one after the other"
        assert {(answer.verdict, answer.status_code, answer.error) for answer in answers} == {
            ("failed", status, "timeout")
        }
        # All threads were taken; they are free again, and nothing goes on behind our backs.
        async with receiving(says(OK)) as other:
            again = await send(services, f"ntfy://127.0.0.1:{other.port}/topic", timeout=WAIT_TIMEOUT)
        assert again.verdict == "succeeded"
        assert len(server.peers) == 16
        assert all([await ends(peer) for peer in server.peers])


async def test_a_handshake_that_never_ends(services: AppriseSender) -> None:
    async with receiving(silence, read=False) as server:
        async with asyncio.timeout(CALL_TIMEOUT):
            answer = await send(services, f"ntfys://127.0.0.1:{server.port}/topic", timeout=0.5)
        assert answer.error == "timeout"
        assert await ends(server.peers[0])


async def test_cancellation_goes_through(services: AppriseSender) -> None:
    async with receiving(silence) as server:
        task = asyncio.create_task(send(services, f"ntfy://127.0.0.1:{server.port}/topic"))
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await ends(server.peers[0])


async def test_little_of_a_huge_body_is_read(services: AppriseSender) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        peer.writer.write(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 200000000\r\n\r\n")
        while sent < 200_000_000:
            peer.writer.write(b"x" * 100_000)
            await peer.writer.drain()
            sent += 100_000

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with receiving(script) as server:
        answer = await send(services, f"ntfy://127.0.0.1:{server.port}/topic")
    assert answer.error == "http_302"
    assert len(answer.text) == 1024
    assert sent < 50_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


async def test_little_of_a_compressed_bomb_is_unpacked(services: AppriseSender) -> None:
    packer = zlib.compressobj(wbits=31)
    packed = b"".join(packer.compress(b"0" * 1_000_000) for _ in range(200)) + packer.flush()
    head = b"HTTP/1.1 500 X\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with receiving(says(head + packed)) as server:
        answer = await send(services, f"ntfy://127.0.0.1:{server.port}/topic")
    assert answer.error == "http_500"
    assert answer.text.endswith("0000")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


# Tenants and each other


async def test_a_hanging_service_of_one_tenant_holds_up_no_other(services: AppriseSender) -> None:
    async with receiving(silence) as hanging, receiver() as local:
        stuck = [
            asyncio.create_task(send(services, f"ntfy://127.0.0.1:{hanging.port}/topic", WAIT_TIMEOUT, "hostile"))
            for _ in range(100)
        ]
        while len(hanging.requests) < MAX_THREADS // 2:
            await asyncio.sleep(0.01)
        times = []
        for _ in range(20):
            answer = await send(services, f"ntfy://127.0.0.1:{urlsplit(local.url).port}/topic", WAIT_TIMEOUT, "other")
            assert answer.verdict == "succeeded"
            times.append(answer.duration_ms)
        print(f"at most {max(times):.0f} ms")
        assert len(hanging.requests) == MAX_THREADS // 2
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


async def test_the_time_runs_from_when_there_is_a_thread(services: AppriseSender) -> None:
    async with receiver() as slow:
        slow.otherwise = Answer(delay=3)
        url = f"ntfy://127.0.0.1:{urlsplit(slow.url).port}/topic"
        start = time.monotonic()
        answers = await asyncio.gather(*(send(services, url, timeout=8) for _ in range(MAX_THREADS + MAX_THREADS // 2)))
        assert time.monotonic() - start > 9, "three times sixteen, one after the other"
    assert {answer.error for answer in answers} == {None}
    begun = [answer.started_at for answer in answers]
    assert max(begun) - min(begun) > 5.7 * SECOND


async def test_no_attempt_is_made_without_a_free_thread(
    services: AppriseSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hookkeeper.egress.apprise_sender, "THREAD_TIMEOUT", 0.3)
    async with receiving(silence) as hanging, receiving(says(OK)) as server:
        url = f"ntfy://127.0.0.1:{hanging.port}/topic"
        stuck = asyncio.gather(*(send(services, url, timeout=6) for _ in range(MAX_THREADS // 2)))
        while len(hanging.requests) < MAX_THREADS // 2:
            await asyncio.sleep(0.01)
        with pytest.raises(AppriseBusy, match=r"within 0\.3 s"):
            await send(services, f"ntfy://127.0.0.1:{server.port}/topic")
        assert {answer.error for answer in await stuck} == {"timeout"}
        assert server.peers == []
        assert (await send(services, f"ntfy://127.0.0.1:{server.port}/topic")).verdict == "succeeded"


async def test_a_thread_that_cannot_be_stopped_keeps_its_tenants_turn(
    services: AppriseSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the next ones do not wait for a thread with their time running, as they did."""
    look_up, ended = socket.getaddrinfo, threading.Event()

    def hanging(host: str, *more: Any, **names: Any) -> Any:
        return ended.wait(2 * WAIT_TIMEOUT) and [] if host == "hanging.example" else look_up(host, *more, **names)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    many = (send(services, "ntfy://hanging.example/topic", 0.2, "hostile") for _ in range(MAX_THREADS // 2))
    assert {answer.error for answer in await asyncio.gather(*many)} == {"timeout"}
    async with receiver() as local:
        url = f"ntfy://127.0.0.1:{urlsplit(local.url).port}/topic"
        others = await asyncio.gather(*(send(services, url, WAIT_TIMEOUT, f"other{n}") for n in range(40)))
        assert {answer.verdict for answer in others} == {"succeeded"}
        waiting = asyncio.create_task(send(services, url, 5.0, "hostile"))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        ended.set()
        assert (await waiting).verdict == "succeeded"
