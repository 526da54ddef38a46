"""The ports of a stack on this machine."""

import errno
import socket
from dataclasses import dataclass

from hookkeeper.cli.console import Failed

LOCALHOST = "127.0.0.1"
METRICS_PORT = 9464


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
    """Return the usual ports, or the next free ones; with `metrics`, also for these."""
    usual = Ports()
    for n in range(100):
        ports = Ports(usual.api + n, usual.temporal + n, usual.ui + n, METRICS_PORT + 2 * n if metrics else None)
        if all(is_port_free(LOCALHOST, port) for port in ports.by_service.values()):
            return ports
    raise Failed(f"no free ports above {usual.api}, {usual.temporal} and {usual.ui}")


def check_ports(host: str, ports: Ports) -> None:
    """Raise `Failed` if a port is in use, or used twice. The API listens on `host`."""
    by_service = ports.by_service
    if len({*by_service.values()}) < len(by_service):
        raise Failed(f"{', '.join(by_service)} need different ports")
    for service, port in by_service.items():
        address = host if service == "the API" else LOCALHOST
        try:
            is_free = is_port_free(address, port)
        except OSError as error:
            raise Failed(f"{address} is not an address of this machine: {error.strerror}") from error
        if not is_free:
            raise Failed(f"port {port} for {service} is in use: stop the process that uses it, or choose another port")


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
