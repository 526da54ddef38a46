"""`hookkeeper reindex` rebuilds the index of a running system."""

import asyncio
import os
import sys
from pathlib import Path

from index_rows import derived, empty, indexed, until_indexed
from instances import Instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

ROOT = Path(__file__).parents[2]


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
