"""The tables of the index of events.

Times are integers, in microseconds since 1970 in UTC: they are in every index, and a SQLite date takes 26 bytes.

Most events succeed at once. So what is rarer has indexes of its own, which are partial and therefore small. SQLite uses
such an index only for a query that has its condition word for word.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    TextClause,
    and_,
    text,
)
from sqlalchemy.types import TypeDecorator

from hookkeeper.kinds import URL
from hookkeeper.messages.rows import DeliveryRow, EventKey, EventRow
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.events.rollup import COUNTERS
from hookkeeper.registry.models import Base
from hookkeeper.registry.storage.encryption import EncryptedText

OF_STATE = "deliveries.state"
"""What the states of deliveries are encrypted for."""
MICROSECOND = timedelta(microseconds=1)
KEY_TEXT = String().with_variant(String(collation="C"), "postgresql")
"""Sorted by bytes, as Python does; ids that begin with the same text are together."""
NOT_SUCCEEDED = text("status <> 'succeeded'")
NEEDS_ATTENTION = text("needs_attention")
ACKNOWLEDGED = text("acknowledged IS NOT NULL")
WITH_ERROR = text("error IS NOT NULL")
FAILURE_CLASS = text("status_class > 2")
RETRIED = text("attempts > 1")
OTHER_CHANNEL = text(f"channel <> '{URL.name}'")
IN_LINE = text("place IS NOT NULL")
NOT_RECORDED = text("run_id = '' AND finished_at IS NULL")


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


def _partial(name: str, condition: TextClause, *columns: str) -> Index:
    return Index(name, *columns, sqlite_where=condition, postgresql_where=condition)


events = Table(
    "events",
    Base.metadata,
    Column("accepted_at", EpochTime, primary_key=True),
    Column("tenant", KEY_TEXT, primary_key=True),
    Column("id", KEY_TEXT, primary_key=True),
    Column("type", String, nullable=False),
    Column("status", String, nullable=False),
    Column("needs_attention", Boolean, nullable=False),
    Column("deliver_at", EpochTime),
    Column("finished_at", EpochTime),
    Column("run_id", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("shared_run", String),
    Column("size", Integer),
    Column("parts", SmallInteger, nullable=False),
    Column("as_of", EpochTime, nullable=False),
    Column("acknowledged", String),
    Column("channels", String),
    Column("apart", Boolean, nullable=False, default=False),
    Column("is_test", Boolean),
    Index("ix_events_tenant_accepted_at", "tenant", "accepted_at", "id"),
    Index("ix_events_type", "type", "accepted_at", "tenant", "id"),
    Index("ix_events_id", "id", "tenant", unique=True),
    _partial("ix_events_status", NOT_SUCCEEDED, "status", "accepted_at", "tenant", "id"),
    _partial("ix_events_needs_attention", NEEDS_ATTENTION, "accepted_at", "tenant", "id"),
    _partial("ix_events_not_recorded", NOT_RECORDED, "shared_run", "accepted_at", "tenant", "id"),
    _partial("ix_events_acknowledged", ACKNOWLEDGED, "accepted_at", "tenant", "id"),
)
"""One row an event. `shared_run` is the workflow id of the shared run that has it; NULL: it has a run of its own.
`run_id` is empty until its run has recorded a step. `parts` is the number of runs that have its deliveries.
`acknowledged` is an `Acknowledgement` as JSON, until a delivery fails again: the event needs no attention meanwhile.
`channels` are joined by spaces. `apart`: its own run is not named after it alone (`ids.run_apart`).
"""

deliveries = Table(
    "deliveries",
    Base.metadata,
    Column("accepted_at", EpochTime, primary_key=True),
    Column("tenant", KEY_TEXT, primary_key=True),
    Column("event_id", KEY_TEXT, primary_key=True),
    Column("id", String, primary_key=True),
    Column("part", SmallInteger, nullable=False),
    Column("webhook_id", String, nullable=False),
    Column("channel", String, nullable=False),
    Column("type", String, nullable=False),
    Column("status", String, nullable=False),
    Column("reason", String),
    Column("attempts", Integer, nullable=False),
    Column("status_code", SmallInteger),
    Column("status_class", SmallInteger),
    Column("error", String),
    Column("next_attempt_at", EpochTime),
    Column("finished_at", EpochTime),
    Column("line", String),
    Column("place", BigInteger),
    Column("as_of", EpochTime, nullable=False),
    Column("state", EncryptedText(OF_STATE)),
    Index("ix_deliveries_webhook_accepted_at", "webhook_id", "accepted_at", "tenant", "event_id"),
    _partial(
        "ix_deliveries_webhook_status", NOT_SUCCEEDED, "webhook_id", "status", "accepted_at", "tenant", "event_id"
    ),
    _partial("ix_deliveries_tenant_status", NOT_SUCCEEDED, "tenant", "status", "accepted_at", "event_id"),
    _partial("ix_deliveries_status", NOT_SUCCEEDED, "status", "accepted_at", "tenant", "event_id"),
    _partial("ix_deliveries_error", WITH_ERROR, "error", "accepted_at", "tenant", "event_id"),
    _partial("ix_deliveries_class", FAILURE_CLASS, "status_class", "accepted_at", "tenant", "event_id"),
    _partial("ix_deliveries_attempts", RETRIED, "attempts", "accepted_at", "tenant", "event_id"),
    _partial("ix_deliveries_channel", OTHER_CHANNEL, "channel", "accepted_at", "tenant", "event_id"),
    _partial("ix_deliveries_line", IN_LINE, "webhook_id", "line", "place"),
)
"""One row a delivery. `part` is the number of the run that has it, among its siblings; `status_code` and `error` are
those of its latest attempt, and `status_class` is 5 for 503. `place` is that of an ordered delivery in its `line`,
until later ones need not wait for it (`hookkeeper.registry.events.lines`).
"""

EVENT_KEY = (events.c.accepted_at, events.c.tenant, events.c.id)
OF_EVENT = [events.c[name] for name in EventRow._fields if name in events.c]
"""The columns of an `EventRow`."""


def of_delivery(columns: Any) -> list[ColumnElement[Any]]:
    """Return those columns of a table or query that a `DeliveryRow` has, without its state."""
    return [columns[name] for name in DeliveryRow._fields if name != "state"]


def of_same_event(columns: Any) -> ColumnElement[bool]:
    """Return whether the row of an event is that of a row with these columns."""
    return and_(*(one == columns[name] for one, name in zip(EVENT_KEY, EventKey._fields, strict=True)))


event_keys = Table(
    "event_keys",
    Base.metadata,
    Column("tenant", KEY_TEXT, primary_key=True),
    Column("token", KEY_TEXT, primary_key=True),
    Column("accepted_at", EpochTime, primary_key=True),
    Column("event_id", KEY_TEXT, primary_key=True),
    ForeignKeyConstraint(
        ["accepted_at", "tenant", "event_id"], [events.c.accepted_at, events.c.tenant, events.c.id], ondelete="CASCADE"
    ),
    Index("ix_event_keys_event", "accepted_at", "tenant", "event_id"),
    sqlite_with_rowid=False,
)
"""One row for each key in the data of an event (`hookkeeper.registry.events.event_keys`)."""

event_inputs = Table(
    "event_inputs",
    Base.metadata,
    Column("accepted_at", EpochTime, primary_key=True),
    Column("tenant", KEY_TEXT, primary_key=True),
    Column("event_id", KEY_TEXT, primary_key=True),
    Column("input", EncryptedText("event_inputs.input"), nullable=False),
    ForeignKeyConstraint(
        ["accepted_at", "tenant", "event_id"], [events.c.accepted_at, events.c.tenant, events.c.id], ondelete="CASCADE"
    ),
)
"""What starts the run of an event: its `EventInput` as JSON (`hookkeeper.registry.events.event_inputs`)."""

pending_alerts = Table(
    "pending_alerts",
    Base.metadata,
    Column("webhook_id", String, primary_key=True),
    Column("accepted_at", EpochTime, primary_key=True),
    Column("tenant", KEY_TEXT, primary_key=True),
    Column("event_id", KEY_TEXT, primary_key=True),
    Column("delivery_id", String, primary_key=True),
    Column("at", EpochTime, nullable=False),
    Column("token", String),
)
"""One row for each delivery that has failed for good, until the incident of its webhook has looked at it. `token` is
that of the alert that has claimed it (`hookkeeper.registry.webhooks.alerts`).
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

Accepted events are counted in rows without a webhook and a channel. Rows without a tenant count all tenants together.
"""

index_changes = Table(
    "index_changes",
    Base.metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant", KEY_TEXT, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("changed", String, nullable=False),
    Index("ix_index_changes_tenant", "tenant", "number"),
)
"""What the latest writes to the index have changed: one row for each write and tenant, with keys only (JSON). `number`
counts the writes, and `position` is that of the tenant's first change among all of the write.
"""

leases = Table(
    "leases",
    Base.metadata,
    Column("name", String, primary_key=True),
    Column("until", EpochTime, nullable=False),
    Column("begin", EpochTime),
    Column("end", EpochTime),
)
"""Until when a process does what one process does at a time. `begin` and `end`: what it keeps for the next one."""
