"""Refuse new events while too many have rows and no run: Temporal has been away for long."""

from collections.abc import Mapping

from hookkeeper import metrics
from hookkeeper.services.errors import RateLimited
from hookkeeper.temporal.server.error_translation import Unavailable

RETRY_AFTER = 30.0
"""Seconds after which a tenant is told to try again."""


class Backlog:
    """The events without a run, as they were counted some seconds ago (`hookkeeper.services.starts.look_after`)."""

    def __init__(self, at_most: int) -> None:
        """`at_most`: events that may wait, half of them of one tenant."""
        self._at_most = at_most
        self._waiting: Mapping[str, int] = {}
        self.total = 0
        """Events of all tenants."""

    def set(self, waiting: Mapping[str, int]) -> None:
        """Set how many events of each tenant wait."""
        self._waiting, self.total = waiting, sum(waiting.values())

    def check(self, tenant: str) -> None:
        """Raise RateLimited if too many events of the tenant wait, and Unavailable if too many of all tenants do."""
        if self._waiting.get(tenant, 0) > self._at_most // 2:
            metrics.count_limit("not_started")
            raise RateLimited("Too many events of this tenant wait for Temporal, which is away.", RETRY_AFTER)
        if self.total > self._at_most:
            metrics.count_limit("not_started")
            raise Unavailable("too many events wait for Temporal, which is away")
