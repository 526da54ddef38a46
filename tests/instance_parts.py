"""Parts of an instance that are expensive to create: created once in a process, and used again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI

from api.app import create_app
from api.state import ApiState
from event_loops import starting
from hookkeeper.registry.store import Store
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway

DEFAULT_URL = Settings.model_fields["public_url"].default
_registries: list[bytes] = []
_free_apps: list[FastAPI] = []


async def empty_registry(folder: Path) -> bytes:
    """Return the SQLite file of a registry without rows. The migrations take 40 ms of processor time."""
    if not _registries:
        path = folder / "migrated.db"
        store = Store.connect(f"sqlite+aiosqlite:///{path}")
        await store.migrate()
        await store.close()
        _registries.append(path.read_bytes())
    return _registries[0]


def new_app(settings: Settings, store: Store, gateway: Gateway) -> FastAPI:
    """Make an app, which may hold the event loop: nothing is served yet."""
    with starting():
        return create_app(settings, store, gateway)


@contextmanager
def app_of(settings: Settings, store: Store, gateway: Gateway) -> Iterator[FastAPI]:
    """Give an app to the block, with a state of its own. Making its routes takes 100 ms of processor time."""
    if settings.traces_events or settings.public_url != DEFAULT_URL:  # they change middleware and documents
        yield new_app(settings, store, gateway)
        return
    if _free_apps:
        app = _free_apps.pop()
        assert settings.admin_key is not None
        app.state.api = ApiState(settings, settings.admin_key.get_secret_value(), store, gateway)
    else:
        app = new_app(settings, store, gateway)
    yield app
    _free_apps.append(app)
