"""Whatever a URL looks like and wherever a name leads: no socket is ever connected to an address that is not global.

Setup: an audit hook of the interpreter (PEP 578) sees every connect of this process before it is made, whatever library
makes it, and ends those that would leave this machine. Names are looked up in a table in place of any name server.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forbidden import EVERY_HOST
from hookkeeper.addresses import ForbiddenAddress, Networks, parse_networks
from hookkeeper.content.errors import BadTemplate
from hookkeeper.content.notifications import HttpCall, RenderedNotification, call_of
from hookkeeper.egress.http import HttpAnswer, make_client, send
from hookkeeper.egress.notifier import Notifier
from hookkeeper.egress.transport import _socket
from name_servers import NameServer, name_server
from rawserver import OK, receiving, says
from timeouts import WAIT_TIMEOUT

PUBLIC, PRIVATE, METADATA = "93.184.216.34", "10.0.0.1", "169.254.169.254"

_connects: list[str] | None = None


def _see(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _connects is not None and args[0].family != socket.AF_UNIX:
        _connects.append(str(args[1][0]))
        if not str(args[1][0]).startswith("127."):
            raise ConnectionRefusedError(111, "nothing leaves this machine in tests")


sys.addaudithook(_see)


@contextmanager
def watching() -> Iterator[list[str]]:
    """Return the addresses that are connected until the block ends."""
    global _connects
    seen: list[str] = []
    _connects = seen
    try:
        yield seen
    finally:
        _connects = None


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    async with name_server() as names:
        for name in ("printer.local", "db.internal", "nas.home.arpa"):
            names.answers[name] = [["127.0.0.1", "::1"]]
        names.answers["metadata.google.internal"] = [[METADATA]]
        yield names


@pytest.fixture(params=["webhook", "notification", "service"])
async def deliver(request: pytest.FixtureRequest, names: NameServer) -> AsyncIterator[Any]:
    """Send as a webhook is sent, as a call of any HTTP API, or as a notification of a service; to give the error."""
    async with make_client(Networks(), lookups=names.lookups()) as client:

        async def webhook(url: str) -> str | None:
            return (await post(client, url)).error

        async def notification(url: str) -> str | None:
            """A template makes the URL, so that it is read when it is sent, and not before."""
            try:
                call = call_of(HttpCall(url="{{ event.url }}", body="{}"), {"event": {"url": url}})
            except BadTemplate:
                return "bad_template"
            return (await Notifier(client).send(call, timeout=WAIT_TIMEOUT, keep=100)).error

        async def service(url: str) -> str | None:
            """Send to a server of ntfy, whose address is checked when it is saved, and not here."""
            address = url.replace("http", "ntfy", 1) + ("topic" if url.endswith("/") else "")
            note = RenderedNotification(service=address, title="title", body="body")
            try:
                return (await Notifier(client).send(note, timeout=WAIT_TIMEOUT, keep=100)).error
            except ValueError:
                return "bad_template"

        yield {"webhook": webhook, "notification": notification, "service": service}[request.param]


def client_of(names: NameServer, *allowed: str) -> httpx.AsyncClient:
    return make_client(parse_networks(allowed), lookups=names.lookups())


async def post(client: httpx.AsyncClient, url: str) -> HttpAnswer:
    return await send(client, "POST", url, body=b"{}", headers={}, timeout=WAIT_TIMEOUT)


# However an address is written


def test_the_table_of_notations_is_long() -> None:
    assert len(set(EVERY_HOST)) == len(EVERY_HOST) >= 60


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_way_to_write_a_host_opens_a_socket(names: NameServer, deliver: Any, scheme: str) -> None:
    with watching() as connects:
        for host in EVERY_HOST:
            error = await deliver(f"{scheme}://{host}/hook")
            assert error in ("forbidden_address", "protocol", "dns", "bad_template"), host
            assert connects == [], host
            await asyncio.sleep(0)  # most refusals await nothing, and together they would hold the event loop


async def test_a_port_or_a_password_does_not_open_a_forbidden_address(names: NameServer, deliver: Any) -> None:
    with watching() as connects:
        for host in ("127.0.0.1", "[::1]", "169.254.169.254", "localhost", "2130706433"):
            for authority in (f"{host}:8080", f"user:password@{host}", f"user@{host}:443"):
                assert await deliver(f"http://{authority}/") in ("forbidden_address", "bad_template"), authority
    assert connects == []


# Wherever a name leads


@pytest.mark.parametrize(
    "addresses",
    [
        [PRIVATE],
        [METADATA],
        ["127.0.0.1"],
        ["0.0.0.0"],
        ["::1"],
        ["fe80::1"],
        ["fd00:ec2::254"],
        ["::ffff:169.254.169.254"],
        ["64:ff9b::a00:1"],
        ["2002:a9fe:a9fe::1"],
        [PRIVATE, METADATA, "::1", "127.0.0.1"],
    ],
)
async def test_a_name_of_private_addresses_is_forbidden(names: NameServer, deliver: Any, addresses: list[str]) -> None:
    names.answers["evil.example"] = [addresses]
    with watching() as connects:
        assert await deliver("http://evil.example/") == "forbidden_address"
    assert connects == []


async def test_only_the_global_addresses_of_a_name_are_tried(names: NameServer, deliver: Any) -> None:
    names.answers["mixed.example"] = [[PRIVATE, PUBLIC, METADATA, "::1", "2606:4700:4700::1111", "127.0.0.1"]]
    with watching() as connects:
        assert await deliver("http://mixed.example/") == "connection_refused"
    assert set(connects) == {PUBLIC, "2606:4700:4700::1111"}


async def test_a_name_is_looked_up_once_an_attempt_and_that_answer_counts(names: NameServer) -> None:
    """Timeline: the first answer is public, all later ones are private, as a rebinding name server has it."""
    names.answers["rebind.example"] = [[PUBLIC], [PRIVATE], [METADATA, "127.0.0.1"]]
    with watching() as connects:
        async with make_client(Networks(), lookups=names.lookups()) as client:
            for error in ("connection_refused", "forbidden_address", "forbidden_address"):
                assert (await post(client, "http://rebind.example/")).error == error
    assert len(names.asked) == 3
    assert connects == [PUBLIC]


async def test_an_address_is_checked_again_when_it_is_connected(
    names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections are checked separately, so the check holds without that of names."""
    monkeypatch.setattr("hookkeeper.egress.resolver.is_allowed", lambda *_: True)
    names.answers["evil.example"] = [[METADATA, "127.0.0.1", "::1"]]
    with watching() as connects:
        async with make_client(Networks(), lookups=names.lookups()) as client:
            assert (await post(client, "http://evil.example/")).error == "forbidden_address"
    assert connects == []


async def test_a_redirect_opens_no_socket(names: NameServer) -> None:
    said = f"HTTP/1.1 307 Go\r\nLocation: http://{METADATA}/latest/\r\nContent-Length: 0\r\n\r\n".encode()
    async with (
        receiving(says(said)) as receiver,
        client_of(names, "127.0.0.0/8") as client,
    ):
        with watching() as connects:
            assert (await post(client, receiver.url())).error == "http_307"
    assert connects == ["127.0.0.1"]


# What the operator allows


async def test_a_name_that_is_allowed_leads_anywhere_for_deliveries_by_that_name(names: NameServer) -> None:
    names.answers["hooks.internal"] = names.answers["other.internal"] = [["127.0.0.1"]]
    async with (
        receiving(says(OK)) as receiver,
        client_of(names, "Hooks.Internal") as client,
    ):
        with watching() as connects:
            for host in ("hooks.internal", "HOOKS.internal."):
                assert (await post(client, receiver.url(host=host))).error is None
            before = len(connects)
            for host in ("other.internal", "x.hooks.internal", "127.0.0.1", "[::1]"):
                assert (await post(client, receiver.url(host=host))).error in ("forbidden_address", "dns"), host
            assert (await post(client, "http://hooks.internal:22/")).error == "forbidden_address"
    assert len(connects) == before


async def test_many_at_once_do_not_borrow_each_others_permission(names: NameServer) -> None:
    names.answers["hooks.internal"] = names.answers["other.internal"] = [["127.0.0.1"]]
    async with (
        receiving(says(OK)) as receiver,
        client_of(names, "hooks.internal") as client,
    ):
        hosts = ["hooks.internal", "other.internal"] * 50
        answers = await asyncio.gather(*(post(client, receiver.url(host=host)) for host in hosts))
    assert [answer.error for answer in answers] == [None, "forbidden_address"] * 50


# Any address at all


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(1, 65535))
def test_an_address_that_python_does_not_call_global_gets_no_socket(ip: IPv4Address | IPv6Address, port: int) -> None:
    judged = (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    info = (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(ip), port))
    try:
        _socket(Networks(), info).close()
    except ForbiddenAddress:
        return
    assert judged.is_global
