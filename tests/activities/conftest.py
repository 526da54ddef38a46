"""The HTTP client is tested on both event loops: their transports and their errors are not the same code."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
DEFAULT: Mapping[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
BOTH: Mapping[str, LoopFactory] = {**DEFAULT, "uvloop": uvloop.new_event_loop}


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    return BOTH if item.path.name == "test_http.py" else DEFAULT
