"""One `hookkeeper dev` for all tests. A test that kills a process waits until it is restarted.

`make production-like` gives an installation instead of it: then all other tests are left out.
"""

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import processes
import pytest

from drills.production_like import INSTALLATION


@pytest.fixture(scope="session")
async def running_dev(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[processes.Dev]:
    if folder := os.environ.get(INSTALLATION):
        async with processes.given(Path(folder)) as installation:
            yield installation
        return
    # These settings are ignored: it has its own Temporal server.
    settings = {"TEMPORAL_ADDRESS": "temporal.example:7233", "TEMPORAL_PROFILE": "production"}
    async with processes.dev(tmp_path_factory.mktemp("dev"), settings=settings) as started:
        yield started


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if INSTALLATION not in os.environ:
        return
    others = [item for item in items if "running_dev" not in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.fixture
def tenant() -> str:
    """A new tenant, so that tests do not get the events of others."""
    return f"t{uuid.uuid4().hex[:12]}"
