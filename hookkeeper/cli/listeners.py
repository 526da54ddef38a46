"""Ports on which a process listens."""

import socket
from typing import Any

from hookkeeper.cli.console import Failed


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
