"""Measures contenders in turn, A B A B, so that other load on the machine affects all of them."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.child import ChildFailed
from benchmarks.contenders.contender import Contender
from benchmarks.load import running_load
from benchmarks.receiver import running_receiver
from benchmarks.results import Results, Sample
from benchmarks.scenarios.scenario import Bench, Metrics, Scenario, ScenarioFailed
from benchmarks.stream import Stream
from hookkeeper.cli.console import Failed
from hookkeeper.cli.supervisor import ServiceFailed

START_TIMEOUT = 120.0
WARMUP_EVENTS, WARMUP_TIMEOUT = 20, 60.0
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    contenders: Sequence[Contender]
    scenarios: Sequence[Scenario]
    chosen: bool
    """The contenders were named: each is measured in all scenarios."""
    turns: int
    minutes: float
    """No turn begins that would probably end later."""
    scale: float
    encrypt: bool
    closed: tuple[int, ...]

    def scenarios_of(self, contender: Contender) -> list[Scenario]:
        def applies(scenario: Scenario) -> bool:
            return self.chosen or scenario.contenders is None or contender.name in scenario.contenders

        return list(filter(applies, self.scenarios))


async def run(plan: Plan, results: Results, report: Report) -> None:
    """Measure all contenders in each turn, and add the samples to the results."""
    began, longest = time.monotonic(), 0.0
    for turn in range(plan.turns):
        turn_began = time.monotonic()
        if turn and turn_began - began + longest > 60 * plan.minutes:
            report(f"Turn {turn + 1} would exceed {plan.minutes:g} minutes (--minutes)")
            return
        for contender in plan.contenders:
            await _Turn(plan, contender, turn, results, report).run()
        longest = max(longest, time.monotonic() - turn_began)
    results.is_complete = True


@dataclass
class _Turn:
    """The scenarios of one contender in one turn."""

    plan: Plan
    contender: Contender
    turn: int
    results: Results
    report: Report

    async def run(self) -> None:
        """Measure all scenarios, with a new stack after each that failed or left work behind."""
        remaining = self.plan.scenarios_of(self.contender)
        while remaining:
            before = len(remaining)
            try:
                async with self._running() as bench:
                    while remaining:
                        scenario = remaining.pop(0)
                        if await self._measure(scenario, bench) or scenario.needs_fresh_stack_after:
                            break
            except (Failed, ServiceFailed, ScenarioFailed, ChildFailed, OSError, httpx.HTTPError) as error:
                failed = remaining.pop(0) if len(remaining) == before else None
                if failed:
                    self._add(failed, 0.0, {}, f"the stack did not start: {error}")
                else:
                    self.report(f"  {self.contender.name}: the stack did not stop: {error}")

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
        except (ScenarioFailed, ChildFailed, OSError, httpx.HTTPError) as failure:
            error = str(failure) or repr(failure)
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
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="hookkeeper-bench-", ignore_cleanup_errors=True)
            )
            target = await stack.enter_async_context(self.contender.running(Path(folder), self.plan.encrypt))
            receiver = await stack.enter_async_context(running_receiver())
            load = await stack.enter_async_context(running_load(target.port, target.key))
            bench = Bench(target, load, receiver, self.plan.scale, self.plan.closed)
            await _warm_up(bench)
            yield bench


async def _warm_up(bench: Bench) -> None:
    group = await bench.group("warmup")
    stream = Stream(group=group, tenants=(group,), events=WARMUP_EVENTS, clients=4)
    await bench.deliver(stream, timeout=WARMUP_TIMEOUT)
