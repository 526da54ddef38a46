"""Parts of an instance that are expensive to create: created once in a process, and used again."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI

from api.app import create_app
from api.state import ApiState
from event_loops import starting
from hookkeeper.registry.store import Store
from hookkeeper.sandbox.children import Children, SandboxChild
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway

DEFAULT_URL = Settings.model_fields["public_url"].default
_registries: list[bytes] = []
_free_apps: list[FastAPI] = []
shared_apps: list[FastAPI] = []
"""The app of the instance that the tests of this process share."""
DEFAULT_BOUNDS = Sandbox()._children._bounds
_free_children: list[SandboxChild] = []


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
def kept_children() -> Iterator[None]:
    """Let the sandboxes of all instances use the same children: each takes half a second of processor time to start."""
    start, close = Children.start, Children.close

    async def take_or_start(self: Children) -> SandboxChild:
        while _free_children and self._bounds == DEFAULT_BOUNDS:
            child = _free_children.pop()
            if child.process.poll() is None:
                return child
            child.kill()
        return await start(self)

    async def keep_and_close(self: Children) -> None:
        if self._bounds == DEFAULT_BOUNDS:
            if self._spare:
                await asyncio.wait([self._spare])
            _free_children.extend(self._free)
            self._free.clear()
        await close(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Children, "start", take_or_start)
        patch.setattr(Children, "close", keep_and_close)
        yield
    end_kept_children()


def end_kept_children() -> None:
    """Let the next call of each sandbox start a child."""
    while _free_children:
        child = _free_children.pop()
        child.kill()
        child.process.wait()


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
