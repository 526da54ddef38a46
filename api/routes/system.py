"""What operators read: liveness and readiness, the state of the whole installation, the audit log."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from api.access import GuardedRoute, needs
from api.deps import AnyTenant, AuditDep, Cursor, GatewayDep, Limit, StoreDep, SystemDep
from api.problems import KEYED, responses
from api.state import state_of
from hookkeeper.services.fields import GivenTime, Page, ResponseModel, Time
from hookkeeper.temporal.server.error_translation import Unavailable
from hookkeeper.version import VERSION

health_router = APIRouter(tags=["health"])
router = APIRouter(prefix="/v1/system", tags=["statistics"], route_class=GuardedRoute, responses=KEYED)
audit_router = APIRouter(
    prefix="/v1/audit", tags=["audit"], route_class=GuardedRoute, responses=KEYED, dependencies=[needs("admin")]
)


def _answers(example: dict[str, str]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"examples": {"ok": {"value": example}}}}}}


@health_router.get("/healthz", summary="Check liveness", responses=_answers({"status": "ok", "version": VERSION}))
async def healthz() -> dict[str, str]:
    """Answer 200 as long as the process runs."""
    return {"status": "ok", "version": VERSION}


@health_router.get(
    "/readyz",
    summary="Check readiness",
    responses=_answers({"status": "ready", "workers": "running"}) | responses(503),
)
async def readyz(request: Request, gateway: GatewayDep, store: StoreDep) -> dict[str, str]:
    """Answer 200 if Temporal and the registry are available, the namespace has Hookkeeper's search attributes and
    belongs to this registry, Temporal has stored the latest events, and the process is not about to stop.

    `workers` is `none` while no worker asks for tasks: events are accepted, and wait.
    """
    if state_of(request).stopping.is_set():
        raise Unavailable("this process is about to stop")
    _, _, has_worker = await asyncio.gather(gateway.readiness.ping(), store.ready(), gateway.readiness.has_worker())
    await gateway.readiness.check_namespace()
    gateway.readiness.check_starts()
    return {"status": "ready", "workers": "running" if has_worker else "none"}


class WaitingDeliveries(ResponseModel):
    oldest_pending: float
    """Seconds for which the oldest delivery that only waits for a worker has been due: since its event was accepted, or
    its `deliver_at`. 0 without any."""
    held: int
    """At most 20,000 held and retrying deliveries are counted."""
    retrying: int


class WebhookCounts(ResponseModel):
    """Each webhook is counted once, by the status of its health."""

    new: int
    healthy: int
    degraded: int
    failing: int
    paused: int
    disabled: int


class Backlog(ResponseModel):
    """Tasks that wait for a worker, about, by task queue."""

    main: int
    """Steps of runs, and first attempts."""
    retry: int
    bulk: int
    """Releases and recoveries."""


class SystemView(ResponseModel):
    as_of: Time
    deliveries: WaitingDeliveries | None
    webhooks: WebhookCounts | None
    backlog: Backlog | None


@router.get("", dependencies=[needs("admin")])
async def show_system(system: SystemDep) -> SystemView:
    """Show what waits in the whole installation, and its webhooks by state.

    It is read at most every 15 seconds. What cannot be read is null: `deliveries` and `webhooks` while the registry is
    unavailable, `backlog` while Temporal is. The metrics of API processes show the same.
    """
    return SystemView.of(await system.read())


class AuditRecord(ResponseModel):
    id: str
    at: Time
    key_id: str
    """The key that was used; `admin` for the admin key, `hookkeeper` for what Hookkeeper does itself."""
    key_name: str
    action: str
    """For example `webhook.update`, `key.revoke` or `event.cancel`."""
    object_id: str
    tenant: str | None
    detail: dict[str, Any]
    """`fields` has the names of the fields that were set, never their values."""


@audit_router.get("")
async def list_audit_log(
    cursor: Cursor,
    audit: AuditDep,
    tenant: AnyTenant,
    since: Annotated[GivenTime | None, Query(description="At this time or later")] = None,
    until: Annotated[GivenTime | None, Query(description="Before this time")] = None,
    limit: Limit = 50,
) -> Page[AuditRecord]:
    """List the changes of keys, webhooks, event types, suppressions and schedules, and the commands, newest first."""
    found, next_cursor = await audit.page(tenant=tenant, since=since, until=until, limit=limit, cursor=cursor.start)
    return cursor.page([AuditRecord.of(entry) for entry in found], next_cursor)
