"""Applications, which are tenants, and access to the portal of one."""

import secrets
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from api.access import needs, page_scopes
from api.deps import AuthenticatorDep, CallerDep, SettingsDep, StoreDep, TenantsDep
from extensions.svix.base import (
    ROUTES,
    WITH_KEY,
    Application,
    In,
    KeyMac,
    ListResponse,
    Ordering,
    Out,
    PagingDep,
    find_application,
    is_leaving,
)
from extensions.svix.errors import PREFIX, translated, untranslatable
from hookkeeper.registry.models import Tenant
from hookkeeper.registry.storage.paging import write_cursor
from hookkeeper.registry.tenants.portal import ID_PREFIX
from hookkeeper.registry.tenants.tenants import TENANTS_BY_AGE, TenantExists
from hookkeeper.services.errors import Invalid, NotFound
from hookkeeper.services.fields import Time
from hookkeeper.services.tenants.portal_links import NewPortalLink, end_session, make_link, make_token
from hookkeeper.services.tenants.tenants import NewTenant, TenantChanges, TenantService

router = APIRouter(**ROUTES)
GENERATED = "app_"
"""The prefix of ids of applications without a uid."""
ANY_READ = needs("events:read", "webhooks:read")
Throttled = Annotated[Any, untranslatable("an application has no common rate: set throttleRate of its endpoints")]


class ApplicationPatch(In):
    name: Any = None
    uid: str | None = None
    metadata: Any = None
    throttle_rate: Throttled = None
    rate_limit: Throttled = None


class ApplicationIn(ApplicationPatch):
    name: str = Field(min_length=1)


class ApplicationOut(Out):
    id: str
    uid: str | None
    name: str
    metadata: dict[str, str]
    throttle_rate: None = None
    rate_limit: None = None
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, row: Tenant) -> "ApplicationOut":
        return cls(
            id=row.id,
            uid=_uid(row.id),
            name=row.name or row.id,
            metadata=row.metadata_,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class PortalAccessIn(In):
    application: ApplicationIn | None = None
    expiry: int | None = None
    read_only: bool | None = None
    feature_flags: Annotated[Any, untranslatable("event types have no feature flags")] = None
    session_id: Annotated[Any, untranslatable("a session of the portal has a generated id")] = None
    capabilities: Annotated[Any, untranslatable("use readOnly, or POST /v1/portal-links")] = None


class PortalAccessOut(Out):
    url: str
    token: str


def _fields(given: ApplicationPatch) -> dict[str, Any]:
    """Return name and metadata, if they were sent."""
    return {name: value for name in ("name", "metadata") if (value := getattr(given, name)) is not None}


def _uid(app_id: str) -> str | None:
    return None if app_id.startswith(GENERATED) else app_id


def _check_uid(uid: str | None, app_id: str) -> None:
    """Raise Invalid if the uid is not that of the application."""
    if uid not in (app_id, _uid(app_id)):
        raise Invalid.field("uid", "is the id of the application, and cannot be changed")


async def add(given: ApplicationIn, app_id: str, tenants: TenantService, *, again: bool = True) -> Tenant:
    """Add an application. Raises what `TenantService.add` does."""
    return await tenants.add(translated(NewTenant, id=app_id, **_fields(given)), again=again)


async def find_or_add(app_id: str, described: ApplicationIn | None, tenants: TenantService) -> None:
    """Add the application that a request describes, unless it exists. Raises Invalid if it has another `uid`, NotFound
    if nothing describes it, and TenantDeleted if it was deleted.
    """
    try:
        await find_application(app_id, tenants)
    except NotFound:
        if described is None:
            raise
        if described.uid != app_id:
            raise Invalid.field("application.uid", "must be the uid in the path") from None
        with suppress(TenantExists):
            await add(described, app_id, tenants, again=False)


@router.get("/app", dependencies=[ANY_READ, WITH_KEY])
async def list_applications(
    tenants: TenantsDep, paging: PagingDep, order: Ordering = "ascending"
) -> ListResponse[ApplicationOut]:
    """List applications. The key of an application finds its own only."""

    async def read(limit: int, cursor: str | None, oldest_first: bool) -> tuple[list[Tenant], str | None]:
        found: list[Tenant] = []
        while not found:  # all of a page may be being deleted
            rows, cursor = await tenants.page((), limit, cursor, oldest_first=oldest_first)
            found = [row for row in rows if not is_leaving(row)]
            if cursor is None:
                break
        return found, cursor

    return await paging.by_cursor(order, read, lambda row: write_cursor(row, TENANTS_BY_AGE), ApplicationOut.of)


@router.post("/app", status_code=201, dependencies=[needs("admin")])
async def create_application(
    new: ApplicationIn, tenants: TenantsDep, response: Response, mac: KeyMac, get_if_exists: bool = False
) -> ApplicationOut:
    """Add an application; with `get_if_exists`, show the one that has the uid."""
    app_id = new.uid or GENERATED + (mac or secrets.token_hex(12))[:24]
    try:
        return ApplicationOut.of(await add(new, app_id, tenants))
    except TenantExists:
        if new.uid and not get_if_exists:
            raise
    response.status_code = 200 if new.uid else 201
    return ApplicationOut.of(await tenants.get(app_id))


@router.get("/app/{app_id}", dependencies=[ANY_READ])
async def show_application(app: Application) -> ApplicationOut:
    """Show an application."""
    return ApplicationOut.of(app)


@router.put("/app/{app_id}", dependencies=[needs("admin")])
async def put_application(app_id: str, new: ApplicationIn, tenants: TenantsDep, response: Response) -> ApplicationOut:
    """Replace name and metadata of an application, or add it."""
    _check_uid(new.uid or app_id, app_id)
    try:
        await find_application(app_id, tenants)
    except NotFound:
        response.status_code = 201
        return ApplicationOut.of(await add(new, app_id, tenants))
    changes = translated(TenantChanges, **{"metadata": {}} | _fields(new))
    return ApplicationOut.of(await tenants.change(app_id, changes))


@router.patch("/app/{app_id}", dependencies=[needs("admin")])
async def change_application(app: Application, given: ApplicationPatch, tenants: TenantsDep) -> ApplicationOut:
    """Change the fields that are sent."""
    if "uid" in given.model_fields_set:
        _check_uid(given.uid, app.id)
    return ApplicationOut.of(await tenants.change(app.id, translated(TenantChanges, **_fields(given))))


@router.delete("/app/{app_id}", status_code=204, dependencies=[needs("admin")])
async def delete_application(app: Application, tenants: TenantsDep) -> None:
    """Delete an application with all its data, in the background."""
    await tenants.delete(app.id)


@router.post("/auth/dashboard-access/{app_id}", dependencies=[needs("admin", "webhooks:write"), WITH_KEY])
@router.post("/auth/app-portal-access/{app_id}", dependencies=[needs("admin", "webhooks:write"), WITH_KEY])
async def open_portal(
    request: Request,
    app_id: str,
    tenants: TenantsDep,
    store: StoreDep,
    caller: CallerDep,
    settings: SettingsDep,
    given: PortalAccessIn | None = None,
) -> PortalAccessOut:
    """Make a link to the portal, which opens once, and a token for scripts of the application's pages."""
    given = given or PortalAccessIn()
    await find_or_add(app_id, given.application if "admin" in caller.scopes else None, tenants)
    capabilities = ["view"] if given.read_only else ["view", "manage_webhooks", "redeliver"]
    fields = {"tenant": app_id, "capabilities": capabilities, "session_lifetime": given.expiry}
    new = translated(NewPortalLink, **{name: value for name, value in fields.items() if value is not None})
    link, url = await make_link(new, page_scopes(request.app, new.path), store, caller, settings)
    return PortalAccessOut(url=url, token=await make_token(link, store, caller))


@router.post("/auth/logout", status_code=204, dependencies=[ANY_READ])
async def log_out(store: StoreDep, caller: CallerDep, authenticator: AuthenticatorDep) -> None:
    """End the session of a token. A key stays: `/v1/keys` revokes keys."""
    if caller.key_id.startswith(ID_PREFIX):
        await end_session(caller.key_id, store, caller, authenticator.forget_link)


health_router = APIRouter(prefix=PREFIX, include_in_schema=False)


@health_router.api_route("/health", methods=["GET", "HEAD"], status_code=204)
@health_router.api_route("/health/ping", methods=["GET", "HEAD"], status_code=204)
async def ping() -> None:
    """Answer 204 while the process runs."""
