"""Back-pressure: rather than accept events that will be late, say so. Off unless the operator sets a limit."""

import time

from fastapi import Depends, Request

from api.problems import TooManyRequests
from hookkeeper.temporal.gateway import Gateway

KNOWN_FOR = 2.0
"""Seconds that a count is good for."""
COME_BACK = 5


class Backlog:
    """Knows how much waits for a worker."""

    def __init__(self, gateway: Gateway, at_most: int | None) -> None:
        self._gateway = gateway
        self._at_most = at_most
        self._waiting = 0
        self._asked_at = float("-inf")

    async def check(self) -> None:
        """Raise TooMany where more waits than may; Unavailable where Temporal does not say."""
        if self._at_most is None:
            return
        now = time.monotonic()
        if now - self._asked_at > KNOWN_FOR:
            self._asked_at = now  # others go by the last count meanwhile
            self._waiting = await self._gateway.waiting()
        if self._waiting > self._at_most:
            raise TooManyRequests(
                "Deliveries are late: so many wait that no event is taken until there are fewer.",
                headers={"retry-after": str(COME_BACK)},
            )


async def _check_backlog(request: Request) -> None:
    backlog: Backlog = request.app.state.backlog
    await backlog.check()


UNLESS_LATE = Depends(_check_backlog)
"""Let a route that takes events refuse them while too many wait."""
