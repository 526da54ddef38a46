"""Erasure: what is kept of an event goes, and with it its log."""

from fastapi import APIRouter

from api.access import GuardedRoute, needs
from api.deps import AuditDep, CallerDep, GatewayDep, Tenant
from api.fields import Given
from api.problems import KEYED, responses
from api.routes.events import PathId

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=GuardedRoute, responses=KEYED)


class Erased(Given):
    """What is being erased."""

    id: str
    runs: int
    """Runs of the event that are being deleted: one, one more for each redelivery, and those of its parts."""


@router.delete("/{event_id}/data", status_code=202, responses=responses(404, 409), dependencies=[needs("events:write")])
async def erase_event(
    event_id: PathId, tenant: Tenant, gateway: GatewayDep, audit: AuditDep, caller: CallerDep
) -> Erased:
    """Erase a finished event: its data, its deliveries, its log. An open one must be cancelled first (409).

    Temporal deletes in the background, within half a minute as a rule; then the event is unknown (404), and its id is
    free again: the same POST would deliver it anew. Repeat the request where it was answered with 503.
    """
    runs = await gateway.erase(tenant, event_id)
    await audit.keep(caller.did("event.erase", event_id, tenant))
    return Erased(id=event_id, runs=runs)
