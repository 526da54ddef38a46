"""A test that hangs fails, with the stacks of all tasks and threads; so does a hang of its teardown, or of the exit.

The alarm interrupts the main thread, again and again until the test is over: a hang of a test can be followed by one of
its teardown. A thread of the C library ends the process, with all stacks, where that does not help: where a task
swallows the alarm, or no Python code can run.
"""

import faulthandler
import os
import signal
import sys
from typing import Any

import pytest

from endings import all_stacks

AGAIN = 60
"""Seconds between two alarms: after the first, a teardown may take so long."""
GIVEN_UP = 90
"""Seconds after the first alarm at which the process ends."""
EXIT_TIMEOUT = 60
"""Seconds that the exit of the process may take: the interpreter waits for threads."""

stderr = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[stderr] = os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)  # tests run with another


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # pytest-xdist ends its workers itself
        faulthandler.dump_traceback_later(EXIT_TIMEOUT, exit=True, file=config.stash[stderr])


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    """Set the alarm instead of pytest-timeout's, which shows no tasks and rings only once."""

    def fail(*_: object) -> None:
        pytest.fail(f"hangs: not over after {settings.timeout:g} s\n{all_stacks()}", pytrace=False)

    signal.signal(signal.SIGALRM, fail)
    _arm(item.config, settings.timeout)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
    signal.setitimer(signal.ITIMER_REAL, 0)
    faulthandler.cancel_dump_traceback_later()
    return True


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item) -> None:
    """Go on watching: at a failure all timers have been cancelled, and the teardown follows."""
    _arm(node.config, AGAIN)


def _arm(config: pytest.Config, seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    faulthandler.dump_traceback_later(seconds + GIVEN_UP, exit=True, file=config.stash[stderr])
