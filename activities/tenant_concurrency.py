"""How many activities each tenant has under way in this worker, so that no tenant holds all places of a queue.

An activity holds a slot of the worker for as long as it runs, waiting included. So one that finds no place for its
tenant does not wait: it fails at once, and Temporal schedules it again after a while. That is charged to no webhook,
holds nothing in the worker, and survives the worker's end.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

NO_PLACE = "NoPlace"
"""Type of the error that Temporal shows while an activity waits."""
MIN_DELAY = 1.0
"""Seconds until the next try at least."""
MAX_DELAY = 300.0
"""Seconds until the next try at most; with many activities waiting, between half of it and all of it."""
EXPECTED_DURATION = 1.0
"""Seconds that an activity is expected to take before one has ended."""
WEIGHT_OF_LATEST = 0.1
"""Of the latest duration in the mean of all."""


class TenantLoad:
    """What one tenant has under way, and when the next activity that finds no place should try again.

    Each refused activity gets the time after the one before it, spaced by the rate at which places become free. So the
    number of tries a second follows that rate, however many activities wait.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._clock = clock
        self._starts = 0.0
        """Sum of the start times of all that is under way."""
        self._mean_duration = EXPECTED_DURATION
        self._next_try = 0.0

    @contextmanager
    def one_more(self) -> Iterator[None]:
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

    def refusal(self, message: str) -> ApplicationError:
        """Give the error with which an activity ends, so that Temporal tries it again when its turn has come."""
        return ApplicationError(
            message,
            type=NO_PLACE,
            category=ApplicationErrorCategory.BENIGN,
            next_retry_delay=timedelta(seconds=self._next_delay()),
        )

    def _next_delay(self) -> float:
        now = self._clock()
        under_way = max(self.count, 1)
        mean_age = now - self._starts / under_way if self.count else 0.0
        spacing = max(self._mean_duration, mean_age) / under_way
        self._next_try = max(self._next_try, now + MIN_DELAY) + spacing
        if self._next_try <= now + MAX_DELAY:
            return self._next_try - now
        self._next_try = now + MAX_DELAY
        return MAX_DELAY * random.uniform(0.5, 1.0)  # noqa: S311


class TenantLoads:
    """The load of each tenant that has something under way."""

    def __init__(self) -> None:
        self._loads: dict[str, TenantLoad] = {}
        self.total = 0

    def of(self, tenant: str) -> TenantLoad:
        return self._loads.get(tenant) or TenantLoad()

    @contextmanager
    def one_more(self, tenant: str) -> Iterator[None]:
        """Count an activity of this tenant for the length of the block."""
        load = self._loads.setdefault(tenant, TenantLoad())
        self.total += 1
        try:
            with load.one_more():
                yield
        finally:
            self.total -= 1
            if not load.count:
                del self._loads[tenant]


class Places:
    """Counts the activities under way, by task queue and tenant."""

    def __init__(self, total: int, per_tenant: int) -> None:
        """`total`: activities of one queue at once; `per_tenant`: of one tenant in one queue.

        A tenant never has more than it leaves free for others, so one that comes new finds a place.
        """
        self._total = total
        self._per_tenant = per_tenant
        self._queues: dict[str, TenantLoads] = {}

    @contextmanager
    def taken(self, tenant: str) -> Iterator[None]:
        """Hold a place of the running activity's queue for the length of the block.

        Raises ApplicationError where the tenant has none free; Temporal then tries the activity again, when a place
        should be free for it.
        """
        queue = self._queues.setdefault(activity.info().task_queue, TenantLoads())
        load = queue.of(tenant)
        if load.count >= min(self._per_tenant, self._total - queue.total):
            raise load.refusal(
                f"this tenant has {load.count} activities under way in this queue, and may have no more: waiting for a"
                " free place"
            )
        with queue.one_more(tenant):
            yield
