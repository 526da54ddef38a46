"""The ports of a stack on this machine."""

import socket
from dataclasses import dataclass

from hookkeeper.cli.console import Failed

LOCALHOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    api: int = 8080
    temporal: int = 7233
    ui: int = 8233


def free_ports() -> Ports:
    """Return the usual ports, or the next free ones."""
    usual = Ports()
    for n in range(100):
        ports = Ports(usual.api + n, usual.temporal + n, usual.ui + n)
        if all(is_port_free(LOCALHOST, port) for port in (ports.api, ports.temporal, ports.ui)):
            return ports
    raise Failed(f"no free ports above {usual.api}, {usual.temporal} and {usual.ui}")


def check_ports(host: str, ports: Ports) -> None:
    """Raise `Failed` if a port is in use, or used twice. The API listens on `host`."""
    if len({ports.api, ports.temporal, ports.ui}) < 3:
        raise Failed("the API, Temporal and the Temporal web UI need different ports")
    for service, address, port in (
        ("the API", host, ports.api),
        ("Temporal", LOCALHOST, ports.temporal),
        ("the Temporal web UI", LOCALHOST, ports.ui),
    ):
        try:
            is_free = is_port_free(address, port)
        except socket.gaierror as error:
            raise Failed(f"{address} is not an address of this machine: {error.strerror}") from error
        if not is_free:
            raise Failed(f"port {port} for {service} is in use: stop the process that uses it, or choose another port")


def is_port_free(host: str, port: int) -> bool:
    """Return whether a server could listen there. Raises `socket.gaierror` for a host that does not exist."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: closing connections of an earlier process do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True
