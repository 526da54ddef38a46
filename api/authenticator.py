"""Authenticates requests by their keys, before their bodies are read."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import NoReturn, TypeVar

import structlog
from cachetools import LRUCache, TTLCache
from fastapi import Request

from api.problems import Forbidden, Unauthorized
from hookkeeper.crypto.tokens import is_token
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.tenants.api_keys import PREFIX, USE_INTERVAL, ApiKey, ApiKeys, digest_of
from hookkeeper.registry.tenants.portal import ID_PREFIX, TOKEN_PREFIX, PortalSession, PortalSessions
from hookkeeper.services.caller import SCOPES, Caller, caller_of
from hookkeeper.services.rate_limits import RateLimits
from hookkeeper.tenant_limits import KEY_FAILURES, KEY_LOOKUPS
from hookkeeper.times import utc_now

TOO_MANY_FAILURES = "Too many requests from this address had no valid key."
UNKNOWN_FOR = 60.0
"""Seconds for which a key that was not found is refused without another lookup."""
TRUSTED = 1.0
"""Seconds for which a key that was found is not read again: a read costs as much as a small request."""
MAX_CACHED = 10_000
NOTED_EVERY = USE_INTERVAL.total_seconds()
ADMIN = Caller("admin", "HOOKKEEPER_ADMIN_KEY", None, frozenset(SCOPES))
FOR_TENANT, WITH_SCOPES = "hookkeeper-tenant", "hookkeeper-scopes"
"""Headers by which a router uses the admin key on behalf of a tenant, in a cell that the tenant has left."""
Found = TypeVar("Found", ApiKey, PortalSession)
Cache = LRUCache[str, tuple[float, Found]]
log = structlog.get_logger("hookkeeper.api")


class Authenticator:
    """Knows the admin key, and reads all others from the registry, once a second each.

    A revoked key is refused within a second, and at once in the process that revoked it.
    """

    def __init__(
        self, admin_keys: Sequence[str], keys: ApiKeys, portal: PortalSessions, rate_limit: str | None
    ) -> None:
        self._admins = [digest_of(key) for key in admin_keys]
        self._keys = keys
        self._portal = portal
        self._limits = RateLimits(rate_limit)
        self._found: LRUCache[str, tuple[float, ApiKey]] = LRUCache(MAX_CACHED)
        """By digest: the time before the last lookup, from which on the key is trusted, and what it found."""
        self._of_sessions: LRUCache[str, tuple[float, ApiKey]] = LRUCache(MAX_CACHED)
        """The same for sessions, by key id."""
        self._of_portal: LRUCache[str, tuple[float, PortalSession]] = LRUCache(MAX_CACHED)
        """The same for sessions of the portal, by their ids."""
        self._links: LRUCache[str, tuple[float, PortalSession]] = LRUCache(MAX_CACHED)
        """The same for links to the portal, by digest."""
        self._unknown: TTLCache[str, None] = TTLCache(MAX_CACHED, ttl=UNKNOWN_FOR)
        """Digests of keys and links that the registry did not have."""
        self._lookups = KEY_LOOKUPS.limit()
        """By address."""
        self._noted: TTLCache[str, None] = TTLCache(MAX_CACHED, ttl=NOTED_EVERY)
        self._noting: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Finish writing when keys were used."""
        await asyncio.gather(*self._noting)

    def forget(self, key_id: str) -> None:
        """Read a key, or a session of the portal, again at its next request."""
        for digest in [digest for digest, (_, key) in self._found.items() if key.id == key_id]:
            del self._found[digest]
        self._of_sessions.pop(key_id, None)
        self._of_portal.pop(key_id, None)

    def forget_link(self, link: PortalSession) -> None:
        """Read a link to the portal, and its session, again at the next request."""
        self._links.pop(link.digest, None)
        self._of_portal.pop(link.id, None)

    async def authenticate(
        self, request: Request, scopes: frozenset[str], *, takes_tokens: bool = False, patience: float = 0.0
    ) -> Caller:
        """Return who makes the request. Raises Unauthorized, RateLimited, and Forbidden for a key without a scope.

        A request over the rate of its key waits up to `patience` seconds.
        """
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            _refuse("A key is required: send it as `Authorization: Bearer <key>`.")
        if takes_tokens and key.strip().startswith(TOKEN_PREFIX):
            session = await self._session_of(key.strip(), request)
            return with_scope(await self.resume_portal(session, patience), scopes)
        caller = await self.identify(key.strip(), request, patience)
        if caller is ADMIN and (tenant := request.headers.get(FOR_TENANT)):
            caller = replace(ADMIN, tenant=tenant, scopes=frozenset(request.headers.get(WITH_SCOPES, "").split()))
        return with_scope(caller, scopes)

    async def resume(self, key_id: str) -> Caller:
        """Return who has begun a session with this key; the cookie proves it.

        Raises Unauthorized and RateLimited.
        """
        if key_id == ADMIN.key_id:
            return ADMIN
        return await self._counted(await self._find_by_id(key_id))

    async def _session_of(self, token: str, request: Request) -> PortalSession | None:
        """Return the session that a token proves, or None. Raises RateLimited."""
        known = None
        if is_token(token, TOKEN_PREFIX):
            known = await self._find(self._links, digest_of(token), request, self._portal.find)
        if known is None or known.is_over(utc_now()):
            await self.count_failure(request, known)
        return known

    async def resume_portal(self, session: PortalSession | None, patience: float = 0.0) -> Caller:
        """Return who uses this session of the portal. All sessions of a tenant share the default rate of a key.

        Raises Unauthorized and RateLimited.
        """
        if session is None or session.opened_at is None or session.is_over(utc_now()):
            _refuse("The session has ended.")
        await self.check_maker(session.key_id)
        await self._limits.count_for_portal(session.tenant, patience)
        return caller_of(session)

    async def check_maker(self, key_id: str) -> None:
        """Raise Unauthorized if the key that made a link or an address was revoked or has expired."""
        if key_id != ADMIN.key_id and (refusal := _refusal(await self._find_by_id(key_id))):
            _refuse(refusal)

    async def has_ended(self, caller: Caller) -> bool:
        """Return whether the key or the session of an open stream is no longer valid. It counts as no request.

        A router knows whether the key of a tenant that has left is still valid: it is asked again.
        """
        if caller.key_id == ADMIN.key_id:
            return caller.tenant is not None
        if not caller.key_id.startswith(ID_PREFIX):
            return bool(_refusal(await self._find_by_id(caller.key_id)))
        session = await self.portal_session(caller.key_id)
        if session is None or session.is_over(utc_now()):
            return True
        return session.key_id != ADMIN.key_id and bool(_refusal(await self._find_by_id(session.key_id)))

    async def count_failure(self, request: Request, known: ApiKey | PortalSession | None = None) -> None:
        """Count a request with a key or link that is not valid: if it once was, by itself. Raises RateLimited."""
        await self._limits.count(known.id if known else address_of(request), KEY_FAILURES.rate, TOO_MANY_FAILURES)

    async def identify(self, key: str, request: Request, patience: float = 0.0) -> Caller:
        """Return whose key it is. Raises Unauthorized and RateLimited."""
        digest = digest_of(key)
        if any(hmac.compare_digest(digest, admin) for admin in self._admins):
            return ADMIN
        known = None
        if is_token(key, PREFIX):
            known = await self._find(self._found, digest, request, self._keys.find)
        if _refusal(known):
            await self.count_failure(request, known)
        return await self._counted(known, patience)

    async def find_link(self, token: str, request: Request) -> PortalSession | None:
        """Return a link to the portal, even if it was opened or is over, or None."""
        if not is_token(token):
            return None
        return await self._find(self._links, digest_of(token), request, self._portal.find)

    async def _counted(self, known: ApiKey | None, patience: float = 0.0) -> Caller:
        """Return the caller with this key, whose use is counted. Raises Unauthorized and RateLimited."""
        refusal = _refusal(known)
        if known is None or refusal:
            _refuse(refusal)
        self._note_use(known.id)
        await self._limits.count_for_key(known, "requests", patience)
        return Caller(known.id, known.name, known.tenant, frozenset(known.scopes))

    async def _find(
        self, cache: Cache[Found], digest: str, request: Request, find: Callable[[str], Awaitable[Found | None]]
    ) -> Found | None:
        if digest in self._unknown:
            return None
        if digest in cache or await self._limits.has_room(address_of(request), KEY_FAILURES.rate):
            known = await _trusted(cache, digest, lambda: find(digest))
        else:
            async with self._lookups.slot(address_of(request)):
                known = await _trusted(cache, digest, lambda: find(digest))
        if known is None:
            self._unknown[digest] = None
        return known

    async def _find_by_id(self, key_id: str) -> ApiKey | None:
        return await _trusted(self._of_sessions, key_id, lambda: self._keys.get(key_id))

    async def portal_session(self, session_id: str) -> PortalSession | None:
        """Return a session of the portal, even if it is over, or None."""
        return await _trusted(self._of_portal, session_id, lambda: self._portal.get(session_id))

    def _note_use(self, key_id: str) -> None:
        """Record the time of use in the background."""
        if key_id not in self._noted:
            self._noted[key_id] = None
            task = asyncio.create_task(self._write_use(key_id))
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)

    async def _write_use(self, key_id: str) -> None:
        try:
            await self._keys.note_use(key_id)
        except RegistryUnavailable as error:
            log.warning("use of a key not recorded", key=key_id, detail=str(error))


async def _trusted(cache: Cache[Found], name: str, read: Callable[[], Awaitable[Found | None]]) -> Found | None:
    """Return what was found within the last second; otherwise read it, and keep it if there is one."""
    now = time.monotonic()
    found_at, known = cache.get(name, (0.0, None))
    if known is None or now - found_at > TRUSTED:
        known = await read()
        if known is not None:
            cache[name] = (now, known)
    return known


def with_scope(caller: Caller, scopes: frozenset[str]) -> Caller:
    """Return the caller. Raises Forbidden if it has none of the scopes."""
    if scopes.isdisjoint(caller.scopes):
        raise Forbidden(f"The key lacks the scope {' or '.join(sorted(scopes))}.")
    return caller


def address_of(request: Request) -> str:
    """Return the address of the client, by which requests without a valid key count."""
    return request.client.host if request.client else ""


def _refusal(key: ApiKey | None) -> str:
    """Return why a key is refused, or an empty text. The caller learns whether a key was revoked or has expired."""
    if key is None:
        return "The key is unknown."
    if key.revoked_at is not None:
        return "The key was revoked."
    if key.expires_at is not None and key.expires_at <= utc_now():
        return "The key has expired."
    return ""


def _refuse(detail: str) -> NoReturn:
    raise Unauthorized(detail, headers={"www-authenticate": "Bearer"})
