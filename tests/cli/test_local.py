"""The settings of `dev`."""

from pathlib import Path

import pytest

from cli.datadir import DataDir
from cli.local_settings import settings_for
from cli.ports import Ports
from hookkeeper.settings import Settings


@pytest.mark.parametrize("given", [None, "", "captured"])
def test_the_folder_of_captured_emails(given: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is a folder in the data directory; an empty value means that emails are not captured."""
    monkeypatch.delenv("HOOKKEEPER_EMAIL_CAPTURE_DIR", raising=False)
    if given is not None:
        monkeypatch.setenv("HOOKKEEPER_EMAIL_CAPTURE_DIR", given)
    data = DataDir(tmp_path)
    settings = settings_for(Settings(), data, "127.0.0.1", Ports(), send_emails=True, encrypt=False)
    assert settings.email_capture_dir == {None: data.emails, "": None, "captured": Path("captured")}[given]
