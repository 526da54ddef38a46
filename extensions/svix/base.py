"""Shared parts of the routes of Svix's API: models in camel case, pages, objects in paths, idempotency keys.

The routes call the same services as those of `/v1`, with the same requests. They raise the same errors, which
`extensions.svix.errors` writes in Svix's form.
"""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

from fastapi import Depends, Header, Path, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access import GuardedRoute
from api.cursors import PageCursor, bad_cursor
from api.deps import CallerDep, StoreDep, TenantsDep
from api.state import state_of
from extensions.svix.errors import PREFIX, untranslatable
from hookkeeper.content.search_terms import CHANNEL, Key
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.models import Tenant, Webhook
from hookkeeper.registry.tenants.portal import ID_PREFIX
from hookkeeper.registry.tenants.tenants import BEING_DELETED
from hookkeeper.services.caller import Caller
from hookkeeper.services.errors import NotAllowed, NotFound
from hookkeeper.services.fields import EVENT_ID, TENANT_PATTERN, GivenTime, RequestModel
from hookkeeper.services.tenants.tenants import TenantService
from hookkeeper.services.webhooks.webhooks import require

BRACKETS = re.compile(rb"(?<=event_types)(\[\d*\]|%5B\d*%5D)=", re.IGNORECASE)
MAX_LIMIT = 250
PATIENCE = 10.0
"""Seconds for which a request of a key that is over its rate waits. Then it gets 429; clients give up after 15."""
Item = TypeVar("Item")
Row = TypeVar("Row")
Ordering = Literal["ascending", "descending"]
SvixTime = Annotated[GivenTime, BeforeValidator(lambda given: str(given).replace(" UTC", "Z"))]
"""A time, also as Rust writes it: `2026-01-02 03:04:05 UTC`."""
ReadRows = Callable[[int, str | None, bool], Awaitable[tuple[list[Row], str | None]]]
"""Reads up to `limit` rows after a cursor, in ascending order if the flag is true. Returns them and the next cursor."""
BACKWARDS = "-"
"""The prefix of an iterator that reads backwards. In a signed iterator, it is part of the signed text."""


class SvixPaths:
    """Middleware that accepts a slash at the end of a path and brackets in names of lists in queries, as Svix does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(f"{PREFIX}/"):
            scope["path"] = scope["path"].rstrip("/")
            scope["query_string"] = BRACKETS.sub(b"=", scope["query_string"])
        await self._app(scope, receive, send)


class SvixCors(CORSMiddleware):
    """Middleware that lets scripts of any page use Svix's API, and no other. Cookies have no effect there."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, allow_origins=("*",), allow_methods=("*",), allow_headers=("*",))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_svix = scope["type"] == "http" and scope["path"].startswith(f"{PREFIX}/")
        await (super().__call__ if is_svix else self.app)(scope, receive, send)


class SvixRoute(GuardedRoute):
    """A route for Svix's clients. They send what later versions know, repeat no request that is over a rate, and run in
    browsers with a token of the portal.
    """

    takes_any_query = True

    async def authenticate(self, request: Request, scopes: frozenset[str]) -> Caller:
        authenticator = state_of(request).authenticator
        return await authenticator.authenticate(request, scopes, takes_tokens=True, patience=PATIENCE)


async def with_key(caller: CallerDep) -> None:
    """Raise NotAllowed for a token of the portal."""
    if caller.key_id.startswith(ID_PREFIX):
        raise NotAllowed("A token of the portal does not allow this: a key is required.")


WITH_KEY = Depends(with_key)
"""For routes that need more than to be the application's."""
ROUTES: dict[str, Any] = {"prefix": PREFIX, "route_class": SvixRoute, "include_in_schema": False}
"""Arguments of each router of Svix's API. The routes are not in our OpenAPI document: Svix publishes its own."""


class In(RequestModel):
    """Base of the models of requests. The request of `/v1` that a model is translated to checks its values. What is
    unknown is ignored, as at Svix: clients are newer than the server.
    """

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")


class Out(BaseModel):
    """Base of the models of answers."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Identified(Out):
    id: str


IdentifiedItem = TypeVar("IdentifiedItem", bound=Identified)


class ListResponse(BaseModel, Generic[Item]):
    data: list[Item]
    iterator: str | None
    prevIterator: str | None  # noqa: N815 - an alias generator does not reach the models of items
    done: bool
    """Whether the list ends here, in the direction of the request."""


class Paging(NamedTuple):
    """The page that a request names: the one after an item of the list, or before it."""

    limit: int
    iterator: str
    """Empty for the first page."""
    key: bytes
    path: str

    async def by_cursor(
        self, order: Ordering, read: ReadRows[Row], at: Callable[[Row], str], show: Callable[[Row], Item]
    ) -> ListResponse[Item]:
        """Read a page. `at` returns the cursor of a row; iterators are signed."""
        signed = PageCursor(self.key, self.path, self.iterator or None)
        page = await self._replace(iterator=signed.start or "")._read(order, read, at)
        return ListResponse(
            data=[show(row) for row in page.data],
            iterator=signed.page((), page.iterator).next_cursor,
            prevIterator=signed.page((), page.prevIterator).next_cursor,
            done=page.done,
        )

    async def by_id(self, read: ReadRows[IdentifiedItem]) -> ListResponse[IdentifiedItem]:
        """Read a page of a list that has one order. Iterators are ids."""
        return await self._read("descending", read, lambda item: item.id)

    async def of_whole(self, items: list[IdentifiedItem]) -> ListResponse[IdentifiedItem]:
        """Make a page from all items of a list. Raises Malformed for an iterator with an unknown id."""

        async def read(limit: int, start: str | None, is_backwards: bool) -> tuple[list[IdentifiedItem], str | None]:
            ordered = items[:: -1 if is_backwards else 1]
            ids = [item.id for item in ordered]
            if start and start not in ids:
                raise bad_cursor()
            begin = ids.index(start) + 1 if start else 0
            found = ordered[begin : begin + limit]
            return found, found[-1].id if len(ordered) > begin + limit else None

        return await self.by_id(read)

    async def _read(self, order: Ordering, read: ReadRows[Row], at: Callable[[Row], str]) -> ListResponse[Row]:
        start, is_backwards = self.iterator.removeprefix(BACKWARDS), self.iterator.startswith(BACKWARDS)
        rows, more = await read(self.limit, start or None, (order == "ascending") != is_backwards)
        near, far = (at(rows[0]), more or at(rows[-1])) if rows else (None, more)
        if is_backwards:
            rows, near, far = rows[::-1], far, near
        return ListResponse(data=rows, iterator=far, prevIterator=near and BACKWARDS + near, done=more is None)


async def _paging(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    iterator: str = "",
    with_content: bool = True,
) -> Paging:
    """Read the parameters of a page. `with_content` has no effect in lists without contents."""
    return Paging(limit, iterator, state_of(request).cursor_key, request.url.path)


PagingDep = Annotated[Paging, Depends(_paging)]


UNKNOWN_APPLICATION = "There is no such application."


def check_name(app_id: str) -> None:
    """Raise NotFound for what can be no id of an application."""
    if not re.fullmatch(TENANT_PATTERN[1:-1], app_id, re.ASCII):
        raise NotFound(UNKNOWN_APPLICATION)


async def find_application(app_id: str, tenants: TenantService) -> Tenant:
    """Return an application. Raises NotFound, also if the key belongs to another one."""
    check_name(app_id)
    tenant = await tenants.get(app_id)
    if is_leaving(tenant):
        raise NotFound(UNKNOWN_APPLICATION)
    return tenant


def is_leaving(tenant: Tenant) -> bool:
    """Return whether an application is being deleted."""
    return tenant.suspended_at is not None and tenant.reason == BEING_DELETED


async def _application(app_id: str, tenants: TenantsDep) -> Tenant:
    return await find_application(app_id, tenants)


Application = Annotated[Tenant, Depends(_application)]


async def find_endpoint(app: Tenant, endpoint_id: str, store: StoreDep) -> Webhook | None:
    """Return an endpoint of an application by its id or uid, or None."""
    if not re.fullmatch(EVENT_ID[1:-1], endpoint_id, re.ASCII):
        return None
    return await store.webhooks.get(endpoint_id, app.id)


async def _endpoint(app: Application, endpoint_id: str, store: StoreDep) -> Webhook:
    return require(await find_endpoint(app, endpoint_id, store))


Endpoint = Annotated[Webhook, Depends(_endpoint)]
MessageId = Annotated[str, Path(alias="msg_id", pattern=EVENT_ID)]


class MessageFilter(NamedTuple):
    """The conditions of a list of messages."""

    before: datetime | None
    after: datetime | None
    channel: str | None
    event_types: tuple[str, ...]

    def search(self, app: Tenant, **others: Any) -> Search:
        """Return the search for an application's messages, with further conditions."""
        keys = (Key(CHANNEL, self.channel),) if self.channel else ()
        found = Search(tenant=app.id, types=self.event_types, since=self.after, until=self.before, keys=keys)
        return replace(found, **others)


async def _message_filter(
    before: SvixTime | None = None,
    after: SvixTime | None = None,
    channel: Annotated[str | None, Query(max_length=128)] = None,
    event_types: Annotated[list[str] | None, Query(max_length=100)] = None,
    tag: Annotated[str, Query(), untranslatable("messages have no tags: use channel")] = "",
) -> MessageFilter:
    """Read the filter. Clients send several event types as one text with commas, or repeat the parameter."""
    types = [name for given in event_types or () for name in given.split(",") if name]
    return MessageFilter(before, after, channel, tuple(types))


MessageFilterDep = Annotated[MessageFilter, Depends(_message_filter)]


IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=256)]


async def mac_of_key(request: Request, idempotency_key: IdempotencyKey = None) -> str | None:
    """Return a MAC of path and idempotency key. A new object gets its id from it, so a repetition finds the object."""
    if idempotency_key is None:
        return None
    meant = f"idempotency\0{request.url.path}\0{idempotency_key}"
    return hmac.new(state_of(request).cursor_key, meant.encode(), hashlib.sha256).hexdigest()


KeyMac = Annotated[str | None, Depends(mac_of_key)]
