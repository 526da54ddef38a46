"""Only its owner can read the data directory, also if it or its files existed before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.client.api import DEFAULT_URL, Api
from cli.console import Failed
from cli.datadir import DEFAULT, DataDir
from cli.ports import Ports


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_existing_files_are_made_private(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    for name in ("registry.db", "temporal.db-wal", "encryption.keys", "dev.json", "notes.txt"):
        (folder / name).touch()
        (folder / name).chmod(0o644)
    (folder / "logs").mkdir(mode=0o755)
    with DataDir(folder).locked():
        subprocess.run([sys.executable, "-c", "open('made-by-a-child', 'w')"], cwd=folder, check=True)
        (folder / "temporal.db").touch()
    assert mode(folder) == 0o755, "no other user may replace a file in it"
    assert {mode(folder / name) for name in ("registry.db", "temporal.db-wal", "encryption.keys", "dev.json")} == {
        0o600
    }
    assert {mode(folder / name) for name in ("made-by-a-child", "temporal.db")} == {0o600}
    assert mode(folder / "logs") == 0o700
    assert mode(folder / "notes.txt") == 0o644, "not a file of Hookkeeper"


def test_a_new_directory_is_private_and_the_umask_is_restored(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with DataDir(tmp_path / "new").locked():
            pass
        assert mode(tmp_path / "new") == 0o700
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_files_of_another_user_are_not_used(tmp_path: Path) -> None:
    (tmp_path / "registry.db").touch()
    os.chown(tmp_path / "registry.db", 12345, 12345)
    with pytest.raises(Failed, match="belongs to another user"), DataDir(tmp_path).locked():
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "admin.key.new").symlink_to("/dev/full")
    with pytest.raises(Failed, match=r"cannot store data in .*: No space left on device"):
        DataDir(tmp_path).admin_key()
    assert not (tmp_path / "admin.key").exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe" * 20, "é".encode() * 20, b"too short"])
def test_an_admin_key_that_cannot_be_used(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "admin.key").write_bytes(content)
    with pytest.raises(Failed, match=r"/admin\.key: it "):
        DataDir(tmp_path).admin_key()


DEV_URL, DEV_KEY = "http://127.0.0.1:18080", "hk_of_dev"


@pytest.fixture
def dev_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataDir:
    """A directory in which a `dev` has stored its URL and key."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOOKKEEPER_URL", "HOOKKEEPER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    data = DataDir(DEFAULT)
    with data.locked():
        data.store_api(DEV_URL, DEV_KEY, Ports())
    return data


def used() -> tuple[str, str | None]:
    api = Api.of_environment()
    api.close()
    return api.url, api._http.headers.get("authorization")


def test_the_stored_url_and_key_are_used(dev_data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    assert used() == (DEV_URL, f"Bearer {DEV_KEY}")
    monkeypatch.setenv("HOOKKEEPER_API_KEY", DEV_KEY)
    assert used() == (DEV_URL, f"Bearer {DEV_KEY}")


def test_a_key_of_the_environment_is_not_sent_to_the_stored_url(
    dev_data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder from another source can name any URL: it would collect the keys of its users."""
    monkeypatch.setenv("HOOKKEEPER_API_KEY", "hk_of_production")
    assert used() == (DEFAULT_URL, "Bearer hk_of_production")
    monkeypatch.setenv("HOOKKEEPER_URL", "https://hooks.example")
    assert used() == ("https://hooks.example", "Bearer hk_of_production")


@pytest.mark.parametrize("path", [DEFAULT, DEFAULT / "dev.json"])
def test_a_file_that_others_can_write_is_not_used(dev_data: DataDir, path: Path) -> None:
    path.chmod(0o777)
    assert dev_data.dev_api() is None
    assert used() == (DEFAULT_URL, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_not_used(dev_data: DataDir) -> None:
    os.chown(DEFAULT / "dev.json", 12345, 12345)
    assert used() == (DEFAULT_URL, None)
