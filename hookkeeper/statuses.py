"""The words for states of events and deliveries, and for what an attempt met. They need no package."""

from typing import Literal

FinalStatus = Literal["succeeded", "failed", "cancelled"]
DeliveryStatus = Literal["pending", "retrying", "held", "sent", FinalStatus]
EventStatus = Literal["scheduled", "delivering", "no_webhook", FinalStatus]
ERRORS = (
    *("timeout", "dns", "connection_refused", "connection_reset", "tls", "protocol", "forbidden_address"),
    "bad_template",
    *("no_email_provider", "no_recipients", "needs_sendgrid", "key_in_text", "suppressed"),
    "not_accepted",
)
"""Errors of attempts besides `http_<status>` and `smtp_<code>`: of requests, content, emails, and services."""
