"""The Temporal server: connection, payloads, errors, namespace, readiness, lists."""
