"""Find the webhooks that listen to an event."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, bindparam, select

from hookkeeper.policy import OrderPolicy
from hookkeeper.registry.models import Webhook, WebhookPattern, is_hanging, rate_at_present, without_secrets
from hookkeeper.registry.numbering import Targets
from hookkeeper.registry.storage.compiled import Compiled
from hookkeeper.registry.storage.direct_reads import DirectReads

SLOW_FOR = timedelta(minutes=2)
"""After attempts that took over a second."""
FAILING = 5
"""Failures in a row after which the next attempt is expected to fail as well."""


@dataclass(frozen=True, slots=True)
class MatchingWebhook:
    """What accepting an event needs to know of a webhook."""

    id: str
    url: str
    channels: tuple[str, ...]
    filter: str | None
    ordered: OrderPolicy | None
    order_key: str | None
    rate_limit: float | None
    timeouts: int | None
    url_failures: int | None
    enabled: bool
    paused_at: datetime | None
    throttled_until: datetime | None
    slow_at: datetime | None
    last_success_at: datetime | None
    targets: Targets

    @property
    def target(self) -> str:
        """The URL for display, without secrets."""
        return without_secrets(self.url)

    @property
    def is_hanging(self) -> bool:
        """Whether the latest requests to its URL have timed out."""
        return is_hanging(self.timeouts)

    @property
    def current_rate(self) -> float | None:
        """Requests a second that the webhook accepts at present; None: any number."""
        return rate_at_present(self.rate_limit, self.timeouts)

    @property
    def may_succeed_now(self) -> bool:
        """Whether its next attempt is made at once, and may succeed."""
        may_send = self.enabled and not self.paused_at and not self.throttled_until
        return may_send and not self.timeouts and (self.url_failures or 0) < FAILING

    def is_quick(self, now: datetime) -> bool:
        """Return whether its next attempt can be expected to succeed within a second: the latest ones did."""
        return self.may_succeed_now and self.last_success_at is not None and not self.is_failing_or_slow(now)

    def is_failing_or_slow(self, now: datetime) -> bool:
        """Return whether its latest attempts have failed, or one was slow in the last minutes."""
        is_slow = self.slow_at is not None and self.slow_at > now - SLOW_FOR
        return bool(self.url_failures or self.timeouts) or is_slow


class Matching:
    """Reads the registry at each event: a change counts at once, in all processes. Raises RegistryUnavailable."""

    def __init__(self, reads: DirectReads) -> None:
        self._reads = reads
        self._compiled: dict[int, Compiled] = {}
        """Statements, by the number of patterns; an event type has at most 65."""

    async def find(self, tenant: str, event_type: str) -> list[MatchingWebhook]:
        """Return the tenant's webhooks with a matching pattern, oldest first, including disabled ones."""
        patterns = patterns_for(event_type)
        read = self._compiled.get(len(patterns))
        if read is None:
            read = self._compiled[len(patterns)] = Compiled(_query(len(patterns)), self._reads.dialect)
        parameters = {f"pattern_{number}": pattern for number, pattern in enumerate(patterns)}
        rows = await self._reads.fetch(read, tenant, {"tenant": tenant, **parameters})
        return [MatchingWebhook(*row) for row in rows]


def hears(channels: Sequence[str], named: Sequence[str]) -> bool:
    """Return whether a webhook with these channels gets an event that names those."""
    return not channels or not set(channels).isdisjoint(named)


def patterns_for(event_type: str) -> tuple[str, ...]:
    """Return every pattern that matches an event type, the most specific first.

    A pattern is an event type (`order.created`), a prefix (`order.*`: every type below `order`, but not `order`
    itself) or `*`.
    """
    groups = event_type.split(".")
    prefixes = (".".join(groups[:length]) for length in range(len(groups) - 1, 0, -1))
    return (event_type, *(f"{prefix}.*" for prefix in prefixes), "*")


def _query(patterns: int) -> Select[*tuple[Any, ...]]:
    """Return the query for the webhooks with one of several patterns. A join would return one for each of them."""
    listeners = select(WebhookPattern.webhook_id).where(
        WebhookPattern.tenant == bindparam("tenant"),
        WebhookPattern.pattern.in_([bindparam(f"pattern_{number}") for number in range(patterns)]),
    )
    columns = [getattr(Webhook, field.name) for field in fields(MatchingWebhook)]
    return select(*columns).where(Webhook.id.in_(listeners)).order_by(Webhook.created_at, Webhook.id)
