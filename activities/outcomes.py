"""What an attempt came to. Pure: facts in, an `Outcome` out.

An activity returns an outcome for whatever the receiver did, and raises only for our own faults.
"""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from policy import RetryPolicy

Verdict = Literal[
    "succeeded",  # 2xx
    "failed",  # anything else that a later attempt may cure
    "gone",  # 410: the receiver wants no more, ever
    "forbidden_address",  # the address may not be reached from here
    "held",  # no request was made: the webhook is disabled
    "webhook_deleted",  # no request was made: there is no such webhook any more
]


class Message(BaseModel):
    """Base of everything that travels through Temporal: frozen, and older code ignores newer fields."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Outcome(Message):
    """One attempt of one delivery, as it is kept in history."""

    delivery: str
    verdict: Verdict
    target: str = ""
    """The URL as people see it: without query, user info or fragment."""
    started_at: datetime | None = None
    """None where no request was made."""
    duration_ms: float = 0.0
    status_code: int | None = None
    error: str | None = None
    """`timeout`, `dns`, `connection_refused`, `connection_reset`, `tls`, `forbidden_address`, `protocol`, `http_<status>`."""
    response_excerpt: str = ""
    retry_after: float | None = None
    """Seconds the receiver asked us to wait, whatever the status."""
    retry: RetryPolicy | None = None
    """The webhook's own policy at the time of this attempt; None is the default schedule."""
