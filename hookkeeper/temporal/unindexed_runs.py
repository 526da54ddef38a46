"""Find runs that the index of events lacks, or of which it lacks the latest state.

A worker that is killed loses its last reports to the index. The sweep adds them within some minutes; visibility has
what such a report was about at once. Visibility has one order, newest first, so all pages are read to find the oldest.
"""

import heapq
from collections.abc import Callable, Sequence

from temporalio.client import Client

from hookkeeper import ids
from hookkeeper.messages.walk import RunPosition
from hookkeeper.registry.index.walks import IndexedDelivery, Walks
from hookkeeper.temporal import visibility
from hookkeeper.temporal.visibility import ListedRun

IsIndexed = Callable[[ListedRun, Sequence[IndexedDelivery]], bool]
"""Whether the index, which has these deliveries of the run, has its latest state."""


async def oldest(
    client: Client,
    walks: Walks,
    query: str,
    webhook_id: str | None,
    is_indexed: IsIndexed,
    after: RunPosition | None,
    at_most: int,
) -> tuple[list[RunPosition], RunPosition | None]:
    """Return the oldest of these runs after a position, and the position to continue after; None if these are all.

    All runs are of one tenant. Raises Temporal's `RPCError`, and RegistryUnavailable.
    """
    found: set[RunPosition] = set()
    async for page in visibility.pages(client, query):
        runs = {_position_of(run): run for run in page}
        indexed = await walks.deliveries(page[0].tenant, webhook_id, runs)
        found.update(
            position
            for position, run in runs.items()
            if (after is None or position > after) and not is_indexed(run, indexed.get(position, ()))
        )
        found = set(heapq.nsmallest(at_most + 1, found))
    oldest = sorted(found)[:at_most]
    return oldest, oldest[-1] if len(found) > at_most else None


def _position_of(run: ListedRun) -> RunPosition:
    return RunPosition(run.accepted_at, run.event_id, ids.part_of(run.workflow_id))
