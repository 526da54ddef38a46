"""The caller of a use case: a key with scopes, bound to one tenant or to none, or a session of the portal.

Routes pass `Caller.tenant` on to what they read: another tenant's object is not found.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, TypeVar, get_args

from hookkeeper.registry.audit import AuditEntry
from hookkeeper.registry.tenants.portal import ID_PREFIX, PortalSession
from hookkeeper.services.errors import NotAllowed

Scope = Literal["events:write", "events:read", "webhooks:write", "webhooks:read", "webhooks:secrets", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
USUAL_SCOPES = SCOPES[:4]
"""Default scopes of a new key: everything that concerns one tenant. `webhooks:write` includes `webhooks:secrets`."""
Capability = Literal["view", "view_secrets", "manage_webhooks", "redeliver"]
OF_CAPABILITY: dict[Capability, frozenset[Scope]] = {
    "view": frozenset({"events:read", "webhooks:read"}),
    "view_secrets": frozenset({"webhooks:secrets"}),
    "manage_webhooks": frozenset({"webhooks:write"}),
    "redeliver": frozenset({"events:write"}),
}
"""Scopes of a session of the customers' portal, which a link begins without a key."""
FurtherPage = Literal["schedules", "recoveries", "suppressions", "limits"]
"""Pages of the portal that a link can add to those that all customers need, by their paths."""
FURTHER_PAGES: tuple[FurtherPage, ...] = get_args(FurtherPage)
Language = Literal["en", "de", "fr"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


class HasTenant(Protocol):
    """A Pydantic model of something that is made for a tenant."""

    tenant: str

    @property
    def model_fields_set(self) -> set[str]: ...

    def model_copy(self, *, update: Mapping[str, Any]) -> Self: ...


New = TypeVar("New", bound=HasTenant)


@dataclass(frozen=True, slots=True)
class Caller:
    """The key that a request was made with."""

    key_id: str
    key_name: str
    tenant: str | None
    """The tenant that the key is bound to; None for all."""
    scopes: frozenset[str]

    @property
    def shown_name(self) -> str:
        """The name that others read: the key's, but `admin` for the admin key, whose name is that of its setting."""
        return self.key_id if self.key_id == "admin" else self.key_name

    @property
    def is_customer(self) -> bool:
        """Whether it is a session of the portal."""
        return self.key_id.startswith(ID_PREFIX)

    def with_tenant(self, new: New) -> New:
        """Set the key's tenant where the request names none. Raises NotAllowed if it names another."""
        if self.tenant is None:
            return new
        if "tenant" not in new.model_fields_set:
            return new.model_copy(update={"tenant": self.tenant})
        self.check_tenant(new.tenant)
        return new

    def check_tenant(self, named: str) -> None:
        """Raise NotAllowed if the key is bound to another tenant."""
        if self.tenant not in (None, named):
            raise NotAllowed(f"The key is bound to tenant {self.tenant}: it cannot be used for another tenant.")

    def did(
        self, action: str, object_id: str, tenant: str | None, fields: Collection[str] = (), **detail: str
    ) -> AuditEntry:
        """Make an audit entry of what this key does: names of the fields that it sets, never their values."""
        named = {"fields": sorted(fields)} if fields else {}
        return AuditEntry(
            key_id=self.key_id,
            key_name=self.key_name,
            action=action,
            object_id=object_id,
            tenant=tenant,
            detail=named | detail,
        )


def scopes_of(capabilities: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes of a session."""
    return frozenset().union(*(OF_CAPABILITY[capability] for capability in OF_CAPABILITY if capability in capabilities))


def may_grant(caller: Caller, scopes: frozenset[Scope]) -> bool:
    """Return whether a caller may make a link with these scopes: its own, or any with `admin`, as for new keys."""
    if "admin" in caller.scopes:
        return True
    implied = {"webhooks:secrets"} if "webhooks:write" in caller.scopes else set()
    return scopes <= caller.scopes | implied


def caller_of(session: PortalSession) -> Caller:
    """Return who uses a session."""
    return Caller(session.id, session.name, session.tenant, scopes_of(session.capabilities))
