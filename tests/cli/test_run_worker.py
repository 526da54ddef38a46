"""A worker whose settings cannot work says so in a sentence, without their secrets."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from temporalio.client import Client

import worker
from hookkeeper.settings import BadSetting
from house import house


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"smtp_url": SecretStr("http://user:hidden@mail.example")}, "email settings"),
        ({"smtp_url": SecretStr("smtp://user:hidden@")}, "email settings"),
        ({"email_capture_dir": Path("emails"), "email_from": "nobody"}, "email settings"),
        ({"alert_emails": ("hidden",)}, "HOOKKEEPER_ALERT_EMAILS"),
        ({"alert_services": SecretStr("hidden")}, "HOOKKEEPER_ALERT_SERVICES"),
    ],
)
async def test_settings_that_cannot_work(
    temporal: Client, tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    async with house(temporal, tmp_path, **settings) as home:
        with pytest.raises(BadSetting, match=words) as raised:
            async with worker.running(home.temporal, home.store, home.settings):
                pass
    assert "hidden" not in str(raised.value) or settings.get("alert_emails")
