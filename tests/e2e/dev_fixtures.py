"""One `hookkeeper dev` for all tests. A test that kills a process waits until it is restarted."""

import uuid
from collections.abc import AsyncIterator

import processes
import pytest


@pytest.fixture(scope="session")
async def running_dev(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[processes.Dev]:
    # These settings are ignored: it has its own Temporal server.
    settings = {"TEMPORAL_ADDRESS": "temporal.example:7233", "TEMPORAL_PROFILE": "production"}
    async with processes.dev(tmp_path_factory.mktemp("dev"), settings=settings) as started:
        yield started


@pytest.fixture
def tenant() -> str:
    """A new tenant, so that tests do not get the events of others."""
    return f"t{uuid.uuid4().hex[:12]}"
