"""Read the data of listed events, for a search: from the input of the run that has each, as only histories have it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from temporalio.client import Client

from hookkeeper import ids
from hookkeeper.crypto.keyring import CipherError
from hookkeeper.messages.event import EventInput
from hookkeeper.registry.index.listing import ListedEvent
from hookkeeper.temporal.events.run_state import input_of
from hookkeeper.temporal.events.shared_runs import SharedRun, find_shared_run
from hookkeeper.temporal.server.error_translation import not_found_suppressed, translated_errors
from hookkeeper.temporal.server.visibility import read_all


class DataReads:
    """Raises the errors of `hookkeeper.temporal.server.error_translation`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def matching(self, rows: Sequence[ListedEvent], matches: Callable[[Any, str], bool]) -> list[ListedEvent]:
        """Return those of a tenant's events that match by their data and id. One that is gone does not, nor one whose
        key is not set.

        A shared run is read once for all its events, and what was read is not kept.
        """
        by_run: dict[str, list[ListedEvent]] = {}
        for row in rows:
            by_run.setdefault(row.shared_run or ids.workflow_id(row.tenant, row.id), []).append(row)

        async def find_in(events: list[ListedEvent]) -> list[str]:
            shared_run = events[0].shared_run
            run = await self._shared_run(shared_run) if shared_run else None
            found: list[str] = []
            for row in events:
                event = (run and run.event(row.tenant, row.id)) or await self._own(row)
                if event and matches(event.data, row.id):
                    found.append(row.id)
                await asyncio.sleep(0)  # data can be large: others go on in between
            return found

        async with translated_errors():
            found = {id_ for ids_ in await read_all(by_run.values(), find_in) for id_ in ids_}
        return [row for row in rows if row.id in found]

    async def _shared_run(self, name: str) -> SharedRun | None:
        with suppress(CipherError):
            return await find_shared_run(self._client, name)
        return None

    async def _own(self, row: ListedEvent) -> EventInput | None:
        """Return the event as its own run has it, not an earlier one with its id."""
        for id_ in (ids.workflow_id(row.tenant, row.id), ids.run_apart(row.tenant, row.id, row.accepted_at)):
            with not_found_suppressed(), suppress(CipherError):
                event = await input_of(self._client, self._client.get_workflow_handle(id_), EventInput)
                if event.accepted_at == row.accepted_at:
                    return event
        return None
