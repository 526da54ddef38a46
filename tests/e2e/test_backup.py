"""`hookkeeper backup` copies a `dev` that is at work, and the copy continues as the `dev` would have."""

import asyncio
import os
import signal
import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path

import httpx
import processes
import pytest

from receivers import Answer, Receiver


async def post(dev: processes.Dev, accepted: list[str], n: int) -> None:
    event = {"id": f"evt-{n}", "type": "order.paid", "tenant": "acme", "data": {"n": n}}
    with suppress(httpx.TransportError):  # the dev is killed at the end
        if (await dev.http.post("/v1/events", json=event)).status_code == 202:
            accepted.append(event["id"])


async def post_until_killed(dev: processes.Dev, accepted: list[str]) -> None:
    async with asyncio.TaskGroup() as posts:
        n = 0
        while dev.process.process.returncode is None:
            posts.create_task(post(dev, accepted, n))
            n += 1
            await asyncio.sleep(0.05)


async def test_what_was_accepted_before_the_backup_is_delivered_after_its_restore(
    tmp_path: Path, inbox: Receiver
) -> None:
    """Setup: a dev with keys, a webhook that answers and one that refuses, events all the time.

    Timeline: backup, a webhook since, `kill -9` of everything, a dev with the copy; then the receiver takes all.
    What this proves: each event that was accepted before the backup began reaches both webhooks, and the copy
    belongs to its owner alone. What was accepted later may be missing, and is accepted with its id again.
    """
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    accepted: list[str] = []
    inbox.otherwise = Answer(503)
    async with processes.dev(first, options=("--encrypt",)) as dev:
        retry = {"schedule": [1.0] * 49}
        await dev.webhook(f"{inbox.url}/refuses", "acme", retry=retry)
        posts = asyncio.create_task(post_until_killed(dev, accepted))
        await inbox.got(20)
        before = [*accepted]
        done = await dev.run("backup", str(second / ".hookkeeper"))
        assert (done.code, done.err) == (0, ""), done
        late = await dev.webhook(f"{inbox.url}/late", "acme", retry=retry)
        children = await processes.children(dev.process.pid)
        for pid in (dev.process.pid, *children.values()):
            os.kill(pid, signal.SIGKILL)
        await posts
    assert before
    copied = {file.name: file for file in (second / ".hookkeeper").iterdir()}
    assert {*copied} == {"registry.db", "temporal.db", "temporal.version", "admin.key", "encryption.keys"}
    assert all(stat.S_IMODE(file.stat().st_mode) & 0o077 == 0 for file in copied.values())
    inbox.otherwise = Answer(200)
    async with processes.dev(second) as restored:
        for event_id in before:
            event = await restored.until(event_id, "acme")
            assert [delivery["status"] for delivery in event["deliveries"]] == ["succeeded"], event
        assert (await restored.http.get(f"/v1/webhooks/{late['id']}")).status_code == 404
        for event_id in accepted:
            again = {"id": event_id, "type": "order.paid", "tenant": "acme", "data": {"n": int(event_id[4:])}}
            assert (await restored.http.post("/v1/events", json=again)).status_code in (200, 202)
            assert (await restored.until(event_id, "acme"))["status"] == "succeeded"


@pytest.mark.parametrize("name", ["registry.db", "temporal.db"])
async def test_a_damaged_database_is_named_and_leaves_no_copy(tmp_path: Path, name: str) -> None:
    data = tmp_path / ".hookkeeper"
    data.mkdir()
    for file in ("registry.db", "temporal.db"):
        with closing(sqlite3.connect(data / file)) as connection:
            connection.execute("CREATE TABLE kept (text)")
            connection.executemany("INSERT INTO kept VALUES (?)", [(f"{n}" * 500,) for n in range(100)])
            connection.commit()
    damaged = bytearray((data / name).read_bytes())
    damaged[4096:6000] = b"\xff" * 1904
    (data / name).write_bytes(damaged)
    done = await processes.hookkeeper("backup", "copies/monday", cwd=tmp_path)
    assert done.code == 1
    assert "no backup was made: " in done.err and name in done.err
    assert not [*(tmp_path / "copies").iterdir()]


async def test_a_backup_overwrites_nothing_and_needs_data(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    missing = await processes.hookkeeper("backup", "new", cwd=tmp_path)
    assert (missing.code, "--data-dir" in missing.err) == (1, True)
    for file in ("registry.db", "temporal.db"):
        (tmp_path / file).touch()
    refused = await processes.hookkeeper("backup", "kept", "--data-dir", ".", cwd=tmp_path)
    assert refused.code == 1
    assert "exists" in refused.err
