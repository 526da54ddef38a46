"""How many activities each tenant has running in this worker, so that no tenant occupies all slots of a queue.

An activity occupies a slot of the worker for as long as it runs, also while it waits. So one that exceeds its tenant's
limit does not wait: it fails at once, and Temporal retries it later. That is charged to no webhook, occupies nothing in
the worker, and outlives the worker.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import partial

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from hookkeeper import metrics
from hookkeeper.error_types import TENANT_AT_LIMIT

MIN_DELAY = 1.0
"""Seconds before the next try at least."""
MAX_DELAY = 300.0
"""Seconds before the next try at most; if many activities wait, between half of it and all of it."""
EXPECTED_DURATION = 1.0
"""Seconds that an activity is expected to run before the first one has ended."""
WEIGHT_OF_LATEST = 0.1
"""Weight of the latest duration in the mean of all."""
SPACING = 1.5
"""Time between two tries, as a multiple of the mean time until a slot becomes free: new activities take some slots."""
RESERVED_FOR_RETRIES = 0.2
"""Part of a tenant's slots that new activities leave to those that were refused before and are due."""


class TenantLoad:
    """The running activities of one tenant, and when the next one that exceeds the limit should be retried.

    Each is retried after the one before it, spaced by the rate at which activities end. So the number of tries a second
    follows that rate, however many activities wait.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._clock = clock
        self._starts = 0.0
        """Sum of the start times of all running activities."""
        self._mean_duration = EXPECTED_DURATION
        self._next_try = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count an activity for the length of the block."""
        start = self._clock()
        self.count += 1
        self._starts += start
        try:
            yield
        finally:
            self.count -= 1
            self._starts -= start
            duration = self._clock() - start
            self._mean_duration += WEIGHT_OF_LATEST * (duration - self._mean_duration)

    @property
    def has_refused(self) -> bool:
        """Refused activities have not been retried yet."""
        return self._next_try > self._clock()

    def refusal(self, message: str) -> ApplicationError:
        """Return the error with which an activity ends, so that Temporal retries it when a slot should be free."""
        return ApplicationError(
            message,
            type=TENANT_AT_LIMIT,
            category=ApplicationErrorCategory.BENIGN,
            next_retry_delay=timedelta(seconds=self._next_delay()),
        )

    def _next_delay(self) -> float:
        now = self._clock()
        running = max(self.count, 1)
        mean_age = now - self._starts / running if self.count else 0.0
        spacing = SPACING * max(self._mean_duration, mean_age) / running
        self._next_try = max(self._next_try, now + MIN_DELAY) + spacing
        if self._next_try <= now + MAX_DELAY:
            return self._next_try - now
        self._next_try = now + MAX_DELAY
        return MAX_DELAY * random.uniform(0.5, 1.0)  # noqa: S311


class TenantLoads:
    """The load of each tenant that has running activities."""

    def __init__(self) -> None:
        self._loads: dict[str, TenantLoad] = {}
        self.total = 0
        """Activities of all tenants."""

    def of(self, tenant: str) -> TenantLoad:
        return self._loads.get(tenant) or TenantLoad()

    @contextmanager
    def counted(self, tenant: str) -> Iterator[None]:
        """Count an activity of this tenant for the length of the block."""
        load = self._loads.setdefault(tenant, TenantLoad())
        try:
            with load.counted():
                yield
        finally:
            if not load.count:
                del self._loads[tenant]


class TenantConcurrency:
    """Limits the running activities of each tenant in each task queue."""

    def __init__(self, total: int, per_tenant: int) -> None:
        """`total`: activities of one queue at once; `per_tenant`: of one tenant in one queue.

        A tenant never has more than it leaves free for others, so a tenant with no running activity finds a slot.
        """
        self._total = total
        self._per_tenant = per_tenant
        self._queues: dict[str, TenantLoads] = {}

    @contextmanager
    def slot(self, tenant: str) -> Iterator[None]:
        """Occupy a slot of the running activity's queue for the length of the block.

        Raises ApplicationError if the tenant is at its limit; Temporal then retries the activity when a slot should be
        free.
        """
        with self.shared_slot() as slot, slot(tenant):
            yield

    @contextmanager
    def shared_slot(self) -> Iterator[Callable[[str], AbstractContextManager[None]]]:
        """Occupy a slot of the running activity's queue, whose activity works for several tenants.

        Yields the context manager of a tenant's part of the work. It counts the activity for that tenant, and raises
        ApplicationError if the tenant is at its limit.
        """
        queue = self._queues.setdefault(activity.info().task_queue, TenantLoads())
        queue.total += 1
        try:
            yield partial(self._part, queue)
        finally:
            queue.total -= 1

    @contextmanager
    def _part(self, queue: TenantLoads, tenant: str) -> Iterator[None]:
        load = queue.of(tenant)
        limit = min(self._per_tenant, self._total - (queue.total - 1))
        if load.has_refused and activity.info().attempt == 1:
            limit -= int(RESERVED_FOR_RETRIES * limit)
        if load.count >= limit:
            metrics.count_limit("tenant_activities")
            raise load.refusal(
                f"this tenant has {load.count} running activities in this queue, and may have no more: waiting for a"
                " free slot"
            )
        with queue.counted(tenant):
            yield
