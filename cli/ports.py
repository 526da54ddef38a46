"""The ports of a stack on this machine, and listening on them."""

import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, Any

from cli.console import Failed

LOCALHOST = "127.0.0.1"
METRICS_PORT = 9464
SERVICES = {"api": "the API", "temporal": "Temporal", "ui": "the Temporal web UI", "metrics": "metrics"}
OPTIONS = {"api": "--port", "temporal": "--temporal-port", "ui": "--ui-port", "metrics": "--metrics-port"}
MAX_TRIES = 100
"""Ports above one in use that are tried."""


@dataclass(frozen=True, slots=True)
class Ports:
    api: int = 8080
    temporal: int = 7233
    ui: int = 8233
    metrics: int | None = None
    """None: no metrics are served."""

    @property
    def by_name(self) -> dict[str, int]:
        """All ports by the names of their fields."""
        ports = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: port for name, port in ports.items() if port is not None}


def free_ports(wanted: Ports = Ports(), given: Collection[str] = (), host: str = LOCALHOST) -> Ports:
    """Return these ports. One that is in use or reserved is replaced by the next that is free, except those `given`."""
    chosen = {name: port for name, port in wanted.by_name.items() if name in given}
    for name, port in wanted.by_name.items():
        if name not in given:
            address = host if name == "api" else LOCALHOST
            tried = (port for port in range(port, port + MAX_TRIES) if port not in chosen.values())
            found = next((port for port in tried if _is_available(address, port)), None)
            if found is None:
                raise Failed(f"no free port above {port} for {SERVICES[name]}")
            chosen[name] = found
    return replace(wanted, **chosen)


def _is_available(host: str, port: int) -> bool:
    with os.fdopen(_open_lock(port), "w") as file:
        return _is_locked(file) and _is_free(host, port)


@contextmanager
def reserved(host: str, ports: Ports) -> Iterator[None]:
    """Keep other stacks of this user from the ports during the block. The API listens on `host`.

    Servers listen only some time after the check of their ports. Another stack that started meanwhile would use the
    Temporal server of this one. Raises `Failed` if a port is in use, or used twice.
    """
    by_name = ports.by_name
    if len({*by_name.values()}) < len(by_name):
        raise Failed(f"{', '.join(SERVICES[name] for name in by_name)} need different ports")
    with ExitStack() as locks:
        for name, port in by_name.items():
            file = locks.enter_context(os.fdopen(_open_lock(port), "w"))
            if not (_is_locked(file) and _is_free(host if name == "api" else LOCALHOST, port)):
                raise Failed(
                    f"port {port} for {SERVICES[name]} is in use: stop the process that uses it, or set {OPTIONS[name]}"
                )
        yield


def _open_lock(port: int) -> int:
    """Open the file whose lock reserves a port until the process ends. Raises `Failed`."""
    try:
        path = Path(tempfile.gettempdir()) / f"hookkeeper-{os.getuid()}-{port}.lock"
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Failed(f"cannot reserve port {port}: {error}") from error


def _is_locked(file: IO[str]) -> bool:
    """Lock the file; return False if another stack has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(address: str, port: int) -> bool:
    try:
        return is_port_free(address, port)
    except OSError as error:
        raise Failed(f"{address} is not an address of this machine: {error.strerror}") from error


def is_port_free(host: str, port: int) -> bool:
    """Return whether a server could listen there. Raises `OSError` for a host that is not this machine."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: closing connections of an earlier process do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise
            return False
    return True


def listen(host: str, port: int) -> socket.socket:
    """Bind the port here, because a server would end the process with a traceback. Raises `Failed`."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, address = addresses[0]
        return _listen_on(socket.socket(family, kind, protocol), address)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise Failed(f"cannot listen on {host}, port {port}: {reason}") from error


def _listen_on(listener: socket.socket, address: Any) -> socket.socket:
    """Listen on a socket that was made with its protocol.

    asyncio disables Nagle's algorithm only for such sockets; otherwise each response on a kept-alive connection takes
    40 ms.
    """
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener
