"""The data directory of `dev` and `demo`: databases, logs, keys, and where the API is to be found."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ciphers import Keyring, new_key
from cli.console import Failed

DEFAULT = Path(".hookkeeper")
FIRST_KEY = "dev1"


class InUse(Failed):
    """Another `dev` or `demo` runs from this data directory."""


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

    def known_url(self) -> str | None:
        """Give the address of the API that was last started from here."""
        return self._told("url")

    def known_key(self) -> str | None:
        """Give the key to it."""
        return self._told("key")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others out for as long as the block runs; the lock goes with the process, however it ends."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = (self.path / "lock").open("w")
        except OSError as error:
            raise Failed(f"cannot keep data in {self.path}: {error.strerror}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                where = self.known_url()
                raise InUse(f"another dev or demo runs from {self.path}" + (f" ({where})" if where else "")) from None
            yield

    def _told(self, name: str) -> str | None:
        try:
            value = json.loads((self.path / "dev.json").read_text())[name]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return value if isinstance(value, str) else None

    def _write(self, file: Path, text: str) -> None:
        """Write all or nothing."""
        fresh = file.with_name(f"{file.name}.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as new:
            new.write(text)
        fresh.replace(file)
