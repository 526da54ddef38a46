"""`hookkeeper backup` copies a `dev` that is at work, and the copy continues as the `dev` would have."""

import asyncio
import os
import shutil
import signal
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import processes
import pytest

from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT


async def post(dev: processes.Dev, accepted: list[str], n: int) -> None:
    with suppress(httpx.TransportError):  # the dev is killed at the end
        if (await dev.http.post("/v1/events", json=event(n))).status_code == 202:
            accepted.append(f"evt-{n}")


def event(n: int) -> dict[str, Any]:
    return {"id": f"evt-{n}", "type": "order.paid", "tenant": "acme", "data": {"n": n}}


async def post_until_killed(dev: processes.Dev, accepted: list[str]) -> None:
    async with asyncio.TaskGroup() as posts:
        n = 0
        while dev.process.process.returncode is None:
            posts.create_task(post(dev, accepted, n))
            n += 1
            await asyncio.sleep(0.1)


@asynccontextmanager
async def busy_dev(folder: Path, inbox: Receiver) -> AsyncIterator[tuple[processes.Dev, list[str]]]:
    """Run a dev with keys, a webhook that refuses, and events all the time; then kill all of it with -9."""
    accepted: list[str] = []
    inbox.otherwise = Answer(503)
    folder.mkdir()
    async with processes.dev(folder, options=("--encrypt",)) as dev:
        await dev.webhook(f"{inbox.url}/refuses", "acme", retry={"schedule": [1.0] * 49})
        posts = asyncio.create_task(post_until_killed(dev, accepted))
        await inbox.got(20)
        yield dev, accepted
        children = await processes.children(dev.process.pid)
        for pid in (dev.process.pid, *children.values()):
            os.kill(pid, signal.SIGKILL)
        await posts


async def all_continue(dev: processes.Dev, before: list[str], accepted: list[str], inbox: Receiver) -> None:
    """Check that a restored dev delivers what was accepted before its copy was made, and accepts the rest again."""
    assert before
    inbox.otherwise = Answer(200)
    for event_id in before:
        found = await dev.until(event_id, "acme")
        assert [delivery["status"] for delivery in found["deliveries"]] == ["succeeded"], found
    for event_id in accepted:
        again = event(int(event_id.removeprefix("evt-")))
        assert (await dev.http.post("/v1/events", json=again)).status_code in (200, 202)
        assert (await dev.until(event_id, "acme"))["status"] == "succeeded"


@pytest.mark.promise("docs/backup.md")
async def test_what_was_accepted_before_the_backup_is_delivered_after_its_restore(
    tmp_path: Path, inbox: Receiver
) -> None:
    """Timeline: backup under load, another webhook, `kill -9` of everything, a dev with the copy.

    What this proves: each event that was accepted before the backup began is delivered, and the copy belongs to its
    owner alone. What was accepted later may be missing, and is accepted with its id again.
    """
    second = tmp_path / "second"
    second.mkdir()
    async with busy_dev(tmp_path / "first", inbox) as (dev, accepted):
        before = [*accepted]
        done = await dev.run("backup", str(second / ".hookkeeper"))
        assert (done.code, done.err) == (0, ""), done
        late = await dev.webhook(f"{inbox.url}/late", "acme")
    copied = {file.name: file for file in (second / ".hookkeeper").iterdir()}
    assert {*copied} == {"registry.db", "temporal.db", "temporal.version", "admin.key", "encryption.keys"}
    assert all(stat.S_IMODE(file.stat().st_mode) & 0o077 == 0 for file in copied.values())
    async with processes.dev(second) as restored:
        assert (await restored.http.get(f"/v1/webhooks/{late['id']}")).status_code == 404
        await all_continue(restored, before, accepted, inbox)


@pytest.mark.skipif(shutil.which("litestream") is None, reason="needs litestream")
async def test_litestream_keeps_what_was_accepted_before_its_last_copies(tmp_path: Path, inbox: Receiver) -> None:
    """Setup: Litestream with the configuration of docs/backup.md.

    Timeline: load, `kill -9` of everything, the documented commands, a dev with what they restored.
    What this proves: each event that was accepted before the last copies began is delivered.
    """
    first = tmp_path / "first"
    page = (processes.ROOT / "docs/backup.md").read_text()
    async with busy_dev(first, inbox) as (_, accepted):
        (first / "litestream.yml").write_text(page.split("```yaml\n")[1].partition("```")[0])
        streaming = await script("cp -p .hookkeeper/", first)
        try:
            await until_copied(first / "replica", 1)
            before = [*accepted]
            await until_copied(first / "replica", 2)  # the first of these may have begun earlier
        finally:
            os.killpg(streaming.pid, signal.SIGKILL)
            await streaming.wait()
    restoring = await script("mv .hookkeeper damaged\n    mkdir", first)
    assert await restoring.wait() == 0
    async with processes.dev(first) as restored:
        await all_continue(restored, before, accepted, inbox)


async def until_copied(replica: Path, times: int) -> None:
    """Wait until Litestream has copied each database this many times more."""
    levels = [replica / name / "ltx" / "0" for name in ("registry", "temporal")]
    counts = [len([*level.glob("*.ltx")]) for level in levels]
    async with asyncio.timeout(2 * WAIT_TIMEOUT):
        while any(len([*level.glob("*.ltx")]) < count + times for level, count in zip(levels, counts, strict=True)):
            await asyncio.sleep(0.1)


async def script(first_words: str, folder: Path) -> asyncio.subprocess.Process:
    """Start the commands on the page that begin with these words, up to the start of a dev."""
    _, page = (processes.ROOT / "docs/backup.md").read_text().split(f"    {first_words}")
    block = f"{first_words}{page}".partition("\n\n")[0].replace("\n    ", "\n").removesuffix("hookkeeper dev")
    return await asyncio.create_subprocess_exec("bash", "-ec", block, cwd=folder, start_new_session=True)


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


@pytest.mark.promise("docs/backup.md")
async def test_a_backup_overwrites_nothing_and_needs_data(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    missing = await processes.hookkeeper("backup", "new", cwd=tmp_path)
    assert (missing.code, "--data-dir" in missing.err) == (1, True)
    for file in ("registry.db", "temporal.db"):
        (tmp_path / file).touch()
    refused = await processes.hookkeeper("backup", "kept", "--data-dir", ".", cwd=tmp_path)
    assert refused.code == 1
    assert "exists" in refused.err
