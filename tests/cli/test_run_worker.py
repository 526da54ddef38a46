"""A worker reports invalid settings in a sentence, without their secrets."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr
from temporalio.client import Client

import worker
from cli.operators.run_worker import WorkerHealth
from hookkeeper.settings import BadSetting
from instances import Instance, running_instance
from timeouts import WAIT_TIMEOUT
from worker_processes import ROOT


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"smtp_url": SecretStr("http://user:hidden@mail.example")}, "email settings"),
        ({"smtp_url": SecretStr("smtp://user:hidden@")}, "email settings"),
        ({"email_capture_dir": Path("emails"), "email_from": "no-address"}, "email settings"),
        ({"alert_emails": ("hidden",)}, "HOOKKEEPER_ALERT_EMAILS"),
        ({"alert_services": SecretStr("hidden")}, "HOOKKEEPER_ALERT_SERVICES"),
    ],
)
async def test_invalid_settings(temporal: Client, tmp_path: Path, settings: dict[str, object], message: str) -> None:
    async with running_instance(temporal, tmp_path, **settings) as instance:
        with pytest.raises(BadSetting, match=message) as raised:
            async with worker.running(instance.temporal, instance.store, instance.settings):
                pass
    assert "hidden" not in str(raised.value) or settings.get("alert_emails")


async def test_a_worker_is_unwell_if_temporal_knows_no_poll_of_it(idle_instance: Instance) -> None:
    """Also one of a version that gets no tasks yet polls: it is well."""
    queue = idle_instance.settings.task_queue
    assert await WorkerHealth(idle_instance.temporal, queue, silence=60).read() == (
        True,
        {"status": "ok", "last_poll": None},
    )
    silent = WorkerHealth(idle_instance.temporal, queue, silence=0)
    assert await silent.read() == (False, {"status": "polls for no tasks", "last_poll": None})
    newer = idle_instance.settings.model_copy(update={"deployment_version": "2.0"})
    older = idle_instance.settings.model_copy(update={"deployment_version": "1.0"})
    async with replace(idle_instance, settings=older).working():
        pass
    async with replace(idle_instance, settings=newer).working(), asyncio.timeout(WAIT_TIMEOUT):
        while not (await silent.read())[1]["last_poll"]:
            await asyncio.sleep(0.1)
        assert (await silent.read())[0]


def test_a_worker_loads_nothing_of_the_api() -> None:
    script = (
        "import sys, worker; print({name.partition('.')[0] for name in sys.modules} & {'api', 'fastapi', 'starlette'})"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert loaded.stdout == "set()\n"
