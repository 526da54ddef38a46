"""The key of some runs is missing for some time: lists have all other events, and these too when it is back."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from temporalio.client import Client

from hookkeeper.crypto.keyring import new_key
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.index.buffer import IndexBuffer
from hookkeeper.temporal import index_sweep
from instances import Instance, running_instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

OLD, NEW = new_key("old"), new_key("new")
OVERLAP = timedelta(seconds=1)


class ForgetfulBuffer(IndexBuffer):
    """As in a process that is killed before it writes anything."""

    def put(self, report: RunReport) -> None:
        """Drop it."""


async def listed(instance: Instance) -> dict[str, str]:
    """Return the statuses of all events that the API lists."""
    answer = await instance.http.get("/v1/events", params={"tenant": instance.tenant})
    assert answer.status_code == 200, answer.text
    return {event["id"]: event["status"] for event in answer.json()["items"]}


async def until_listed(instance: Instance, wanted: Mapping[str, str]) -> None:
    """Wait until the API lists these events with these statuses."""
    found: dict[str, str] = {}
    try:
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not found.items() >= wanted.items():
                await asyncio.sleep(0.1)
                found = await listed(instance)
    except TimeoutError:
        assert found == wanted


@pytest.mark.parametrize("lost", ["api and worker", "worker"])
async def test_lists_are_right_when_a_missing_key_is_back(
    lost: str,
    temporal: Client,
    tmp_path: Path,
    inbox: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Setup: with the old key, events that have succeeded in runs of their own and in shared ones, and one that waits
    for its retry; what their processes reported is lost. The registry is encrypted with the new key since.
    Timeline: a worker without the old key sweeps, and delivers another event; then one with both keys does.
    Proves: the other event is listed meanwhile, and all events when the key is back.
    """
    monkeypatch.setattr("worker.IndexBuffer", ForgetfulBuffer)
    if lost != "worker":
        monkeypatch.setattr("api.state.IndexBuffer", ForgetfulBuffer)
    monkeypatch.setattr(index_sweep, "OVERLAP", OVERLAP)
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(OLD)) as before, before.working():
        await before.webhook(inbox.url, retry={"schedule": [3600]})
        old = [event["id"] for event in await asyncio.gather(*(before.send() for _ in range(9)))]
        for event_id in old:
            await before.until_final(event_id)
        inbox.fails(503)
        waits = (await before.send())["id"]
        await before.until_delivery(waits, "retrying", 1)
    await asyncio.sleep(2 * OVERLAP.total_seconds())
    monkeypatch.setattr(index_sweep, "FIRST_DELAY", 0.1)
    monkeypatch.setattr(index_sweep, "INTERVAL", 0.3)
    monkeypatch.setattr(index_sweep, "LIST_PAUSE", 0.0)
    same = {"task_queue": before.settings.task_queue}
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(f"{NEW},{OLD}"), **same) as both:
        await both.store.re_encrypt()
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(NEW), **same) as after, after.working():
        after.tenant = before.tenant
        other = (await after.send())["id"]
        await until_listed(after, {other: "succeeded"})
        await asyncio.sleep(1.0)  # further passes, which begin where the first has ended
        known = dict.fromkeys([*old, waits], "delivering") if lost == "worker" else {}
        assert await listed(after) == {**known, other: "succeeded"}
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(f"{NEW},{OLD}"), **same) as back:
        back.tenant = before.tenant
        async with back.working():
            succeeded = dict.fromkeys([*old, other], "succeeded")
            await until_listed(back, {**succeeded, waits: "delivering"})
            await back.command(waits, "retry")
            await until_listed(back, {**succeeded, waits: "succeeded"})
    assert "level='error' event='index not swept'" not in capsys.readouterr().out
