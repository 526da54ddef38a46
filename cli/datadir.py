"""The data directory of `dev` and `demo`: databases, logs, the admin key, and where the API is to be found."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEFAULT = Path(".hookkeeper")


class InUse(Exception):
    """Another `dev` or `demo` runs from this data directory."""


class DataDir:
    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def database_url(self) -> str:
        return f"sqlite+aiosqlite:///{self.path / 'registry.db'}"

    def admin_key(self) -> str:
        """Give the key that `dev` made here, making it the first time. Readable by its owner alone."""
        file = self.path / "admin.key"
        if not file.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as new:
                new.write(f"hk_{secrets.token_urlsafe(32)}\n")
        return file.read_text().strip()

    def known_key(self) -> str | None:
        """Give the key if there is one."""
        return self.admin_key() if (self.path / "admin.key").exists() else None

    def known_url(self) -> str | None:
        """Give the address of the API that was last started from here."""
        try:
            url = json.loads((self.path / "dev.json").read_text())["url"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return url if isinstance(url, str) else None

    def tell(self, url: str) -> None:
        """Leave the API's address for client commands."""
        (self.path / "dev.json").write_text(json.dumps({"url": url, "pid": os.getpid()}))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others out for as long as the block runs; the lock goes with the process, however it ends."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                where = self.known_url()
                raise InUse(f"another dev or demo runs from {self.path}" + (f" ({where})" if where else "")) from None
            yield
