"""Restricts third-party code in a thread to connections to allowed addresses, within a timeout.

Audit hooks (PEP 578) are called before each connection, opened file, new process and new thread, whatever library
causes it. This restricts what a tenant's URL can make trusted code do; it is not a sandbox for hostile code.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from threading import Lock
from typing import Any

from hookkeeper.egress.addresses import Networks, check_connection

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class NotPermitted(PermissionError):
    """Guarded code attempted a forbidden operation."""


class Guard:
    """Guards one call in one thread. Another thread can abort it."""

    def __init__(self, allowed: Networks, timeout: float) -> None:
        """Allow global unicast addresses and those in `allowed`. `timeout`: seconds from now."""
        _install()
        self._allowed = allowed
        self._trusted = False
        self._deadline = time.monotonic() + timeout
        self._lock = Lock()
        self._handles: list[socket.socket] = []
        self._ended = False
        self.has_connected = False
        """A connection was allowed."""
        self.refused = ""
        """The last forbidden operation."""

    def left(self) -> float:
        """Return the remaining seconds. Raises TimeoutError if none remain."""
        left = self._deadline - time.monotonic()
        if self._ended or left <= 0:
            raise TimeoutError("timeout")
        return left

    def end(self) -> None:
        """Shut down all connections and refuse new ones."""
        with self._lock:
            self._ended = True
            for handle in self._handles:
                with suppress(OSError):  # no longer connected
                    handle.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Guard this thread until the block ends."""
        token = current_guard.set(self)
        try:
            yield
        finally:
            current_guard.reset(token)
            with self._lock:
                for handle in self._handles:
                    handle.close()
                self._handles.clear()

    def look_up(self, host: Any, *_: Any) -> None:
        """Note the host name of the next connections."""
        self._trusted = isinstance(host, str) and self._allowed.trust(host)

    def connect(self, sock: socket.socket, address: Any) -> None:
        """Check the address, and keep a second handle to the socket, with which `end` can shut it down.

        A host name instead of an address is refused, because its address is not known yet.
        """
        host, port = address[:2] if isinstance(address, tuple) else (address, 0)
        check_connection(str(host), port, self._allowed, trusted=self._trusted)
        with self._lock:
            self.left()
            self._handles.append(socket.socket(fileno=os.dup(sock.fileno())))
        self.has_connected = True

    def open(self, path: Any, mode: str | None, flags: int) -> None:
        """Allow reading files of the interpreter and of installed packages."""
        writes = flags & _WRITING or set(mode or "r") & set("wax+")
        if isinstance(path, int):
            return
        path = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 (`resolve` would follow the links of installers)
        if writes or not path.startswith(_own_folders()):
            self.refuse("open a file")

    def refuse(self, what: str) -> None:
        self.refused = what
        raise NotPermitted(f"may not {what}")


current_guard: ContextVar[Guard | None] = ContextVar("current_guard", default=None)

_WATCHED: dict[str, Callable[[Guard, tuple[Any, ...]], None]] = {
    "socket.getaddrinfo": lambda guard, args: guard.look_up(*args),
    "socket.connect": lambda guard, args: guard.connect(*args),
    "socket.sendto": lambda guard, args: guard.refuse("send datagrams"),
    "socket.sendmsg": lambda guard, args: guard.refuse("send datagrams"),
    "socket.bind": lambda guard, args: guard.refuse("listen"),
    "open": lambda guard, args: guard.open(*args),
    # Python 3.11 has no event for threads: services that start some are never allowed (`content.apprise_services`).
    "_thread.start_new_thread": lambda guard, args: guard.refuse("start a thread"),
    "_thread.start_joinable_thread": lambda guard, args: guard.refuse("start a thread"),
} | dict.fromkeys(
    ("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn"),
    lambda guard, args: guard.refuse("start a program"),
)


@cache
def _own_folders() -> tuple[str, ...]:
    """Return the folders of the interpreter, of packages and of time zones."""
    return tuple(folder + os.sep for folder in (sys.prefix, sys.base_prefix, "/usr/share/zoneinfo"))


@cache
def _install() -> None:
    """Install the audit hook, permanently. It costs 0.1 µs for each audited event."""

    # Bound as defaults: at exit, module globals are cleared before the hook is removed.
    def hook(
        event: str,
        args: tuple[Any, ...],
        watched: dict[str, Callable[[Guard, tuple[Any, ...]], None]] = _WATCHED,
        current: Callable[[], Guard | None] = current_guard.get,
    ) -> None:
        if event in watched and (guard := current()) is not None:
            watched[event](guard, args)

    sys.addaudithook(hook)
