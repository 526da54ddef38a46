"""Runs functions of `elements` on what tenants wrote, in child processes of bounded time and memory.

It bounds what a call costs, and what one tenant's calls cost the others; it would not hold code that broke out of a
library.
"""

import asyncio
import pickle
import signal
from collections.abc import Callable
from typing import Any, ParamSpec, Self, TypeVar

from elements.breaker import Breaker
from elements.children import Child, Children
from elements.children import SandboxUnavailable as SandboxUnavailable
from elements.faults import TooCostly
from elements.turns import Turns

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class Sandbox:
    """Makes up to `children` calls at once; more wait. A child starts when one is needed first, and is kept.

    A tenant may have as many calls made at once as leave children free for others: two of three.
    A call may take `cpu_seconds` of computing and `wall_seconds` in all, a child `memory` bytes of address space.
    macOS does not bound memory; there the time alone does.
    """

    def __init__(
        self,
        *,
        children: int = 3,
        cpu_seconds: float = 0.1,
        wall_seconds: float = 5.0,
        memory: int = 256 * 1024 * 1024,
    ) -> None:
        self._cpu_seconds, self._wall_seconds = cpu_seconds, wall_seconds
        self._children = Children(cpu_seconds, memory)
        self._turns = Turns(children)
        self._breaker = Breaker()
        self._calls: set[asyncio.Future[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for the calls already made, then end the children. A later call raises RuntimeError."""
        self._closed = True
        if self._calls:
            await asyncio.wait(self._calls)
        await self._children.close()

    def for_(self, tenant: str) -> "Share":
        """Give what this tenant's calls are made by, so that they hold up nobody else's."""
        return Share(self, tenant)

    async def call(self, function: Callable[_Given, _Result], *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        """Call a function in a child. Raises its Fault; TooCostly out of bounds, and where it always was of late.

        Raises SandboxUnavailable where no child can be had, and RuntimeError for a bug of ours.
        """
        return await self.for_("").call(function, *args, **kwargs)

    async def make(self, tenant: str, function: Callable[..., Any], *given: Any) -> Any:
        """Make a call of a tenant; `given` is its arguments by position, and those by name."""
        if self._closed:
            raise RuntimeError("the sandbox is closed")
        done = asyncio.get_running_loop().create_future()
        self._calls.add(done)
        try:
            return await self._make(tenant, function, *given)
        finally:
            self._calls.discard(done)
            done.set_result(None)

    async def _make(
        self, tenant: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            request = pickle.dumps((function, args, kwargs))
            what = pickle.dumps((tenant, function, args[:1]))
        except RecursionError:
            raise TooCostly("is nested too deeply") from None
        self._breaker.check(what)
        self._children.expect(function)
        try:
            result = await self._result(tenant, request)
        except TooCostly:
            self._breaker.costly(what)
            raise
        self._breaker.fine(what)
        return result

    async def _result(self, tenant: str, request: bytes) -> Any:
        async with self._turns.of(tenant):
            try:
                answer = await self._answer(request)
            except TooCostly:
                await self._children.refill()  # in this tenant's time, and not in that of the next
                raise
        result, raised = pickle.loads(answer)  # noqa: S301
        if raised is not None:
            raise raised
        return result

    async def _answer(self, request: bytes) -> bytes:
        """Ask a child that is free. Where it was killed, ask a new one: those that are free may be dead as well."""
        try:
            return await self._ask(await self._children.take(), request)
        except _Killed:
            pass
        try:
            return await self._ask(await self._children.start(), request)
        except _Killed:
            raise SandboxUnavailable("somebody kills the children of the sandbox, or the machine does") from None

    async def _ask(self, child: Child, request: bytes) -> bytes:
        """Ask a child. One that does not answer is ended: nobody else may get its answer."""
        try:
            async with asyncio.timeout(self._wall_seconds):
                answer = await child.ask(request)
        except (EOFError, ConnectionError):
            raise self._fault(await asyncio.shield(self._children.end(child))) from None
        except TimeoutError:
            self._children.end(child)
            raise TooCostly(f"takes more than {self._wall_seconds:g} s") from None
        except BaseException:  # cancelled
            self._children.end(child)
            raise
        self._children.put_back(child)
        return answer

    def _fault(self, code: int) -> Exception:
        """Say why a child ended in the middle of a call."""
        if code == -signal.SIGPROF:
            return TooCostly(f"takes more than {self._cpu_seconds * 1000:g} ms of computing")
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            return _Killed()
        return TooCostly("takes too much memory, or is nested too deeply")


class Share:
    """A tenant's share of a sandbox."""

    def __init__(self, sandbox: Sandbox, tenant: str) -> None:
        self._sandbox = sandbox
        self._tenant = tenant

    async def call(self, function: Callable[_Given, _Result], *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        """Make a call as `Sandbox.call` does."""
        result: _Result = await self._sandbox.make(self._tenant, function, args, kwargs)
        return result


class _Killed(Exception):
    """The call's child was killed by a person, or by a machine without memory, which need not be this call's doing."""
