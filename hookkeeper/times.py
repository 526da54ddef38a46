"""The format of times, and the current time."""

from datetime import UTC, datetime


def rfc3339(when: datetime) -> str:
    """Write a time as RFC 3339 UTC with milliseconds: `2026-01-02T03:04:05.678Z`."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc_now() -> datetime:
    """Return the time now, aware and in UTC."""
    return datetime.now(UTC)
