"""A worker reports invalid settings in a sentence, without their secrets."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr
from temporalio.client import Client

import worker
from hookkeeper.settings import BadSetting
from instances import running_instance
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


def test_a_worker_loads_nothing_of_the_api() -> None:
    script = (
        "import sys, worker; print({name.partition('.')[0] for name in sys.modules} & {'api', 'fastapi', 'starlette'})"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert loaded.stdout == "set()\n"
