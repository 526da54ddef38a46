"""The hand-over of an event from a shared run to its own run, if its workflow id is taken.

The registry recognises an id by the event's row. If the row is lost, a second event with the id may be accepted while
the run of the first one is open.
"""

import structlog
from temporalio import activity
from temporalio.client import Client

from hookkeeper import ids, metrics
from hookkeeper.messages.shared_run import HandOver
from hookkeeper.temporal.run_state import digest_of, find_run

log = structlog.get_logger("hookkeeper.events")


class HandOverActivities:
    """Raises Temporal's `RPCError`, which is retried."""

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal

    @activity.defn
    async def is_in_open_run(self, event: HandOver) -> bool:
        """Return whether the run with the event's workflow id has the same event: one with the same content."""
        run = await find_run(self._temporal, ids.workflow_id(event.tenant, event.event_id))
        if run is not None and await digest_of(run) == event.digest:
            return True
        metrics.ID_CLASHES.inc()
        log.warning("two open events have one id", tenant=event.tenant, event_id=event.event_id)
        return False
