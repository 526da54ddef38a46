"""The ports of a stack on this machine."""

import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hookkeeper.cli.console import Failed

LOCALHOST = "127.0.0.1"
METRICS_PORT = 9464
OPTIONS = {"the API": "--port", "Temporal": "--temporal-port", "the Temporal web UI": "--ui-port"}
"""Options of `dev` by what listens at their port. All others are metrics."""


@dataclass(frozen=True, slots=True)
class Ports:
    api: int = 8080
    temporal: int = 7233
    ui: int = 8233
    metrics: int | None = None
    """Port of the API's metrics; that of the worker's is the next. None: no metrics are served."""

    @property
    def of_metrics(self) -> dict[str, int]:
        """The ports of metrics by the process that serves them."""
        return {} if self.metrics is None else {"api": self.metrics, "worker": self.metrics + 1}

    @property
    def by_service(self) -> dict[str, int]:
        """All ports by what listens there."""
        metrics = {f"metrics of the {process}": port for process, port in self.of_metrics.items()}
        return {"the API": self.api, "Temporal": self.temporal, "the Temporal web UI": self.ui, **metrics}


def free_ports(*, metrics: bool = False) -> Ports:
    """Return the usual ports, or the next that are free and not reserved; with `metrics`, also for these."""
    usual = Ports()
    for n in range(100):
        ports = Ports(usual.api + n, usual.temporal + n, usual.ui + n, METRICS_PORT + 2 * n if metrics else None)
        if all(_is_available(port) for port in ports.by_service.values()):
            return ports
    raise Failed(f"no free ports above {usual.api}, {usual.temporal} and {usual.ui}")


def _is_available(port: int) -> bool:
    with os.fdopen(_open_lock(port), "w") as file:
        return _is_locked(file) and is_port_free(LOCALHOST, port)


@contextmanager
def reserved(host: str, ports: Ports) -> Iterator[None]:
    """Keep other stacks of this user from the ports during the block. The API listens on `host`.

    Servers listen only some time after the check of their ports. Another stack that started meanwhile would use the
    Temporal server of this one. Raises `Failed` if a port is in use, or used twice.
    """
    by_service = ports.by_service
    if len({*by_service.values()}) < len(by_service):
        raise Failed(f"{', '.join(by_service)} need different ports")
    with ExitStack() as locks:
        for service, port in by_service.items():
            file = locks.enter_context(os.fdopen(_open_lock(port), "w"))
            if not (_is_locked(file) and _is_free(host if service == "the API" else LOCALHOST, port)):
                option = OPTIONS.get(service, "--metrics-port")
                raise Failed(f"port {port} for {service} is in use: stop the process that uses it, or set {option}")
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
