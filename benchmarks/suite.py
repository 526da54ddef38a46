"""Measures contenders in turn, A B A B, so that other load on the machine affects all of them."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.child import start_child
from benchmarks.contenders.contender import Contender
from benchmarks.load import Load
from benchmarks.receiver import start_receiver
from benchmarks.results import Results, Sample
from benchmarks.scenarios.scenario import Bench, Metrics, Scenario, ScenarioFailed
from benchmarks.stream import Stream
from drills.supervisor import Supervisor

START_TIMEOUT = 180.0
WARMUP_EVENTS, WARMUP_TIMEOUT = 20, 60.0
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SuitePlan:
    """What to measure."""

    contenders: Sequence[Contender]
    scenarios: Sequence[Scenario]
    chosen: bool
    """The contenders were named: each is measured in all scenarios."""
    turns: int
    minutes: float
    """The time of the run; the scenario that has begun is measured to its end."""
    scale: float
    encrypt: bool
    closed: tuple[int, ...]

    def scenarios_of(self, contender: Contender) -> list[Scenario]:
        def applies(scenario: Scenario) -> bool:
            return self.chosen or scenario.contenders is None or contender.name in scenario.contenders

        return list(filter(applies, self.scenarios))


async def run(plan: SuitePlan, results: Results, report: Report) -> None:
    """Measure all contenders in each turn, and add the samples to the results.

    No turn begins that would probably exceed the time, and no scenario begins after it.
    """
    began, longest, limit = time.monotonic(), 0.0, 60 * plan.minutes
    for turn in range(plan.turns):
        turn_began = time.monotonic()
        if turn_began - began + longest > limit:
            report(f"  Turn {turn + 1} would exceed {plan.minutes:g} minutes (--minutes)")
            return
        for contender in plan.contenders:
            await _Turn(plan, contender, turn, began + limit, results, report).run()
        longest = max(longest, time.monotonic() - turn_began)
        if time.monotonic() > began + limit:
            report(f"  {plan.minutes:g} minutes are over (--minutes)")
            return
    results.is_complete = True


@dataclass
class _Turn:
    """The scenarios of one contender in one turn."""

    plan: SuitePlan
    contender: Contender
    turn: int
    deadline: float
    results: Results
    report: Report

    async def run(self) -> None:
        """Measure all scenarios, with a new stack after each that failed or left work behind."""
        remaining = self.plan.scenarios_of(self.contender)
        while remaining and not self._is_over:
            try:
                async with self._running() as bench:
                    await self._measure_until_used_up(remaining, bench)
            except Exception as error:  # noqa: BLE001 - the other contenders are measured all the same
                self.report(f"  {self.contender.name}: the stack did not start, or did not stop: {error!r}")
                for scenario in remaining:
                    self._add(scenario, 0.0, {}, f"there is no stack: {error!r}")
                return

    @property
    def _is_over(self) -> bool:
        return time.monotonic() > self.deadline

    async def _measure_until_used_up(self, remaining: list[Scenario], bench: Bench) -> None:
        """Measure scenarios, up to one that failed or left work behind, and take them off the list."""
        while remaining and not self._is_over:
            scenario = remaining.pop(0)
            if await self._measure(scenario, bench) or scenario.needs_fresh_stack_after:
                return

    async def _measure(self, scenario: Scenario, bench: Bench) -> str | None:
        """Measure a scenario; return why it failed, if it did."""
        began = time.monotonic()
        metrics: Metrics = {}
        error = None
        try:
            async with asyncio.timeout(scenario.timeout):
                metrics = await scenario.run(bench)
        except TimeoutError:
            error = f"it took more than {scenario.timeout:g} s"
        except Exception as failure:  # noqa: BLE001 - the other scenarios are measured all the same
            error = str(failure) if isinstance(failure, ScenarioFailed) else repr(failure)
        self._add(scenario, time.monotonic() - began, metrics, error)
        return error

    def _add(self, scenario: Scenario, seconds: float, metrics: Metrics, error: str | None) -> None:
        rounded = {name: round(value, 4) for name, value in metrics.items()}
        self.results.add(Sample(scenario.name, self.contender.name, self.turn, round(seconds, 1), rounded, error))
        shown = [
            f"{column.metric} {metrics[column.metric]:.4g}" for column in scenario.columns if column.metric in metrics
        ]
        result = (error and f"FAILED: {error}") or ", ".join(shown)
        self.report(f"  {self.turn + 1}/{self.plan.turns} {scenario.name:<11} {self.contender.name:<11} {result}")

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[Bench]:
        """Start the contender with data of its own, a receiver and a load generator, and deliver some events."""
        async with AsyncExitStack() as stack:
            temporary = tempfile.TemporaryDirectory(prefix="hookkeeper-bench-", ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(temporary))
            async with asyncio.timeout(START_TIMEOUT):
                system = await stack.enter_async_context(self.contender.running(folder, self.plan.encrypt))
            children = await stack.enter_async_context(Supervisor(folder / "logs"))
            receiver = await start_receiver(children, folder)
            load = Load(await start_child(children, folder, "benchmarks.load"), system.port, system.key)
            bench = Bench(system, load, receiver, self.plan.scale, self.plan.closed)
            await _warm_up(bench)
            yield bench


async def _warm_up(bench: Bench) -> None:
    group = await bench.group("warmup")
    stream = Stream(group=group, events=WARMUP_EVENTS, clients=4)
    await bench.deliver(stream, timeout=WARMUP_TIMEOUT)
