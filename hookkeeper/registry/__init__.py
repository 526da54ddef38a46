"""Webhooks, event types, keys, suppressions, alerts, health and the audit log in SQLite or PostgreSQL."""
