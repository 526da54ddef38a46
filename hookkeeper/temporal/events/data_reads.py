"""Read the data of listed events, for a search: from the input of the run that has each, as only histories have it."""

from collections.abc import Sequence
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
    """Methods raise the errors of `hookkeeper.temporal.server.error_translation`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def read(self, rows: Sequence[ListedEvent]) -> list[Any]:
        """Return the data of each event; None if it is gone, or its key is not set."""
        async with translated_errors():
            names = list({row.shared_run: None for row in rows if row.shared_run})
            runs = dict(zip(names, await read_all(names, self._shared_run), strict=True))

            async def data_of(row: ListedEvent) -> Any:
                run = runs.get(row.shared_run or "")
                event = (run and run.event(row.tenant, row.id)) or await self._own(row)
                return event and event.data

            return await read_all(rows, data_of)

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
