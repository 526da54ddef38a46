"""What an ordered queue knows of the run at its head: when to check it again, and whether it is stuck. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from hookkeeper.messages.ordered_queue import KnownHead, QueuedRun

FIRST_START_CHECK, MAX_START_CHECK_INTERVAL = timedelta(seconds=0.1), timedelta(seconds=5)
"""Interval of the checks for a run that has not started; doubled after each check."""
FIRST_CHECK, MAX_CHECK_INTERVAL = timedelta(minutes=1), timedelta(minutes=10)
"""Interval of the checks on a run with a grant; doubled after each check."""
STUCK_AFTER, SILENT_CHECK_INTERVAL = timedelta(minutes=1), timedelta(seconds=10)
"""A run that does not answer for the first of these is stuck; until then it is checked at the second. After its worker
was killed, a run does not answer for some seconds."""


@dataclass
class Head:
    """What the queue knows of the run at its head."""

    granted: bool = False
    pause: timedelta = FIRST_START_CHECK
    """Time until the next check."""
    missing: timedelta = timedelta()
    """Time for which there has been no run."""
    silent: timedelta | None = None
    """Time for which the run has not answered; None: it answered the latest check."""
    failing: timedelta | None = None
    """Time for which the run's code has failed at each check; None: not at the latest one."""
    continued: bool = False
    """An earlier run of the queue has served it, perhaps without a check."""

    @classmethod
    def continue_from(cls, known: KnownHead) -> "Head":
        """Return the head at the start of the queue's next run, which grants it again."""
        return cls(missing=known.missing, silent=known.silent, failing=known.failing, continued=True)

    def known(self, position: str, stuck_since: datetime | None) -> KnownHead:
        """Return what the queue's next run has to know."""
        return KnownHead(
            position=position, missing=self.missing, silent=self.silent, failing=self.failing, stuck_since=stuck_since
        )

    def grant(self) -> None:
        """Note that the run has received the grant.

        The first check comes early in a continued queue, whose runs may all be shorter than `FIRST_CHECK`.
        """
        first_check = SILENT_CHECK_INTERVAL if self.continued else FIRST_CHECK
        self.granted, self.pause, self.missing = True, first_check, timedelta()

    def note(self, run: QueuedRun) -> None:
        """Note the result of a check."""
        self.granted = self.granted and not run.queued
        was_silent = self.silent is not None
        self.failing = self._time_since(self.failing) if run.status == "failing" else None
        self.silent = self._time_since(self.silent) if run.status in ("no_answer", "failing") else None
        if self.silent is not None and not was_silent:
            self.pause = SILENT_CHECK_INTERVAL / 2  # doubled after each check

    @property
    def is_stuck(self) -> bool:
        return self.silent is not None and self.silent >= STUCK_AFTER

    @property
    def may_be_skipped(self) -> bool:
        return self.failing is not None and self.failing >= STUCK_AFTER

    def lengthen_pause(self) -> None:
        self.pause = min(2 * self.pause, self._max_pause)

    def _time_since(self, time: timedelta | None) -> timedelta:
        return timedelta() if time is None else time + self.pause

    @property
    def _max_pause(self) -> timedelta:
        if self.silent is not None and not self.is_stuck:
            return SILENT_CHECK_INTERVAL
        return MAX_CHECK_INTERVAL if self.granted else MAX_START_CHECK_INTERVAL
