"""The fault drill itself, in its short form: the longest test here, with `make drill` for its ten minutes."""

import pytest
from short_drills import TIMEOUT, passes

SECONDS, RATE = 12, 5
"""A busy machine has no time for more: events would be refused, which the sender tolerates for a limited time only."""


@pytest.mark.alone
@pytest.mark.timeout(TIMEOUT + 60)
def test_nothing_is_lost_while_processes_are_killed() -> None:
    """Setup: two workers, API, Temporal and PostgreSQL, each a process; a steady and a flaky receiver.
    Timeline: events all the time; a kill -9 every five seconds, a worker stopped for longer than its heartbeat.
    Proves: what was answered 2xx is delivered, no run is stuck, and only what was in flight comes twice.
    """
    passes("--seconds", SECONDS, "--rate", RATE, "--kinds", "kill", "stop")
