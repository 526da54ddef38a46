"""The customers' portal: links that begin a session of the dashboard without a key.

A session has scopes and a tenant, as a key has, and pages check it in the same way.
"""

from collections.abc import Iterable
from typing import Literal

from hookkeeper.registry.portal import PortalSession
from hookkeeper.services.caller import Caller, Scope

Capability = Literal["view", "view_secrets", "manage_webhooks", "redeliver"]
SCOPES: dict[Capability, frozenset[Scope]] = {
    "view": frozenset({"events:read", "webhooks:read"}),
    "view_secrets": frozenset({"webhooks:secrets"}),
    "manage_webhooks": frozenset({"webhooks:write"}),
    "redeliver": frozenset({"events:write"}),
}


def scopes_of(capabilities: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes of a session."""
    return frozenset().union(*(SCOPES[capability] for capability in SCOPES if capability in capabilities))


def may_grant(caller: Caller, scopes: frozenset[Scope]) -> bool:
    """Return whether a caller may make a link with these scopes: its own, or any with `admin`, as for new keys."""
    if "admin" in caller.scopes:
        return True
    implied = {"webhooks:secrets"} if "webhooks:write" in caller.scopes else set()
    return scopes <= caller.scopes | implied


def caller_of(session: PortalSession) -> Caller:
    """Return who uses a session."""
    return Caller(session.id, session.name, session.tenant, scopes_of(session.capabilities))
