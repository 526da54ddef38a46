"""The data directory of `dev` and `demo`: databases, logs, keys, and the address of the API."""

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.console import Failed
from cli.ports import Ports
from hookkeeper.crypto.tokens import new_token

DEFAULT = Path(".hookkeeper")
FIRST_KEY = "dev1"
PRIVATE = 0o077
"""The umask of all processes that write here."""
_PRIVATE_FILES = re.compile(r"(registry|temporal)\.db.*|.*\.keys?|dev\.json|lock|logs|emails")


@dataclass(frozen=True, slots=True)
class DevApi:
    """URL and key of the API of a `dev`."""

    url: str
    key: str
    ports: Ports
    """Ports of its servers."""


class DataDir:
    """A folder that only its owner can read, since it contains secrets of webhooks and the key to the API."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def emails(self) -> Path:
        return self.path / "emails"

    @property
    def registry(self) -> Path:
        return self.path / "registry.db"

    @property
    def database_url(self) -> str:
        return f"sqlite+aiosqlite:///{self.registry}"

    def admin_key(self) -> str:
        """Return the admin key of this directory, creating it the first time. Raises `Failed`."""
        from hookkeeper.content.text import API_KEY
        from hookkeeper.settings import MIN_ADMIN_KEY

        file = self.path / "admin.key"
        if not file.exists():
            self._write(file, f"{new_token('hk_')}\n")
        key = _text_of(file)
        if not API_KEY.fullmatch(key) or len(key) < MIN_ADMIN_KEY:
            raise Failed(
                f"{file}: it must have {MIN_ADMIN_KEY} characters of ASCII or more; without it, a new key is made"
            )
        return key

    @property
    def key_file(self) -> Path:
        return self.path / "encryption.keys"

    def encryption_keys(self, make: bool) -> str | None:
        """Return the encryption keys of this directory as the setting has them; with `make`, create them if missing.

        Existing keys are always used, because data is encrypted with them. Raises `Failed`.
        """
        if not make and not self.key_file.exists():
            return None
        from hookkeeper.crypto.keyring import Keyring, new_key

        if not self.key_file.exists():
            self._write(self.key_file, f"{new_key(FIRST_KEY)}\n")
        keys = _text_of(self.key_file)
        try:
            Keyring.parse(keys)
        except ValueError as error:
            raise Failed(f"{self.key_file}: {error}") from None
        return keys

    def store_api(self, url: str, key: str, ports: Ports) -> None:
        """Store URL and key of the API for client commands, and all ports. Raises `Failed`."""
        self._write(self.path / "dev.json", json.dumps({"url": url, "key": key, "ports": ports.by_name}))

    def dev_api(self) -> DevApi | None:
        """Return the API that was last started from here; None if there is none, or if another user wrote the file."""
        file = self.path / "dev.json"
        try:
            if not (_is_private(self.path) and _is_private(file)):
                return None
            stored = json.loads(file.read_text())
            url, key, ports = stored["url"], stored["key"], Ports(**stored.get("ports", {}))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return DevApi(url, key, ports) if isinstance(url, str) and isinstance(key, str) else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude other processes and other users during the block.

        The lock ends with the process. New files, also those of child processes, and existing ones are readable by
        the user only. Raises `Failed`.
        """
        umask = os.umask(PRIVATE)
        try:
            with self._lock():
                yield
        finally:
            os.umask(umask)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._make_private()
            file = (self.path / "lock").open("w")
        except OSError as error:
            raise Failed(f"cannot store data in {self.path}: {error.strerror}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                dev = self.dev_api()
                raise Failed(f"another dev or demo uses {self.path}" + (f" ({dev.url})" if dev else "")) from None
            yield

    def _make_private(self) -> None:
        """Remove other users' permissions from databases, keys and logs. Raises `Failed`."""
        files = [file for file in self.path.iterdir() if _PRIVATE_FILES.fullmatch(file.name)]
        for file, forbidden in [(self.path, 0o022), *((file, 0o077) for file in files)]:
            status = file.stat()
            if status.st_uid != os.geteuid():
                raise Failed(f"{file} belongs to another user: choose another --data-dir, or change its owner")
            if status.st_mode & forbidden:
                file.chmod(status.st_mode & 0o777 & ~forbidden)

    def _write(self, file: Path, text: str) -> None:
        """Write all or nothing. Raises `Failed`."""
        fresh = file.with_name(f"{file.name}.new")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as new:
                new.write(text)
                new.flush()
                os.fsync(new.fileno())  # a power cut must not leave an empty file
            fresh.replace(file)
        except OSError as error:
            raise Failed(f"cannot store data in {self.path}: {error.strerror}") from error


def _text_of(file: Path) -> str:
    """Read a small file. Raises `Failed`."""
    try:
        return file.read_text().strip()
    except UnicodeDecodeError:
        raise Failed(f"{file}: it is not text") from None
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}") from error


def _is_private(path: Path) -> bool:
    """Whether no other user can have written the file."""
    status = path.stat()
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022
