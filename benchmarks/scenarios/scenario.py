"""What a scenario is, and what it measures with."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import measure
from benchmarks.contenders.contender import SystemUnderTest
from benchmarks.load import Load
from benchmarks.receiver import Receiver
from benchmarks.stream import Arrivals, Posted, Stream

DELIVERY_TIMEOUT = 120.0
Metrics = dict[str, float]


class ScenarioFailed(Exception):
    """A scenario has no result; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Column:
    """A metric in the table of a scenario."""

    metric: str
    title: str
    is_ratio: bool = False
    """Also show the ratio to the first contender, measured within one turn."""
    by_process: bool = False
    """Also show the parts: metrics `<metric>.<process>`."""


@dataclass
class Bench:
    """A running contender with load generator and receiver."""

    system: SystemUnderTest
    load: Load
    receiver: Receiver
    scale: float = 1.0
    """Multiplies numbers of events and durations."""
    closed: tuple[int, ...] = ()
    """`growth`: the numbers of closed events at which throughput is measured."""
    _groups: set[str] = field(default_factory=set)

    def count(self, number: int) -> int:
        return max(2, round(number * self.scale))

    def seconds(self, seconds: float) -> float:
        return max(1.0, seconds * self.scale)

    async def group(self, name: str, webhooks: int = 1) -> str:
        """Register a tenant with this many webhooks, and return its name: also that of its events at the receiver."""
        group = f"{name}-{len(self._groups)}"
        self._groups.add(group)
        await self.system.register((group, self.receiver.url(group, number)) for number in range(webhooks))
        return group

    def pids(self) -> dict[str, int]:
        return {**self.system.pids(), "load": self.load.pid, "receiver": self.receiver.pid}

    async def deliver(
        self, stream: Stream, webhooks: int = 1, timeout: float = DELIVERY_TIMEOUT, delivered_before: int = 0
    ) -> "Delivered":
        """Post a stream, and measure until everything is delivered and all processes are idle again.

        `delivered_before`: deliveries that the receiver of this group had before.
        """
        memory_before = sum(measure.memory_mb(self.system.pids()).values())
        cpu_before = measure.cpu_seconds(self.pids())
        posted = await self.load.post(stream)
        check_accepted(posted)
        arrivals = await self.delivered(stream.group, delivered_before + len(posted.sent) * webhooks, timeout)
        await measure.settle(self.system.pids)
        cpu = {name: after - cpu_before[name] for name, after in measure.cpu_seconds(self.pids()).items()}
        memory = sum(measure.memory_mb(self.system.pids()).values())
        return Delivered(posted, arrivals, cpu, memory_before, memory, self.system.services)

    async def delivered(self, group: str, expected: int, timeout: float = DELIVERY_TIMEOUT) -> Arrivals:
        """Wait for this many deliveries. Raises `ScenarioFailed`."""
        if (found := await self.receiver.wait(group, expected, timeout)) < expected:
            raise ScenarioFailed(f"{found} of {expected} deliveries arrived within {timeout:g} s")
        return await self.receiver.arrivals(group)


def check_accepted(posted: Posted) -> None:
    """Raise `ScenarioFailed` if events were refused."""
    if refused := posted.answered.count(None):
        raise ScenarioFailed(f"{refused} of {len(posted.sent)} events were not accepted: {posted.refusals}")


def cpu_metrics(cpu: Mapping[str, float], posted: Posted, services: Sequence[str]) -> Metrics:
    """Return CPU milliseconds per event: of each process, and of the contender's processes together."""
    per_event = {name: 1e3 * seconds / len(posted.sent) for name, seconds in cpu.items()}
    parts = {f"cpu_ms.{name}": value for name, value in per_event.items()}
    total = sum(per_event[name] for name in services if name in per_event)
    return {"cpu_ms": total, **parts, "refusals": sum(posted.refusals.values())}


@dataclass(frozen=True, slots=True)
class Delivered:
    """A stream that was posted and delivered."""

    posted: Posted
    arrivals: Arrivals
    cpu: dict[str, float]
    """Seconds of each process."""
    memory_before: float
    memory: float
    services: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """The time from the first POST to the last delivery."""
        return self.arrivals.last - self.posted.sent[0]

    @property
    def events_per_s(self) -> float:
        return len(self.posted.sent) / self.seconds

    def cpu_metrics(self) -> Metrics:
        return cpu_metrics(self.cpu, self.posted, self.services)

    def memory_metrics(self) -> Metrics:
        return {"memory_before_mb": self.memory_before, "memory_mb": self.memory}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A measurement of a contender."""

    name: str
    title: str
    run: Callable[[Bench], Awaitable[Metrics]]
    columns: tuple[Column, ...]
    contenders: tuple[str, ...] | None = None
    """Contenders that are measured unless others are named; None: all."""
    is_default: bool = True
    """Part of a run that names no scenario."""
    needs_fresh_stack_after: bool = False
    """It leaves work behind, so that the next scenario needs a new stack."""
    timeout: float = 300.0
    """Seconds after which it is given up."""


def scenario(title: str, *columns: Column, **more: Any) -> Callable[[Callable[[Bench], Awaitable[Metrics]]], Scenario]:
    """Make a scenario of a function, whose name it has. The options are the other fields of `Scenario`."""
    return lambda run: Scenario(run.__name__, title, run, columns, **more)


CPU = Column("cpu_ms", "CPU per event, ms", is_ratio=True, by_process=True)
MEMORY = (Column("memory_before_mb", "Memory before, MB"), Column("memory_mb", "after, MB"))
