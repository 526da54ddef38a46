"""What operators read: liveness and readiness, the state of the whole installation, the audit log."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from api.access import GuardedRoute, needs
from api.deps import AnyTenant, AuditDep, Cursor, GatewayDep, Limit, StoreDep, SystemDep
from api.problems import KEYED, responses
from api.state import state_of
from hookkeeper.findings import Level, worst
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
    responses=_answers({"status": "ready", "temporal": "running", "workers": "running"}) | responses(503),
)
async def readyz(request: Request, gateway: GatewayDep, store: StoreDep) -> dict[str, str]:
    """Answer 200 if events can be accepted: the registry is available, the namespace is not known to lack Hookkeeper's
    search attributes or to belong to another registry, and the process is not about to stop.

    `temporal` is `away` while it does not answer, or has not stored the latest events: they wait for it. `workers` is
    `none` while no worker asks for tasks, and `unknown` without Temporal.
    """
    if state_of(request).stopping.is_set():
        raise Unavailable("this process is about to stop")
    readiness = gateway.readiness
    is_away, _, _ = await asyncio.gather(readiness.is_away(), store.ready(), readiness.check_namespace())
    if is_away:
        return {"status": "ready", "temporal": "away", "workers": "unknown"}
    return {"status": "ready", "temporal": "running", "workers": "running" if await readiness.has_worker() else "none"}


class WaitingDeliveries(ResponseModel):
    oldest_pending: float
    """Seconds for which the oldest delivery that only waits for a worker has been due: since its event was accepted, or
    its `deliver_at`. 0 without any."""
    held: int
    """At most 20,000 held and retrying deliveries, and events that are not started, are counted."""
    retrying: int
    not_started: int
    """Events that were accepted some seconds ago and have no run: Temporal is away, or was."""


class WebhookCounts(ResponseModel):
    """Each webhook is counted once, by the status of its health."""

    new: int
    healthy: int
    slow: int
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


class FindingView(ResponseModel):
    level: Level
    check: str
    """What was examined, such as `temporal` or `certificates`."""
    text: str
    remedy: str
    """A command, or the setting to correct; empty if all is well."""


class DoctorReport(ResponseModel):
    status: Level
    """That of the worst finding."""
    findings: list[FindingView]


@router.get("/doctor", summary="Examine the installation", dependencies=[needs("admin")])
async def show_doctor(request: Request) -> DoctorReport:
    """Examine Temporal, the registry, workers, keys, clocks, certificates and outgoing connections as this API process
    sees them, as `hookkeeper doctor` does. A report is shown for ten seconds.
    """
    findings = await state_of(request).report.read()
    return DoctorReport(status=worst(findings), findings=[FindingView.of(finding) for finding in findings])


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
