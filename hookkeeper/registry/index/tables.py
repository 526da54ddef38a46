"""The tables of the index of events.

Times are integers, in microseconds since 1970 in UTC: they are in every index, and a SQLite date takes 26 bytes. On
PostgreSQL, `events` and `deliveries` have a partition for each day on which their events were accepted.
"""

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Boolean, Column, Dialect, Index, Integer, SmallInteger, String, Table, text
from sqlalchemy.types import TypeDecorator

from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.index.rollup import COUNTERS
from hookkeeper.registry.models import Base

MICROSECOND = timedelta(microseconds=1)
BY_DAY = "RANGE (accepted_at)"
IS_WAITING = text("status IN ('held', 'retrying')")
IS_OPEN = text("check_at IS NOT NULL")


class EpochTime(TypeDecorator[datetime]):
    """A point in time, in microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Convert to microseconds. Raises TypeError for a naive time."""
        return None if value is None else (value - BEGINNING) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return an aware time in UTC."""
        return None if value is None else BEGINNING + timedelta(microseconds=value)


events = Table(
    "events",
    Base.metadata,
    Column("accepted_at", EpochTime, primary_key=True),
    Column("tenant", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("type", String, nullable=False),
    Column("status", String, nullable=False),
    Column("needs_attention", Boolean, nullable=False),
    Column("deliver_at", EpochTime),
    Column("finished_at", EpochTime),
    Column("run_id", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("size", Integer),
    Column("as_of", EpochTime, nullable=False),
    Column("check_at", EpochTime),
    Index("ix_events_tenant_accepted_at", "tenant", "accepted_at", "id"),
    Index("ix_events_tenant_type", "tenant", "type", "accepted_at"),
    Index("ix_events_tenant_status", "tenant", "status", "accepted_at"),
    Index("ix_events_tenant_id", "tenant", "id"),
    Index("ix_events_check_at", "check_at", postgresql_where=IS_OPEN, sqlite_where=IS_OPEN),
    postgresql_partition_by=BY_DAY,
)
"""One row an event. `check_at` is its position in the sweep's checks of open events; NULL once the run has closed."""

deliveries = Table(
    "deliveries",
    Base.metadata,
    Column("accepted_at", EpochTime, primary_key=True),
    Column("tenant", String, primary_key=True),
    Column("event_id", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("part", SmallInteger, nullable=False),
    Column("webhook_id", String, nullable=False),
    Column("channel", String, nullable=False),
    Column("type", String, nullable=False),
    Column("status", String, nullable=False),
    Column("reason", String),
    Column("attempts", Integer, nullable=False),
    Column("status_code", SmallInteger),
    Column("error", String),
    Column("next_attempt_at", EpochTime),
    Column("finished_at", EpochTime),
    Column("as_of", EpochTime, nullable=False),
    Index("ix_deliveries_webhook_accepted_at", "webhook_id", "accepted_at", "event_id"),
    Index("ix_deliveries_webhook_status", "webhook_id", "status", "accepted_at"),
    Index("ix_deliveries_tenant_status", "tenant", "status", "accepted_at"),
    Index("ix_deliveries_tenant_error", "tenant", "error", "accepted_at"),
    Index("ix_deliveries_waiting", "status", sqlite_where=IS_WAITING, postgresql_where=IS_WAITING),
    postgresql_partition_by=BY_DAY,
)
"""One row a delivery. `part` is the part of a large event that has it; `status_code` and `error` are those of its
latest attempt.
"""

rollups = Table(
    "rollups",
    Base.metadata,
    Column("seconds", Integer, primary_key=True),
    Column("tenant", String, primary_key=True),
    Column("at", BigInteger, primary_key=True),
    Column("webhook_id", String, primary_key=True),
    Column("type", String, primary_key=True),
    Column("channel", String, primary_key=True),
    *(Column(name, Integer, nullable=False) for name in COUNTERS),
    Index("ix_rollups_webhook_id", "webhook_id", "seconds", "at"),
    Index("ix_rollups_at", "seconds", "at"),
)
"""Counters of one minute, hour or day (`seconds`) that begins `at`, in seconds since 1970.

Accepted events are counted in rows without a webhook and a channel.
"""

erased_events = Table(
    "erased_events",
    Base.metadata,
    Column("accepted_at", EpochTime, primary_key=True),
    Column("tenant", String, primary_key=True),
    Column("event_id", String, primary_key=True),
    Column("erased_at", EpochTime, nullable=False),
)
"""Events whose reports are dropped: late ones would restore their rows."""

index_sweep = Table(
    "index_sweep",
    Base.metadata,
    Column("name", String, primary_key=True),
    Column("since", EpochTime),
    Column("swept_until", EpochTime),
    Column("holder", String),
    Column("leased_until", EpochTime),
)
"""How far the sweep has come, and a `hookkeeper reindex` since its begin; which process sweeps until when."""
