"""Runs functions of `hookkeeper.content` on tenants' input in child processes with limited time and memory.

The cost of a call is limited, and so is the delay that one tenant's calls cause for others. Answers of a child are
parsed as JSON, so a compromised child can return wrong results, but cannot run code in the parent.
"""

import asyncio
import hashlib
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, NamedTuple, ParamSpec, Self, TypeVar

from cachetools import LRUCache

from hookkeeper.content.errors import CodeSuspended, ContentError, TooCostly
from hookkeeper.kind import load
from hookkeeper.limits import TenantLimit
from hookkeeper.sandbox.children import Children, SandboxChild, SandboxUnavailable
from hookkeeper.sandbox.functions import Function
from hookkeeper.sandbox.messages import BadAnswer, dumps, encoded, name_of, read_answer, request

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")
_Item = TypeVar("_Item")

MAX_PART = 256 * 1024
"""Characters of JSON in a request, except that a single call may be larger."""


MAX_FAILURES = 3
SUSPENSION_SECONDS = 60.0
MAX_ENTRIES = 10_000


class Sandbox:
    """Makes up to `children` calls concurrently. Children start at first use and are kept.

    A tenant has at most `per_tenant` concurrent calls, and leaves children free for others. A call may use
    `cpu_seconds` of CPU time and take `wall_seconds`; a child may use `memory` bytes of address space, which macOS does
    not enforce. `functions` is the module with the table of functions.
    """

    def __init__(
        self,
        *,
        children: int = 3,
        per_tenant: int | None = None,
        cpu_seconds: float = 0.1,
        wall_seconds: float = 5.0,
        memory: int = 256 * 1024 * 1024,
        functions: str = "hookkeeper.sandbox.functions",
    ) -> None:
        self._cpu_seconds, self._wall_seconds = cpu_seconds, wall_seconds
        self._functions: Mapping[str, Function] = load(f"{functions}:FUNCTIONS")
        self._children = Children(functions, cpu_seconds, memory)
        self._slots = TenantLimit(children, per_tenant=children if per_tenant is None else per_tenant)
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
        """Return the share that makes this tenant's calls."""
        return Share(self, tenant)

    async def make(
        self, tenant: str, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], **more: Any
    ) -> list[Any]:
        """Make calls of a tenant and return the result or the exception of each call."""
        if self._closed:
            raise RuntimeError("the sandbox is closed")
        done = asyncio.get_running_loop().create_future()
        self._calls.add(done)
        try:
            return await self._make(_Work(tenant, name_of(function), calls, **more))
        finally:
            self._calls.discard(done)
            done.set_result(None)

    async def _make(self, work: "_Work") -> list[Any]:
        if work.name not in self._functions:
            raise RuntimeError(f"{work.name} is not in the sandbox's table of functions")
        function = self._functions[work.name]
        self._children.expect(work.name)
        answers: list[Any] = [None] * len(work.calls)
        keys: dict[int, bytes] = {}
        for number, arguments in enumerate(work.calls):
            try:
                keys[number] = work.breaker_key(function, arguments)
                self._breaker.check(keys[number])
            except RecursionError:
                answers[number] = _too_deep()
            except TooCostly as error:
                answers[number] = error
        left = [number for number in keys if answers[number] is None]
        while left:
            async with self._slots.slot(work.tenant):
                part = await self._part(work, function, [work.calls[number] for number in left])
            for number, answer in zip(left, part, strict=False):
                answers[number] = answer
                self._note(keys[number], answer)
            left = left[len(part) :]
        return answers

    def _note(self, key: bytes, answer: Any) -> None:
        if isinstance(answer, TooCostly):
            self._breaker.costly(key)
        else:
            self._breaker.fine(key)

    async def _part(self, work: "_Work", function: Function, calls: list[tuple[Any, ...]]) -> list[Any]:
        """Make the first of these calls, at least one, with one slot. Serialises them only with the slot."""
        try:
            content = work.request(function, calls)
        except RecursionError:
            return [_too_deep()] * len(calls)
        if isinstance(content, TooCostly):
            return [content]
        answers = await self._answers(function, content)
        if isinstance(answers[-1], _Ended):
            answers[-1] = TooCostly(str(answers[-1]))
            await self._children.refill()  # while this tenant holds the slot
        return answers

    async def _answers(self, function: Function, content: bytes) -> list[Any]:
        """Ask a free child. If it was killed, ask a new one: other free ones may be dead as well."""
        for take in (self._children.take, self._children.start):
            answers: list[Any] = []
            try:
                await self._ask(await take(), function, content, answers)
            except _Killed:
                if not answers:
                    continue
            except BadAnswer as bad:
                raise SandboxUnavailable(str(bad)) from None
            return answers
        raise SandboxUnavailable("the sandbox's child processes are being killed from outside")

    async def _ask(self, child: SandboxChild, function: Function, content: bytes, answers: list[Any]) -> None:
        """Collect a child's answers. A child without an answer is ended, so that no other call receives it."""
        try:
            async with asyncio.timeout(self._wall_seconds):
                await child.ask(content)
            while True:
                async with asyncio.timeout(self._wall_seconds):
                    answer = await child.answer()
                if not answer:
                    break
                answers.append(read_answer(function, answer))
        except (EOFError, ConnectionError):
            answers.append(self._ended(await asyncio.shield(self._children.end(child))))
            return
        except TimeoutError:
            self._children.end(child)
            answers.append(_Ended(f"takes more than {self._wall_seconds:g} s"))
            return
        except BaseException:  # cancelled, or an invalid answer
            self._children.end(child)
            raise
        if not answers:
            self._children.end(child)
            raise BadAnswer("a child of the sandbox did not answer")
        self._children.put_back(child)

    def _ended(self, code: int) -> "_Ended":
        """Return why a child ended during a call. Raises _Killed if the call may not be the cause."""
        if code == -signal.SIGPROF:
            return _Ended(f"takes more than {self._cpu_seconds * 1000:g} ms of CPU time")
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            raise _Killed
        return _Ended("takes too much memory, or is nested too deeply")


class Share:
    """A tenant's share of a sandbox."""

    def __init__(self, sandbox: Sandbox, tenant: str) -> None:
        self._sandbox = sandbox
        self._tenant = tenant

    async def call(self, function: Callable[_Given, _Result], *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        """Call a function in a child. Raises its ContentError; TooCostly if it exceeds its limits or is suspended.

        Raises SandboxUnavailable if no child can be started, and RuntimeError for internal errors.
        """
        (answer,) = await self._sandbox.make(self._tenant, function, [args], named=kwargs)
        if isinstance(answer, Exception):
            raise answer
        result: _Result = answer
        return result

    async def call_each(
        self,
        function: Callable[Concatenate[_Item, ...], _Result],
        items: Sequence[_Item],
        *shared: Any,
        breaker: str | None = None,
    ) -> list[_Result | ContentError]:
        """Make a call for each item, with the same other arguments; return the result or ContentError of each call.

        Limits apply to each call. The circuit breaker counts by item, or for all items by the name `breaker`.
        """
        calls = [(item,) for item in items]
        answers = await self._sandbox.make(self._tenant, function, calls, shared=shared, breaker=breaker)
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, ContentError):
                raise answer
        return answers


class _Work(NamedTuple):
    """Calls of one function for one tenant."""

    tenant: str
    name: str
    calls: Sequence[tuple[Any, ...]]
    shared: tuple[Any, ...] = ()
    named: Mapping[str, Any] = {}
    breaker: str | None = None

    def breaker_key(self, function: Function, arguments: tuple[Any, ...]) -> bytes:
        what = dumps(self.breaker) if self.breaker is not None else encoded(function, arguments[:1])
        return f"{self.tenant}\0{self.name}\0{what}".encode("utf-8", "surrogatepass")

    def request(self, function: Function, calls: list[tuple[Any, ...]]) -> bytes | TooCostly:
        """Return a request for the first of these calls; TooCostly if the first one cannot be serialised."""
        shared = encoded(function, self.shared, len(calls[0]))
        parts: list[str] = []
        size = 0
        for arguments in calls:
            try:
                part = encoded(function, arguments)
            except RecursionError:
                if not parts:
                    return _too_deep()
                break
            size += len(part)
            if parts and size > MAX_PART:
                break
            parts.append(part)
        return request(self.name, parts, shared, dumps(self.named))


class _Ended(Exception):
    """The call's child ended before its answer; the message says why."""


class _Killed(Exception):
    """The call's child was killed by an operator or for lack of memory, not necessarily because of this call."""


def _too_deep() -> TooCostly:
    return TooCostly("is nested too deeply")


@dataclass(slots=True)
class _Entry:
    failures: int = 0
    suspended_until: float = 0.0


class Breaker:
    """A circuit breaker: code that was too costly several times in a row is suspended for a while.

    Counts consecutive failures, by digest of the code.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: LRUCache[bytes, _Entry] = LRUCache(MAX_ENTRIES)

    def check(self, code: bytes) -> None:
        """Raise CodeSuspended for suspended code."""
        entry = self._entries.get(_digest(code))
        if entry and self._clock() < entry.suspended_until:
            raise CodeSuspended(
                f"was too costly {MAX_FAILURES} times in a row, and is suspended for {SUSPENSION_SECONDS:g} s"
            )

    def costly(self, code: bytes) -> None:
        """Record that it was too costly; from the third time in a row on, suspend it."""
        entry = self._entries.setdefault(_digest(code), _Entry())
        entry.failures += 1
        if entry.failures >= MAX_FAILURES:
            entry.suspended_until = self._clock() + SUSPENSION_SECONDS

    def fine(self, code: bytes) -> None:
        """Record that it was not too costly."""
        self._entries.pop(_digest(code), None)


def _digest(code: bytes) -> bytes:
    return hashlib.blake2b(code, digest_size=16).digest()
