"""What one activation of the largest run costs: an activation of more than two seconds is interrupted by the SDK, and
its run then cannot be evicted from the worker.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer, _workflow

from crowds import crowd
from hookkeeper.policy import RetryPolicy
from hookkeeper.temporal.server.data_converter import data_converter
from hookkeeper.temporal.workers.serve import WORKFLOW_RUNNER
from instances import Instance, running_instance
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT
from worker import WORKFLOWS

SIZE = 100
MOST = 0.05
"""Seconds of CPU that an activation may take: 40 of them fit into what the SDK allows."""
MAX_REPLAYS = 20


async def test_the_costliest_activations_take_little_cpu_time(
    temporal: Client, tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: 100 targets. Timeline: an attempt of all is requested; no worker takes steps when they end.
    Proves: the activations that start all 100, and that bring nearly all their outcomes at once, are cheap.

    The least of several replays is taken: what else the machine does can only make one dearer.
    """
    limits = {"max_concurrent_activities": 4 * SIZE, "max_concurrent_per_tenant": 2 * SIZE}
    async with running_instance(temporal, tmp_path, **limits) as instance:
        history = await of_a_hundred_at_once(instance, inbox)
    costs: dict[int, tuple[int, float]] = {}

    def measure(activate: Callable[..., Any]) -> Callable[..., Any]:
        def measured(workflow: Any, activation: Any) -> Any:
            started = time.thread_time()
            try:
                return activate(workflow, activation)
            finally:
                taken.append((len(activation.jobs), time.thread_time() - started))

        return measured

    taken: list[tuple[int, float]] = []
    monkeypatch.setattr(_workflow._RunningWorkflow, "activate", measure(_workflow._RunningWorkflow.activate))
    dearest = MOST
    for _ in range(MAX_REPLAYS):
        if dearest < MOST:
            break
        taken.clear()
        replayer = Replayer(workflows=WORKFLOWS, data_converter=data_converter(), workflow_runner=WORKFLOW_RUNNER)
        await replayer.replay_workflow(history)
        for n, (jobs, cost) in enumerate(taken):
            costs[n] = (jobs, min(cost, costs.get(n, (0, cost))[1]))
        dearest = max(cost for _, cost in costs.values())
    largest = sorted(costs.values(), reverse=True)[:3]
    print(f"dearest {1000 * dearest:.0f} ms; jobs and ms:", [(jobs, round(1000 * cost)) for jobs, cost in largest])
    assert largest[0][0] > SIZE / 2, "nearly all outcomes at once"
    assert dearest < MOST


async def of_a_hundred_at_once(instance: Instance, inbox: Receiver) -> WorkflowHistory:
    """Let an event run of which 100 attempts start in one activation, and of which 100 end in another.

    The worker is stopped while the attempts are under way: it sees them through, and takes no more steps of the run.
    """
    gate = asyncio.Event()
    inbox.otherwise = Answer(500)
    await crowd(instance, inbox.url, SIZE, retry=RetryPolicy(schedule=(3600.0, 3600.0)))
    async with instance.working():
        event_id = (await instance.send())["id"]
        await until(instance, event_id, SIZE, attempts=1)
        inbox.otherwise = Answer(500, gate=gate)
        assert (await instance.command(event_id, "retry")).status_code == 202
        await inbox.got(2 * SIZE)
        asyncio.get_running_loop().call_later(1, gate.set)
    async with instance.working():
        await until(instance, event_id, SIZE, attempts=2)
    history = await instance.run(event_id).fetch_history()
    await instance.run(event_id).terminate()
    return history


async def until(instance: Instance, event_id: str, retrying: int, attempts: int) -> None:
    async with asyncio.timeout(2 * WAIT_TIMEOUT):
        while True:
            answer = await instance.http.get(f"/v1/events/{event_id}", params={"tenant": instance.tenant})
            if answer.status_code == 200:
                made = [
                    len(delivery["attempts"])
                    for delivery in answer.json()["deliveries"]
                    if delivery["status"] == "retrying"
                ]
                if made == [attempts] * retrying:
                    return
            await asyncio.sleep(0.2)
