"""The caller of a use case: a key with scopes, bound to one tenant or to none.

Routes pass `Caller.tenant` on to what they read: another tenant's object is not found.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, TypeVar, get_args

from hookkeeper.registry.audit import AuditEntry
from hookkeeper.services.errors import NotAllowed

Scope = Literal["events:write", "events:read", "webhooks:write", "webhooks:read", "webhooks:secrets", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
USUAL_SCOPES = SCOPES[:4]
"""Default scopes of a new key: everything that concerns one tenant. `webhooks:write` includes `webhooks:secrets`."""


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
