"""The data directory of `dev` and `demo`: databases, logs, keys, and where the API is to be found."""

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hookkeeper.cli.console import Failed
from hookkeeper.crypto.keyring import Keyring, new_key

DEFAULT = Path(".hookkeeper")
FIRST_KEY = "dev1"
_OURS = re.compile(r"(registry|temporal)\.db.*|.*\.keys?|dev\.json|lock|logs|outbox")


class InUse(Failed):
    """Another `dev` or `demo` runs from this data directory."""


@dataclass(frozen=True, slots=True)
class DevApi:
    """Where the API of a `dev` is, and the key to it."""

    url: str
    key: str


class DataDir:
    """Readable by its owner alone: it holds the webhooks' secrets and the key to the API."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def outbox(self) -> Path:
        return self.path / "outbox"

    @property
    def database_url(self) -> str:
        return f"sqlite+aiosqlite:///{self.path / 'registry.db'}"

    def admin_key(self) -> str:
        """Give the key that `dev` made here, making it the first time."""
        file = self.path / "admin.key"
        if not file.exists():
            self._write(file, f"hk_{secrets.token_urlsafe(32)}\n")
        return file.read_text().strip()

    @property
    def key_file(self) -> Path:
        return self.path / "encryption.keys"

    def encryption_keys(self, make: bool) -> str | None:
        """Give the keys that `dev --encrypt` made here, as the setting takes them; make one the first time, if wanted.

        Once made they are always used: what is kept here is encrypted with them. Raises `Failed`.
        """
        if make and not self.key_file.exists():
            self._write(self.key_file, f"{new_key(FIRST_KEY)}\n")
        if not self.key_file.exists():
            return None
        keys = self.key_file.read_text().strip()
        try:
            Keyring.parse(keys)
        except ValueError as error:
            raise Failed(f"{self.key_file}: {error}") from None
        return keys

    def tell(self, url: str, key: str) -> None:
        """Leave for client commands where the API is, and the key to it."""
        self._write(self.path / "dev.json", json.dumps({"url": url, "key": key}))

    def dev_api(self) -> DevApi | None:
        """Give the API that was last started from here; None where there was none, or another user wrote it down."""
        file = self.path / "dev.json"
        try:
            if not (_is_private(self.path) and _is_private(file)):
                return None
            said = json.loads(file.read_text())
            url, key = said["url"], said["key"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return DevApi(url, key) if isinstance(url, str) and isinstance(key, str) else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes and other users out for as long as the block runs.

        The lock goes with the process, however it ends. Files made from now on, by child processes too, are the
        user's alone; so are those that are here already. Raises `Failed`.
        """
        umask = os.umask(0o077)
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
            raise Failed(f"cannot keep data in {self.path}: {error.strerror}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                known = self.dev_api()
                raise InUse(
                    f"another dev or demo runs from {self.path}" + (f" ({known.url})" if known else "")
                ) from None
            yield

    def _make_private(self) -> None:
        """Take the permissions of other users from databases, keys and logs that are here. Raises `Failed`."""
        ours = [file for file in self.path.iterdir() if _OURS.fullmatch(file.name)]
        for file, theirs in [(self.path, 0o022), *((file, 0o077) for file in ours)]:
            found = file.stat()
            if found.st_uid != os.geteuid():
                raise Failed(f"{file} belongs to another user: choose another --data-dir, or change its owner")
            if found.st_mode & theirs:
                file.chmod(found.st_mode & 0o777 & ~theirs)

    def _write(self, file: Path, text: str) -> None:
        """Write all or nothing."""
        fresh = file.with_name(f"{file.name}.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as new:
            new.write(text)
        fresh.replace(file)


def _is_private(path: Path) -> bool:
    """Tell whether no other user can have written it."""
    found = path.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022
