"""Limits of a process: tasks that wait, a tenant's requests at once, and how often held events are counted."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime

from cachetools import TTLCache
from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.authenticator import address_of
from api.errors import as_problem
from api.problems import as_response
from api.server.refusals import BUSY
from hookkeeper import metrics
from hookkeeper.limits import TenantLimit, TooManyWaiting
from hookkeeper.services.caller import Caller
from hookkeeper.services.errors import RateLimited
from hookkeeper.services.rate_limits import RateLimits
from hookkeeper.temporal.server.error_translation import Unavailable
from hookkeeper.temporal.server.readiness import Readiness
from hookkeeper.tenant_limits import FORMS, POSTS, SLOW_REFUSALS
from hookkeeper.times import utc_now

CACHE_TIME = 2.0
"""Seconds for which a count is used: to count many takes a while."""
MAX_CACHED = 10_000
RETRY_AFTER = 5
"""Seconds."""
WAITING_PER_SLOT = 10
"""Requests that may wait for each slot."""
REFUSAL_TIME = 2.0
"""Seconds until one is refused: a client that waits for the answer sends fewer."""
POST_TIMEOUT = 2.4
"""Seconds for which a further post waits. To refuse it at once would cost more: impatient clients repeat it at once."""


@contextmanager
def slot_now(
    limit: TenantLimit, tenant: str, refusal: str, retry_after: float, counted: metrics.Limit | None = None
) -> Iterator[None]:
    """Hold a slot of a tenant until the block ends. Raises RateLimited, and counts that, if none is free now."""
    if not limit.acquire_now(tenant):
        if counted:
            metrics.count_limit(counted)
        raise RateLimited(refusal, retry_after)
    try:
        yield
    finally:
        limit.release(tenant)


class BacklogLimit:
    """Back-pressure: while more tasks wait for a worker than the operator allows, new events are refused."""

    def __init__(self, readiness: Readiness, at_most: int | None) -> None:
        self._readiness = readiness
        self._at_most = at_most
        self._waiting = 0
        self._counted_at = float("-inf")

    async def check(self) -> None:
        """Raise RateLimited if more waits than is allowed. While Temporal does not answer, the latest count counts."""
        if self._at_most is None:
            return
        now = time.monotonic()
        if now - self._counted_at > CACHE_TIME:
            self._counted_at = now  # other requests use the previous count meanwhile
            with suppress(Unavailable):
                self._waiting = await self._readiness.count_waiting()
        if self._waiting > self._at_most:
            metrics.count_limit("backlog")
            raise RateLimited(
                "Too many deliveries are waiting: no new events are accepted until there are fewer.", RETRY_AFTER
            )


class FormRefusals:
    """Refuses forms without a session of an address that sends many: slowly, and without rendering a page."""

    def __init__(self) -> None:
        self._limits = RateLimits()
        self._held = SLOW_REFUSALS.limit()

    async def count(self, request: Request) -> Response | None:
        """Count a form; beyond the rate of its address, return the refusal."""
        try:
            await self._limits.count(
                address_of(request), FORMS.rate, "Too many forms from this address had no session."
            )
        except RateLimited as error:
            return await self.refuse(request, error)
        return None

    async def refuse(self, request: Request, error: RateLimited) -> Response:
        """Return the refusal, after a moment."""
        address = address_of(request)
        if self._held.acquire_now(address):
            try:
                await asyncio.sleep(REFUSAL_TIME)
            finally:
                self._held.release(address)
        return as_response(as_problem(error))


class EventDoor:
    """Middleware that lets few posts of events in at once. The others wait before anything is read or looked up."""

    def __init__(self, app: ASGIApp, takes_event: Callable[[str], bool]) -> None:
        """`takes_event` tells whether events are posted to a path."""
        self._app = app
        self._takes_event = takes_event
        self._places = POSTS.limit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not self._takes_event(scope["path"]):
            await self._app(scope, receive, send)
            return
        key = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"), "")
        if not self._places.acquire_now(key):
            try:
                async with asyncio.timeout(POST_TIMEOUT):
                    await self._places.acquire(key)
            except TimeoutError:
                metrics.count_limit("posts")
                await BUSY(scope, receive, send)
                return
        try:
            await self._app(scope, receive, send)
        finally:
            self._places.release(key)


class RequestConcurrency:
    """Limits the requests of each tenant, so that a busy one delays only itself.

    Keys of all tenants belong to the operator and have no limit.
    """

    def __init__(self, at_most: int) -> None:
        self.limit = TenantLimit(per_tenant=at_most, max_waiting=WAITING_PER_SLOT * at_most)

    @asynccontextmanager
    async def slot(self, caller: Caller) -> AsyncIterator[None]:
        """Hold a slot of the caller's tenant until the block ends. Raises RateLimited."""
        if caller.tenant is None:
            yield
            return
        try:
            async with self.limit.slot(caller.tenant):
                yield
        except TooManyWaiting:
            metrics.count_limit("tenant_requests")
            raise RateLimited(
                f"Tenant {caller.tenant} has too many waiting requests: {self.limit.per_tenant} are handled at once.",
                retry_after=1,
            ) from None


class HeldCounts:
    """How many events each webhook holds, cached for a moment."""

    def __init__(self) -> None:
        self._known: TTLCache[str, tuple[int, datetime]] = TTLCache(MAX_CACHED, ttl=CACHE_TIME)
        self._counting = asyncio.Lock()

    async def of(self, webhook_id: str, count: Callable[[str], Awaitable[int]]) -> tuple[int, datetime]:
        """Return the count and the time when it was made."""
        async with self._counting:
            known = self._known.get(webhook_id)
            if known is None:
                known = self._known[webhook_id] = await count(webhook_id), utc_now()
            return known
