"""The state of the whole installation."""

from fastapi import APIRouter

from api.access import GuardedRoute, needs
from api.deps import SystemDep
from api.problems import KEYED
from api.schemas.system import SystemView

router = APIRouter(prefix="/v1/system", tags=["statistics"], route_class=GuardedRoute, responses=KEYED)


@router.get("", dependencies=[needs("admin")])
async def show_system(system: SystemDep) -> SystemView:
    """Show what waits in the whole installation, and its webhooks by state.

    It is read at most every 15 seconds. What cannot be read is null: `deliveries` and `webhooks` while the registry is
    unavailable, `backlog` while Temporal is. The metrics of API processes show the same.
    """
    return SystemView.of(await system.read())
