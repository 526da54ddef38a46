"""All tables of the first release."""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
KEY_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
NOT_SUCCEEDED = "status <> 'succeeded'"
OF_AN_EVENT = (["accepted_at", "tenant", "event_id"], ["events.accepted_at", "events.tenant", "events.id"])
"""The foreign key of what is deleted with its event."""
COUNTERS = (
    *("events", "no_webhook"),
    *("deliveries_succeeded", "deliveries_failed", "deliveries_cancelled"),
    "attempts",
    *("succeeded", "client_errors", "server_errors", "timeouts", "connection_errors", "other_errors"),
    *("retries", "requested"),
    *(f"latency_{n}" for n in range(22)),
)


def upgrade() -> None:
    """Create all tables."""
    _create_installation()
    _create_tenants()
    _create_webhooks()
    _create_event_types()
    _create_schedules()
    _create_suppressions()
    _create_api_keys()
    _create_portal_sessions()
    _create_audit_log()
    _create_events()
    _create_deliveries()
    _create_search_keys()
    _create_rollups()
    _create_changes_and_leases()


def downgrade() -> None:
    """Drop all tables."""
    for table in (
        *("leases", "index_changes", "rollups", "event_keys", "search_keys", "event_inputs", "pending_alerts"),
        *("deliveries", "events"),
        *("audit_log", "portal_sessions", "api_keys", "suppressions", "schedules", "event_types"),
        *("webhook_patterns", "webhooks", "tenants", "installation"),
    ):
        op.drop_table(table)


def _create_installation() -> None:
    """A registry has an id, by which it is told from others. It is made here, once."""
    table = op.create_table(
        "installation", sa.Column("id", sa.String(), primary_key=True), sa.Column("namespace", sa.String())
    )
    op.bulk_insert(table, [{"id": uuid4().hex}])


def _create_tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("rate_limit", sa.String()),
        sa.Column("suspended_at", TIME),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("retry", sa.JSON()),
        sa.Column("on_failure", sa.JSON()),
        sa.Column("alert_after", sa.JSON()),
        sa.Column("signature_scheme", sa.String()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME),
    )
    op.create_index("ix_tenants_created_at", "tenants", ["created_at", "id"])


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("secret", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("previous_secret", sa.String()),
        sa.Column("previous_secret_expires_at", TIME),
        sa.Column("retry", sa.JSON()),
        sa.Column("timeout", sa.Double(), nullable=False),
        sa.Column("tls", sa.JSON()),
        sa.Column("payload", sa.JSON()),
        sa.Column("filter", sa.String()),
        sa.Column("filter_errors", sa.Integer()),
        sa.Column("filter_error", sa.String()),
        sa.Column("targets", sa.JSON()),
        sa.Column("on_failure", sa.JSON()),
        sa.Column("alert", sa.JSON()),
        sa.Column("rate_limit", sa.Double()),
        sa.Column("ordered", sa.String()),
        sa.Column("order_key", sa.String()),
        sa.Column("next_slot_at", sa.Double()),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.String()),
        sa.Column("disabled_at", TIME),
        sa.Column("disable_after", sa.Double()),
        sa.Column("paused_at", TIME),
        sa.Column("failing_since", TIME),
        sa.Column("failures", sa.Integer()),
        sa.Column("timeouts", sa.Integer()),
        sa.Column("last_success_at", TIME),
        sa.Column("slow_at", TIME),
        sa.Column("throttled_until", TIME),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("alert_after", sa.JSON()),
        sa.Column("failing", sa.JSON()),
        sa.Column("unhealthy_since", TIME),
        sa.Column("failing_from", TIME),
        sa.Column("incident", sa.JSON()),
        sa.Column("uid", sa.String()),
        sa.Column("channels", sa.JSON()),
        sa.Column("suspended", sa.Boolean()),
    )
    op.create_index("ix_webhooks_created_at", "webhooks", ["created_at", "id"])
    op.create_index("ix_webhooks_tenant_created_at", "webhooks", ["tenant", "created_at", "id"])
    op.create_index("ix_webhooks_uid", "webhooks", ["uid", "tenant"], unique=True)
    _create_partial("ix_webhooks_unhealthy_since", "unhealthy_since IS NOT NULL", ["unhealthy_since", "id"])
    op.create_table(
        "webhook_patterns",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("pattern", sa.String(), primary_key=True),
        sa.Column("webhook_id", sa.String(), sa.ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
    )
    op.create_index("ix_webhook_patterns_webhook_id", "webhook_patterns", ["webhook_id"])


def _create_event_types() -> None:
    op.create_table(
        "event_types",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("schema", sa.JSON()),
        sa.Column("examples", sa.JSON(), nullable=False),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("search_keys", sa.JSON()),
    )


def _create_schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("plan", sa.JSON()),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("executed", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_schedules_created_at", "schedules", ["created_at", "tenant", "id"])


def _create_suppressions() -> None:
    """Addresses are found by a token, so that the address itself can be encrypted."""
    op.create_table(
        "suppressions",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("address_token", sa.String(), primary_key=True),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_index("ix_suppressions_created_at", "suppressions", ["created_at", "tenant", "address_token"])
    op.create_index("ix_suppressions_tenant_reason", "suppressions", ["tenant", "reason", "created_at"])


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("tenant", sa.String()),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("rate_limit", sa.String()),
        sa.Column("expires_at", TIME),
        sa.Column("last_used_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_index("ix_api_keys_digest", "api_keys", ["digest"], unique=True)
    op.create_index("ix_api_keys_created_at", "api_keys", ["created_at", "id"])


def _create_portal_sessions() -> None:
    op.create_table(
        "portal_sessions",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("capabilities", sa.JSON(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("session_lifetime", sa.Integer(), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("opened_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.Column("frame_origins", sa.JSON(), nullable=False),
        sa.Column("theme", sa.JSON()),
        sa.Column("logo", sa.LargeBinary()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("pages", sa.JSON()),
        sa.Column("language", sa.String()),
    )
    op.create_index("ix_portal_sessions_digest", "portal_sessions", ["digest"], unique=True)
    op.create_index("ix_portal_sessions_created_at", "portal_sessions", ["created_at", "id"])
    op.create_index("ix_portal_sessions_tenant_created_at", "portal_sessions", ["tenant", "created_at", "id"])


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("key_name", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("object_id", sa.String(), nullable=False),
        sa.Column("tenant", sa.String()),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("at", TIME, nullable=False),
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at", "id"])
    op.create_index("ix_audit_log_tenant_at", "audit_log", ["tenant", "at", "id"])


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("accepted_at", sa.BigInteger(), primary_key=True),
        sa.Column("tenant", KEY_TEXT, primary_key=True),
        sa.Column("id", KEY_TEXT, primary_key=True),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("needs_attention", sa.Boolean(), nullable=False),
        sa.Column("deliver_at", sa.BigInteger()),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("shared_run", sa.String()),
        sa.Column("size", sa.Integer()),
        sa.Column("parts", sa.SmallInteger(), nullable=False),
        sa.Column("as_of", sa.BigInteger(), nullable=False),
        sa.Column("acknowledged", sa.String()),
        sa.Column("channels", sa.String()),
        sa.Column("apart", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_events_tenant_accepted_at", "events", ["tenant", "accepted_at", "id"])
    op.create_index("ix_events_type", "events", ["type", "accepted_at", "tenant", "id"])
    op.create_index("ix_events_id", "events", ["id", "tenant"], unique=True)
    _create_partial("ix_events_status", NOT_SUCCEEDED, ["status", "accepted_at", "tenant", "id"])
    _create_partial("ix_events_needs_attention", "needs_attention", ["accepted_at", "tenant", "id"])
    _create_partial("ix_events_acknowledged", "acknowledged IS NOT NULL", ["accepted_at", "tenant", "id"])
    _create_partial(
        "ix_events_not_recorded",
        "run_id = '' AND finished_at IS NULL",
        ["shared_run", "accepted_at", "tenant", "id"],
    )
    op.create_table(
        "event_inputs",
        sa.Column("accepted_at", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("tenant", KEY_TEXT, primary_key=True),
        sa.Column("event_id", KEY_TEXT, primary_key=True),
        sa.Column("input", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(*OF_AN_EVENT, ondelete="CASCADE"),
    )


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("accepted_at", sa.BigInteger(), primary_key=True),
        sa.Column("tenant", KEY_TEXT, primary_key=True),
        sa.Column("event_id", KEY_TEXT, primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("part", sa.SmallInteger(), nullable=False),
        sa.Column("webhook_id", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("status_code", sa.SmallInteger()),
        sa.Column("status_class", sa.SmallInteger()),
        sa.Column("error", sa.String()),
        sa.Column("next_attempt_at", sa.BigInteger()),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("line", sa.String()),
        sa.Column("place", sa.BigInteger()),
        sa.Column("as_of", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String()),
    )
    key = ["accepted_at", "tenant", "event_id"]
    op.create_index("ix_deliveries_webhook_accepted_at", "deliveries", ["webhook_id", *key])
    _create_partial("ix_deliveries_webhook_status", NOT_SUCCEEDED, ["webhook_id", "status", *key])
    _create_partial("ix_deliveries_tenant_status", NOT_SUCCEEDED, ["tenant", "status", "accepted_at", "event_id"])
    _create_partial("ix_deliveries_status", NOT_SUCCEEDED, ["status", *key])
    _create_partial("ix_deliveries_error", "error IS NOT NULL", ["error", *key])
    _create_partial("ix_deliveries_class", "status_class > 2", ["status_class", *key])
    _create_partial("ix_deliveries_attempts", "attempts > 1", ["attempts", *key])
    _create_partial("ix_deliveries_channel", "channel <> 'webhook'", ["channel", *key])
    _create_partial("ix_deliveries_line", "place IS NOT NULL", ["webhook_id", "line", "place"])
    op.create_table(
        "pending_alerts",
        sa.Column("webhook_id", sa.String(), primary_key=True),
        sa.Column("accepted_at", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("tenant", KEY_TEXT, primary_key=True),
        sa.Column("event_id", KEY_TEXT, primary_key=True),
        sa.Column("delivery_id", sa.String(), primary_key=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.String()),
    )


def _create_search_keys() -> None:
    op.create_table(
        "search_keys",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("paths", sa.JSON(), nullable=False),
    )
    op.create_table(
        "event_keys",
        sa.Column("tenant", KEY_TEXT, primary_key=True),
        sa.Column("token", KEY_TEXT, primary_key=True),
        sa.Column("accepted_at", sa.BigInteger(), primary_key=True),
        sa.Column("event_id", KEY_TEXT, primary_key=True),
        sa.ForeignKeyConstraint(*OF_AN_EVENT, ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_event_keys_event", "event_keys", ["accepted_at", "tenant", "event_id"])


def _create_rollups() -> None:
    op.create_table(
        "rollups",
        sa.Column("seconds", sa.Integer(), primary_key=True),
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("at", sa.BigInteger(), primary_key=True),
        sa.Column("webhook_id", sa.String(), primary_key=True),
        sa.Column("type", sa.String(), primary_key=True),
        sa.Column("channel", sa.String(), primary_key=True),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in COUNTERS),
    )
    op.create_index("ix_rollups_webhook_id", "rollups", ["webhook_id", "seconds", "at"])
    op.create_index("ix_rollups_at", "rollups", ["seconds", "at"])


def _create_changes_and_leases() -> None:
    op.create_table(
        "index_changes",
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("tenant", KEY_TEXT, primary_key=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("changed", sa.String(), nullable=False),
    )
    op.create_index("ix_index_changes_tenant", "index_changes", ["tenant", "number"])
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("begin", sa.BigInteger()),
        sa.Column("end", sa.BigInteger()),
    )


def _create_partial(name: str, condition: str, columns: list[str]) -> None:
    """Create an index of the rows that meet the condition. Its name has that of the table in it."""
    where = sa.text(condition)
    op.create_index(name, name.split("_")[1], columns, sqlite_where=where, postgresql_where=where)
