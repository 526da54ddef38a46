"""The audit log: changes and commands, with their keys and times."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.access import GuardedRoute, needs
from api.deps import AnyTenant, AuditDep, Cursor, Limit
from api.problems import KEYED
from hookkeeper.services.fields import GivenTime, Page, ResponseModel, Time

router = APIRouter(
    prefix="/v1/audit", tags=["audit"], route_class=GuardedRoute, responses=KEYED, dependencies=[needs("admin")]
)


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


@router.get("")
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
