"""Read the event's data from the first event of the run's history.

If each attempt carried the data, history would have it once for each attempt. Only first attempts carry it.
"""

from contextlib import suppress
from typing import Any

from cachetools import LRUCache
from temporalio import activity
from temporalio.client import Client

from hookkeeper.content.sizes import memory_of
from hookkeeper.messages import Message
from hookkeeper.temporal.run_state import input_of

MAX_CACHED_BYTES = 16 * 1024 * 1024
"""Approximate memory of each of a worker's two caches."""


class _RunInput(Message):
    """The data in the input of a run."""

    data: Any = None


class EventData:
    """Reads a run's data once, and caches it for later attempts."""

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal
        self._cache: LRUCache[str, Any] = LRUCache(MAX_CACHED_BYTES, getsizeof=memory_of)
        """Data by run."""

    async def of_this_run(self) -> Any:
        """Return the data of the run that this activity belongs to. Raises `RPCError`."""
        info = activity.info()
        assert info.workflow_id is not None
        assert info.workflow_run_id is not None
        run_id = info.workflow_run_id
        if run_id in self._cache:
            return self._cache[run_id]
        data = await self._read(info.workflow_id, run_id)
        with suppress(ValueError):  # larger than the cache
            self._cache[run_id] = data
        return data

    async def _read(self, workflow_id: str, run_id: str) -> Any:
        handle = self._temporal.get_workflow_handle(workflow_id, run_id=run_id)
        return (await input_of(self._temporal, handle, _RunInput)).data
