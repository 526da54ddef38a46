"""How many activities each tenant has under way in this worker, so that no tenant holds all places of a queue.

An activity holds a slot of the worker for as long as it runs, waiting included. So one that finds no place for its
tenant does not wait: it fails at once, and Temporal schedules it again after a while. That is charged to no webhook,
holds nothing in the worker, and survives the worker's end.
"""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

NO_PLACE = "NoPlace"
"""Type of the error that Temporal shows while an activity waits."""
MAX_DELAY = 60.0
"""Seconds between two tries at most; half as long again with its jitter."""


class Places:
    """Counts the activities under way, by task queue and tenant."""

    def __init__(self, total: int, per_tenant: int) -> None:
        """`total`: activities of one queue at once; `per_tenant`: of one tenant in one queue.

        A tenant never has more than it leaves free for others, so one that comes new finds a place.
        """
        self._total = total
        self._per_tenant = per_tenant
        self._taken: dict[str, Counter[str]] = {}

    @contextmanager
    def taken(self, tenant: str) -> Iterator[None]:
        """Hold a place of the running activity's queue for the length of the block.

        Raises ApplicationError where the tenant has none free; Temporal then tries the activity again after 1, 2, 4 …
        seconds.
        """
        info = activity.info()
        taken = self._taken.setdefault(info.task_queue, Counter())
        if taken[tenant] >= min(self._per_tenant, self._total - taken.total()):
            raise no_place(
                f"this tenant has {taken[tenant]} activities under way in this queue, and may have no more: waiting for"
                " a free place",
                info.attempt,
            )
        taken[tenant] += 1
        try:
            yield
        finally:
            taken[tenant] -= 1
            if not taken[tenant]:
                del taken[tenant]


def no_place(message: str, attempt: int) -> ApplicationError:
    """Give the error with which this attempt of an activity ends, so that Temporal tries it again after a while."""
    delay = min(2.0 ** min(attempt - 1, 10), MAX_DELAY) * random.uniform(0.5, 1.5)  # noqa: S311
    return ApplicationError(
        message,
        type=NO_PLACE,
        category=ApplicationErrorCategory.BENIGN,
        next_retry_delay=timedelta(seconds=delay),
    )
