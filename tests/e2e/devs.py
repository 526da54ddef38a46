"""One `hookkeeper dev` for all tests, in a directory of its own; who breaks something waits until it is whole again."""

import uuid
from collections.abc import AsyncIterator

import pytest
import stage


@pytest.fixture(scope="session")
async def running_dev(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[stage.Dev]:
    # It has a Temporal server of its own, whatever is set for others.
    settings = {"TEMPORAL_ADDRESS": "temporal.example:7233", "TEMPORAL_PROFILE": "production"}
    async with stage.dev(tmp_path_factory.mktemp("dev"), settings=settings) as started:
        yield started


@pytest.fixture
def tenant() -> str:
    """A tenant of the test's own, so that tests do not get each other's events."""
    return f"t{uuid.uuid4().hex[:12]}"
