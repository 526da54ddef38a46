"""What the Temporal web UI says of a step, in words. Pure."""

from collections.abc import Sequence
from datetime import datetime

MAX_SUMMARY = 200


def attempt_summary(targets: Sequence[str], number: int) -> str:
    """`POST https://acme.example/hook · attempt 3`, or how many webhooks a first round has."""
    where = targets[0] if len(targets) == 1 else f"to {len(targets)} webhooks"
    return f"POST {where[:MAX_SUMMARY]} · attempt {number}"


def wait_summary(seconds: float, cause: str | None) -> str:
    """`retry in 5 min · http_503`."""
    return " · ".join(part for part in (f"retry in {duration(seconds)}", cause) if part)


def deliver_at_summary(when: datetime) -> str:
    return f"deliver at {when:%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float) -> str:
    """Say a duration in its largest fitting unit: `5 s`, `2.5 min`, `14 h`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
