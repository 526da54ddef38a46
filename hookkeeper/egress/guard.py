"""What foreign code may do in a thread: connect to allowed addresses, in time, and little else.

The interpreter's audit hooks (PEP 578) tell of each connection, file, program and thread before it comes to be,
whatever library wants it. That holds off what a tenant's URL may make honest code do; it is no sandbox for hostile
code.
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

from hookkeeper.egress.network import Networks, judge

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class NotPermitted(PermissionError):
    """Code under guard wanted to do what it may not."""


class Guard:
    """Guards one call in one thread, and can end it from another."""

    def __init__(self, allowed: Networks, timeout: float) -> None:
        """Allow global unicast addresses and those in `allowed`, for `timeout` seconds from now."""
        _install()
        self._allowed = allowed
        self._trusted = False
        self._deadline = time.monotonic() + timeout
        self._lock = Lock()
        self._handles: list[socket.socket] = []
        self._ended = False
        self.reached = False
        """Some connection was let through."""
        self.refused = ""
        """What else it wanted to do, and may not."""

    def left(self) -> float:
        """Give the seconds that are left. Raises TimeoutError where there are none."""
        left = self._deadline - time.monotonic()
        if self._ended or left <= 0:
            raise TimeoutError("timeout")
        return left

    def end(self) -> None:
        """Break off all connections, and let no more be made."""
        with self._lock:
            self._ended = True
            for handle in self._handles:
                with suppress(OSError):  # not connected any more
                    handle.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Guard what this thread does until the block ends."""
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
        """Hear which name the next connections are for."""
        self._trusted = isinstance(host, str) and self._allowed.trust(host)

    def connect(self, sock: socket.socket, address: Any) -> None:
        """Judge the very address that gets connected, and keep a second handle on the connection, to end it by.

        A name in place of an address is refused, as nobody knows yet where it leads.
        """
        host, port = address[:2] if isinstance(address, tuple) else (address, 0)
        judge(str(host), port, self._allowed, trusted=self._trusted)
        with self._lock:
            self.left()
            self._handles.append(socket.socket(fileno=os.dup(sock.fileno())))
        self.reached = True

    def open(self, path: Any, mode: str | None, flags: int) -> None:
        """Let Python read its own files: modules, and what lies beside them."""
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
    # Python 3.11 has no event for threads; the services that start some are in `hookkeeper.content.schemes.NEVER`.
    "_thread.start_new_thread": lambda guard, args: guard.refuse("start a thread"),
    "_thread.start_joinable_thread": lambda guard, args: guard.refuse("start a thread"),
} | dict.fromkeys(
    ("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn"),
    lambda guard, args: guard.refuse("start a program"),
)


@cache
def _own_folders() -> tuple[str, ...]:
    """Give the folders of the interpreter and its packages, and of time zones."""
    return tuple(folder + os.sep for folder in (sys.prefix, sys.base_prefix, "/usr/share/zoneinfo"))


@cache
def _install() -> None:
    """Hook in, for as long as the process lives. Costs 0.1 µs an audited event, of which requests make none."""

    # What it needs is bound here: at exit the names of a module go before the hook does.
    def hook(
        event: str,
        args: tuple[Any, ...],
        watched: dict[str, Callable[[Guard, tuple[Any, ...]], None]] = _WATCHED,
        current: Callable[[], Guard | None] = current_guard.get,
    ) -> None:
        if event in watched and (guard := current()) is not None:
            watched[event](guard, args)

    sys.addaudithook(hook)
