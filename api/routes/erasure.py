"""Erasure: what is kept of an event goes, and with it its log."""

from fastapi import APIRouter

from api.access import GuardedRoute, needs
from api.deps import AuditDep, CallerDep, GatewayDep, Tenant
from api.fields import ResponseModel
from api.problems import KEYED, responses
from api.routes.events import PathId

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=GuardedRoute, responses=KEYED)


class Erased(ResponseModel):
    """The erasure has started."""

    id: str
    runs: int
    """Workflow runs that are being deleted: one, one more for each redelivery, and those of its parts."""


@router.delete("/{event_id}/data", status_code=202, responses=responses(404, 409), dependencies=[needs("events:write")])
async def erase_event(
    event_id: PathId, tenant: Tenant, gateway: GatewayDep, audit: AuditDep, caller: CallerDep
) -> Erased:
    """Erase a finished event: its data, its deliveries and its log. Cancel an open event first (409).

    Temporal deletes in the background, usually within 30 seconds. After that the event is unknown (404), and its id can
    be used again: the same POST would deliver it again. Repeat the request after a 503.
    """
    runs = await gateway.erase(tenant, event_id)
    await audit.keep(caller.did("event.erase", event_id, tenant))
    return Erased(id=event_id, runs=runs)
