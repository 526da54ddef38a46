"""The key of some runs is missing for some time: lists have all other events, and these too when it is back."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from temporalio.client import Client

from hookkeeper.crypto.keyring import new_key
from hookkeeper.temporal import run_repair
from instances import Instance, running_instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

OLD, NEW = new_key("old"), new_key("new")


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


@pytest.mark.promise("docs/operations.md")
async def test_lists_are_right_while_a_key_is_missing_and_when_it_is_back(
    temporal: Client,
    tmp_path: Path,
    inbox: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Setup: with the old key, events that have succeeded in runs of their own and in shared ones, and one that waits
    for its retry. The registry is encrypted with the new key since.
    Timeline: a worker without the old key looks for runs that have ended, and delivers another event; then one with
    both keys does.
    Proves: all events are listed as they are, and the one that waits goes on when the key is back.
    """
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(OLD)) as before, before.working():
        await before.webhook(inbox.url, retry={"schedule": [3600]})
        old = [event["id"] for event in await asyncio.gather(*(before.send() for _ in range(9)))]
        for event_id in old:
            await before.until_final(event_id)
        inbox.fails(503)
        waits = (await before.send())["id"]
        await before.until_delivery(waits, "retrying", 1)
    monkeypatch.setattr(run_repair, "FIRST_DELAY", 0.1)
    monkeypatch.setattr(run_repair, "MIN_AGE", timedelta(seconds=-1))
    same = {"task_queue": before.settings.task_queue}
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(f"{NEW},{OLD}"), **same) as both:
        await both.store.re_encrypt()
    known = {**dict.fromkeys(old, "succeeded"), waits: "delivering"}
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(NEW), **same) as after, after.working():
        after.tenant = before.tenant
        other = (await after.send())["id"]
        await until_listed(after, {**known, other: "succeeded"})
        await asyncio.sleep(0.5)  # the repair is over
        assert await listed(after) == {**known, other: "succeeded"}
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(f"{NEW},{OLD}"), **same) as back:
        back.tenant = before.tenant
        async with back.working():
            await back.command(waits, "retry")
            await until_listed(back, {**known, waits: "succeeded", other: "succeeded"})
    assert "level='error' event='rows not repaired'" not in capsys.readouterr().out
