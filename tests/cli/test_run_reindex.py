"""`hookkeeper reindex` rebuilds the index of a running system."""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hookkeeper.temporal import index_sweep
from index_rows import derived, empty, indexed, until_indexed
from instances import Instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_sweep, "FIRST_DELAY", 3600.0)


async def reindex(instance: Instance, *arguments: str) -> tuple[int, str]:
    """Run the command; return its exit code and its output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hookkeeper", "reindex", *arguments),
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "HOOKKEEPER_DATABASE_URL": instance.settings.database_url,
            "HOOKKEEPER_TASK_QUEUE": instance.settings.task_queue,
            "TEMPORAL_ADDRESS": instance.temporal.service_client.config.target_host,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, " ".join(output.decode().split())


async def test_it_rebuilds_the_index(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    event = await instance.send()
    await instance.until_closed(event["id"])
    await until_indexed(instance, event["id"])
    await empty(instance)
    output = ""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while "1 event was missing or incomplete" not in output:  # visibility lags behind
            code, output = await reindex(instance, "--since", "1h")
            assert code == 0, output
    assert "reindex" in output
    assert "1/1" in output
    assert await indexed(instance, event["id"]) == derived(await instance.event(event["id"]))
    assert await reindex(instance) == (0, output.replace("1 event was", "0 events were"))


@pytest.mark.parametrize(
    ("since", "reason"), [("yesterday", "neither an age such as 7d nor a time"), ("2026-01-02", "a time zone")]
)
async def test_a_wrong_time(instance: Instance, since: str, reason: str) -> None:
    code, output = await reindex(instance, "--since", since)
    assert code == 2
    assert reason in output


async def test_another_one_is_running(instance: Instance) -> None:
    await instance.store.index.leases.lease(f"reindex {instance.settings.task_queue}", "another", 60)
    code, output = await reindex(instance, "--since", (datetime.now(UTC) - timedelta(hours=1)).isoformat())
    assert code == 1
    assert "another `hookkeeper reindex` is running" in output
