"""The catalogue of event types, shared by all tenants, and the search keys of each tenant.

Methods raise RegistryUnavailable.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, String, bindparam, cast, delete, func, literal_column, or_, select
from sqlalchemy.exc import IntegrityError

from hookkeeper.registry.audit import AuditEntry, add_entry, execute_with_entry
from hookkeeper.registry.models import EventType, Tenant, TenantSearchKeys
from hookkeeper.registry.storage.compiled import Compiled
from hookkeeper.registry.storage.database import Database
from hookkeeper.registry.storage.direct_reads import DirectReads
from hookkeeper.registry.storage.paging import read_large
from hookkeeper.times import utc_now

CHANGEABLE = frozenset(("description", "schema", "examples", "archived", "search_keys"))


class EventTypeExists(Exception):
    """The catalogue has an event type of this name."""


class EventRules(NamedTuple):
    """What applies to new events of a type and a tenant."""

    is_known: bool
    """The catalogue has the type."""
    archived: bool
    schema: dict[str, Any] | None
    search_keys: tuple[str, ...]
    """Search keys of the type and of the tenant."""
    is_known_tenant: bool
    rate_limit: str | None
    """Events that a process accepts of the tenant."""
    is_suspended: bool
    reason: str
    """Why the tenant is suspended."""
    was_deleted: bool
    """The tenant."""


ONE_ROW = select(literal_column("1")).subquery("one_row")
RULES = (
    select(
        *(EventType.name, EventType.archived, EventType.schema, EventType.search_keys, TenantSearchKeys.paths),
        *(Tenant.id, Tenant.rate_limit, Tenant.suspended_at, Tenant.reason, Tenant.deleted_at),
    )
    .select_from(ONE_ROW)
    .outerjoin(EventType, EventType.name == bindparam("name"))
    .outerjoin(TenantSearchKeys, TenantSearchKeys.tenant == bindparam("tenant"))
    .outerjoin(Tenant, Tenant.id == bindparam("tenant"))
)


class Catalogue:
    """Stores event types. Returned objects are detached; change them through the catalogue only."""

    def __init__(self, database: Database, direct: DirectReads) -> None:
        self._database = database
        self._direct = direct
        self._rules = Compiled(RULES, direct.dialect)

    async def add(self, event_type: EventType, entry: AuditEntry | None = None) -> None:
        """Add an event type. Raises EventTypeExists."""
        try:
            async with self._database.write() as session:
                session.add(event_type)
                add_entry(session, entry)
        except IntegrityError:
            raise EventTypeExists(f"the event type {event_type.name} already exists") from None

    async def get(self, name: str) -> EventType | None:
        """Return an event type, or None."""
        async with self._database.read() as session:
            return await session.get(EventType, name)

    async def rules(self, tenant: str, name: str) -> EventRules:
        """Return the rules for a tenant's event of this type."""
        (row,) = await self._direct.fetch(self._rules, tenant, {"name": name, "tenant": tenant})
        known, archived, schema, type_keys, tenant_keys, tenant_id, rate_limit, *state = row
        suspended_at, reason, deleted_at = state
        return EventRules(
            is_known=known is not None,
            archived=bool(archived),
            schema=schema,
            search_keys=(*(type_keys or ()), *(tenant_keys or ())),
            is_known_tenant=tenant_id is not None,
            rate_limit=rate_limit,
            is_suspended=suspended_at is not None,
            reason=reason or "",
            was_deleted=deleted_at is not None,
        )

    async def search_keys(self, tenant: str) -> list[str]:
        """Return the paths of a tenant's search keys."""
        async with self._database.read() as session:
            found = await session.get(TenantSearchKeys, tenant)
            return found.paths if found else []

    async def search_keys_page(
        self, tenant: str | None, *, limit: int, after: str | None
    ) -> tuple[list[TenantSearchKeys], str | None]:
        """Return the search keys of up to `limit` tenants, or of one, by tenant, and the tenant for `after`."""
        query = select(TenantSearchKeys).order_by(TenantSearchKeys.tenant).limit(limit + 1)
        if tenant is not None:
            query = query.where(TenantSearchKeys.tenant == tenant)
        if after is not None:
            query = query.where(TenantSearchKeys.tenant > after)
        async with self._database.read() as session:
            found = list(await session.scalars(query))
        return found[:limit], found[limit - 1].tenant if len(found) > limit else None

    async def set_search_keys(self, tenant: str, paths: list[str], entry: AuditEntry | None = None) -> None:
        """Replace the paths of a tenant's search keys. Events that were accepted before keep the keys that they have.

        If they are the same already, nothing is written, and there is no entry.
        """
        async with self._database.write() as session:
            known = await session.get(TenantSearchKeys, tenant, with_for_update=True)
            if (known.paths if known else []) == paths:
                return
            if paths:
                await session.merge(TenantSearchKeys(tenant=tenant, paths=paths))
            else:
                await session.delete(known)
            add_entry(session, entry)

    async def declared_keys(self, tenant: str, paths: Collection[str], types: Collection[str]) -> set[str]:
        """Return those of the paths that are search keys of the tenant or of each of these event types; without
        types, of any.
        """
        declared = select(EventType.search_keys).where(EventType.search_keys.is_not(None))
        if types:
            declared = declared.where(EventType.name.in_(types))
        async with self._database.read() as session:
            by_type = [set(keys or ()) for keys in await session.scalars(declared)]
        if types:
            found = set.intersection(*by_type) if len(by_type) == len({*types}) else set()
        else:
            found = set().union(*by_type)
        return (found | {*await self.search_keys(tenant)}) & {*paths}

    async def page(
        self, *, archived: bool | None, limit: int, after: str | None, last_first: bool = False
    ) -> tuple[list[EventType], str | None]:
        """Return up to `limit` event types by name, perhaps from the last one, and the name for `after`; None on the
        last page.

        There are fewer if they are large.
        """
        query = select(EventType).order_by(EventType.name.desc() if last_first else EventType.name)
        if archived is not None:
            query = query.where(EventType.archived == archived)
        if after is not None:
            query = query.where(EventType.name < after if last_first else EventType.name > after)
        async with self._database.read() as session:
            found, last = await read_large(session, query, (EventType.name,), limit)
        return found, last.name if last else None

    async def names(self, limit: int) -> list[str]:
        """Return the first names of event types that are in use."""
        query = select(EventType.name).where(EventType.archived.is_(False)).order_by(EventType.name).limit(limit)
        async with self._database.read() as session:
            return list(await session.scalars(query))

    async def matching(self, patterns: Sequence[str], limit: int) -> list[tuple[str, bool]]:
        """Return event types in use that one of these patterns matches, and whether they have an example.

        Those with one come first, each by name.
        """
        matches = or_(*(_matches(pattern) for pattern in patterns))
        has_example = cast(EventType.examples, String) != "[]"
        query = select(EventType.name, has_example).where(EventType.archived.is_(False), matches)
        async with self._database.read() as session:
            rows = await session.execute(query.order_by(has_example.desc(), EventType.name).limit(limit))
            return [(name, bool(is_known)) for name, is_known in rows]

    async def update(self, name: str, changes: dict[str, Any], entry: AuditEntry | None = None) -> EventType | None:
        """Change attributes of an event type and return it, or None. Raises ValueError for an unknown attribute.

        Where all have these values already, nothing is written, and there is no entry.
        """
        if unknown := changes.keys() - CHANGEABLE:
            raise ValueError(f"cannot change {', '.join(sorted(unknown))}")
        async with self._database.write() as session:
            event_type = await session.get(EventType, name, with_for_update=True)
            if event_type is None:
                return None
            if all(getattr(event_type, attribute) == value for attribute, value in changes.items()):
                return event_type
            for attribute, value in changes.items():
                setattr(event_type, attribute, value)
            event_type.updated_at = utc_now()
            add_entry(session, entry)
        return event_type

    async def delete(self, name: str, entry: AuditEntry | None = None) -> bool:
        """Delete an event type; False if there is none. Accepted events of this type do not change."""
        query = delete(EventType).where(EventType.name == name).returning(EventType.name)
        return await execute_with_entry(self._database, query, entry)


def _matches(pattern: str) -> ColumnElement[bool]:
    """Return the condition that a pattern matches the name, as `registry.matching.patterns_for` has it."""
    if not pattern.endswith("*"):
        return EventType.name == pattern
    prefix = pattern[:-1]
    return func.substr(EventType.name, 1, len(prefix)) == prefix  # LIKE ignores case in SQLite
