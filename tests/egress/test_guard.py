"""What a guarded thread may and may not do. Other threads are not restricted."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hookkeeper.content.apprise_services import load
from hookkeeper.content.notifications import RenderedNotification
from hookkeeper.egress.addresses import ForbiddenAddress, Networks, parse_networks
from hookkeeper.egress.apprise_sender import AppriseSender
from hookkeeper.egress.guard import Guard, NotPermitted

LOOPBACK = parse_networks(["127.0.0.0/8", "::1"])


def write(path: Path) -> None:
    path.write_text("x")


@pytest.mark.parametrize(
    ("what", "deed"),
    [
        ("open a file", lambda folder: Path("/etc/passwd").read_text()),
        ("open a file", lambda folder: Path(f"{sys.prefix}/../../../../../etc/passwd").read_text()),
        ("open a file", lambda folder: (folder / "kept").read_bytes()),
        ("open a file", lambda folder: write(folder / "new")),
        ("open a file", lambda folder: write(Path(sys.prefix) / "new")),
        ("open a file", lambda folder: os.open(folder / "new", os.O_CREAT | os.O_WRONLY)),
        ("start a program", lambda folder: subprocess.run(["true"], check=True)),
        ("start a program", lambda folder: os.system("true")),
        ("start a program", lambda folder: os.fork()),
        pytest.param(
            "start a thread",
            lambda folder: threading.Thread(target=print).start(),
            marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="no such audit event"),
        ),
        ("send datagrams", lambda folder: datagram(("127.0.0.1", 9))),
        ("listen", lambda folder: listen()),
    ],
)
def test_a_guarded_thread_cannot_do_what_is_forbidden(
    tmp_path: Path, what: str, deed: Callable[[Path], object]
) -> None:
    (tmp_path / "kept").write_text("secret")
    guard = Guard(LOOPBACK, 5)
    with guard.watch(), pytest.raises(NotPermitted, match=what):
        deed(tmp_path)
    assert guard.refused == what
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "kept").read_text() == "secret"  # outside, it is as ever


def listen() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))


def datagram(address: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", address)


def test_a_guarded_thread_can_do_what_python_needs() -> None:
    guard = Guard(Networks(), 5)
    with guard.watch():
        import this  # noqa: F401 (a module that is not loaded yet)

        assert Path(os.__file__).read_text()
        assert ZoneInfo("Europe/Zurich").key
        assert socket.getaddrinfo("127.0.0.1", 80)
    assert guard.refused == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_addresses_are_checked_when_they_are_connected(host: str) -> None:
    """A name is none: it would be looked up again, by the socket."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(0.1)
        guard = Guard(Networks(), 5)
        with guard.watch(), closing(socket.socket()) as sock:
            with pytest.raises(ForbiddenAddress):
                sock.connect((host, server.getsockname()[1]))
            with pytest.raises(ForbiddenAddress):
                sock.connect_ex((host, server.getsockname()[1]))
        assert not guard.has_connected
        with pytest.raises(TimeoutError):
            server.accept()
        with Guard(LOOPBACK, 5).watch(), closing(socket.create_connection(server.getsockname())):
            server.accept()[0].close()


def test_a_name_that_the_operator_allows_leads_anywhere_until_another_is_looked_up() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = server.getsockname()
        with Guard(parse_networks(["LocalHost"]), 5).watch():
            socket.create_connection(("localhost", address[1])).close()
            with pytest.raises(ForbiddenAddress):
                socket.create_connection(address)
            with pytest.raises(ForbiddenAddress, match="port 25 "):
                socket.create_connection(("localhost", 25))


def test_a_local_socket_is_no_address(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with closing(socket.socket(socket.AF_UNIX)) as server, closing(socket.socket(socket.AF_UNIX)) as sock:
        server.bind(path)
        server.listen()
        with Guard(LOOPBACK, 5).watch(), pytest.raises(ForbiddenAddress):
            sock.connect(path)


def test_other_threads_are_not_restricted() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(print).result()
        with Guard(Networks(), 5).watch():
            future = pool.submit(lambda: Path("/etc/passwd").read_text())
            assert future.result(5)


def test_the_end_wakes_a_reader_and_refuses_new_connections() -> None:
    guard = Guard(LOOPBACK, 60)

    def read(address: tuple[str, int]) -> tuple[bytes, str]:
        with guard.watch():
            with closing(socket.create_connection(address)) as sock:
                connected.set()
                said = sock.recv(1)
            try:
                socket.create_connection(address)
            except TimeoutError as exc:
                return said, str(exc)
        return said, "connected"

    connected = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as server, ThreadPoolExecutor(1) as pool:
        future = pool.submit(read, server.getsockname())
        assert connected.wait(5)
        guard.end()
        assert future.result(1) == (b"", "timeout")


async def test_a_plugin_that_writes_a_file_is_refused(tmp_path: Path) -> None:
    load()
    apprise: Any = import_module("apprise")
    path = tmp_path / "new"

    def greedy(*_: object, **__: object) -> bool:
        return bool(path.write_text("x"))

    apprise.decorators.notify(on="greedy")(greedy)
    services = AppriseSender(("greedy",), LOOPBACK)
    answer = await services.notify(RenderedNotification(service="greedy://host", title="", body="body"), 5)
    apprise.NotificationManager().remove("greedy")
    await services.close()
    assert (answer.verdict, answer.error) == ("rejected", "service_not_allowed")
    assert answer.text == "Apprise may not open a file"
    assert not path.exists()
