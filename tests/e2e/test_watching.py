"""`hookkeeper events tail` and `hookkeeper top` as people use them: until Ctrl-C."""

import asyncio
import json
import os
import pty
import signal
import sys

import processes

from receivers import Receiver
from timeouts import WAIT_TIMEOUT

pytest_plugins = ["dev_fixtures"]


async def test_tail_prints_earlier_and_new_events_until_ctrl_c(running_dev: processes.Dev, tenant: str) -> None:
    for number in range(3):
        await running_dev.send(tenant, id=f"{tenant}-{number}")
    arguments = ("events", "tail", "--tenant", tenant, "-n", "2")
    async with processes.process(*arguments, cwd=running_dev.folder) as tail:
        await tail.says(f"{tenant}-2")
        await running_dev.send(tenant, id=f"{tenant}-new")
        written = await tail.says(f"{tenant}-new")
        assert await tail.stop(signal.SIGINT) == 0
    lines = written.splitlines()
    assert [line.split()[1] for line in lines] == [f"{tenant}-1", f"{tenant}-2", f"{tenant}-new"]
    assert all("order.paid" in line and tenant in line for line in lines)
    assert tail.err.read_text() == ""


async def test_tail_prints_json_lines(running_dev: processes.Dev, tenant: str) -> None:
    await running_dev.send(tenant, id="one")
    async with processes.process("events", "tail", "--tenant", tenant, "--json", cwd=running_dev.folder) as tail:
        await tail.says("}")
        assert await tail.stop(signal.SIGINT) == 0
    (line,) = tail.out.read_text().splitlines()
    assert json.loads(line)["id"] == "one"


async def test_tail_prints_outcomes_with_the_names_of_webhooks(
    running_dev: processes.Dev, inbox: Receiver, tenant: str
) -> None:
    await running_dev.send(tenant, id=f"{tenant}-before")
    inbox.fails(503)
    await running_dev.webhook(inbox.url, tenant, name="Order service", retry={"schedule": [4]})
    async with processes.process("events", "tail", "--tenant", tenant, cwd=running_dev.folder) as tail:
        await tail.says(f"{tenant}-before")
        event_id = (await running_dev.send(tenant))["id"]
        written = await tail.says("delivered 200")
        assert await tail.stop(signal.SIGINT) == 0
    lines = [line.split("  ", 1)[1] for line in written.splitlines()[1:]]
    assert lines[0] == f"{event_id}  order.paid  {tenant}"
    assert any(line.startswith(f"{event_id}  Order service  failed 503, next in ") for line in lines)
    assert lines[-1].startswith(f"{event_id}  Order service  delivered 200 in ")


async def test_top_prints_one_frame_if_the_output_is_no_terminal(
    running_dev: processes.Dev, inbox: Receiver, tenant: str
) -> None:
    inbox.fails(503)
    webhook = await running_dev.webhook(inbox.url, tenant, retry={"schedule": [0.1]})
    accepted = await running_dev.send(tenant)
    await running_dev.until(accepted["id"], tenant, "succeeded")
    async with asyncio.timeout(WAIT_TIMEOUT):
        while webhook["id"] not in (done := await running_dev.run("top", "--tenant", tenant)).out:
            await asyncio.sleep(0.2)
    assert done.code == 0
    assert "Queues" not in done.out
    everything = await running_dev.run("top", "--once")
    assert everything.code == 0
    for name in ("Events", "Attempts", "Oldest pending", "Queues", "Webhooks"):
        assert name in everything.out


async def test_top_is_live_on_a_terminal_until_ctrl_c(running_dev: processes.Dev) -> None:
    outer, inner = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hookkeeper", "top", "--interval", "0.5"),
        cwd=running_dev.folder,
        env=processes.environment({"TERM": "xterm", "LINES": "40"}),
        stdin=inner,
        stdout=inner,
        stderr=inner,
    )
    os.close(inner)
    os.set_blocking(outer, False)
    written = b""
    try:
        async with asyncio.timeout(WAIT_TIMEOUT):
            while written.count(b"Queues") < 3:  # this many frames
                try:
                    written += os.read(outer, 65536)
                except BlockingIOError:
                    await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(WAIT_TIMEOUT):
            assert await process.wait() == 0
        assert b"Traceback" not in written
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(outer)
