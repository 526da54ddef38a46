"""Whether an event has been delivered, for whoever waits for that."""

import asyncio

from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids
from hookkeeper.commands import Refused
from hookkeeper.temporal.error_translation import UnknownEvent
from hookkeeper.temporal.gateway import Gateway


class Deliveries:
    """The runs of events, as a firing sees them."""

    def __init__(self, client: Client, gateway: Gateway) -> None:
        self._client = client
        self._gateway = gateway

    async def have_ended(self, tenant: str, event_id: str, patience: float) -> bool:
        """Tell whether the delivery of an event is over, well or not; wait up to `patience` seconds for that.

        One that Temporal no longer knows is over. Raises `RPCError` where Temporal is out of reach.
        """
        try:
            async with asyncio.timeout(patience):
                await self._client.get_workflow_handle(ids.workflow_id(tenant, event_id)).result()
        except WorkflowFailureError:
            return True
        except TimeoutError:
            return False
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
        return True

    async def cancel(self, tenant: str, event_id: str) -> None:
        """Cancel what is open of an event. One that is over, or was never accepted, stays as it is."""
        try:
            await self._gateway.command(tenant, event_id, "cancel", None)
        except (Refused, UnknownEvent):
            return
