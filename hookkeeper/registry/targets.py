"""The targets of a webhook: its URL, each of its emails, each of its notifications. Builds their ids.

wh_1                  the URL
wh_1.email.2          its second email
wh_1.notification.1   its first notification
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hookkeeper.content.emails import Email
from hookkeeper.content.notifications import Notification
from hookkeeper.content.text import truncate
from hookkeeper.registry.matching import MatchingWebhook
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.numbering import Numbers, Part, first
from hookkeeper.statuses import Channel

MAX_SHOWN = 256


class Target(NamedTuple):
    """One destination of a webhook's events."""

    id: str
    channel: Channel
    shown: str
    """For display, without secrets."""


def targets_of(webhook: Webhook | MatchingWebhook) -> list[Target]:
    """Return all targets, in the order of their definition."""
    url = [Target(webhook.id, "webhook", webhook.target)] if webhook.url else []
    emails = [Target(id_, "email", recipients(email)) for id_, email in _emails(webhook)]
    notifications = [Target(id_, "notification", notification.target) for id_, notification in _notifications(webhook)]
    return url + emails + notifications


def channel_of(target_id: str) -> Channel:
    """Return the channel of a target by its id."""
    match target_id.split("."):
        case [_, "email", _]:
            return "email"
        case [_, "notification", _]:
            return "notification"
        case _:
            return "webhook"


def part_of(target_id: str) -> str:
    """Return the name of a target within its webhook: `webhook` for the URL, `email.2`, `notification.1`."""
    return target_id.partition(".")[2] or "webhook"


def email_of(webhook: Webhook, target_id: str) -> Email | None:
    """Return the email of this target, or None if the webhook no longer has it."""
    return dict(_emails(webhook)).get(target_id)


def notification_of(webhook: Webhook, target_id: str) -> Notification | None:
    """Return the notification of this target, or None if the webhook no longer has it."""
    return dict(_notifications(webhook)).get(target_id)


def recipients(email: Email) -> str:
    return truncate(", ".join(email.to), MAX_SHOWN)


def _emails(webhook: Webhook | MatchingWebhook) -> Iterator[tuple[str, Email]]:
    return _numbered(f"{webhook.id}.email", webhook.emails, webhook.email_numbers)


def _notifications(webhook: Webhook | MatchingWebhook) -> Iterator[tuple[str, Notification]]:
    return _numbered(f"{webhook.id}.notification", webhook.notifications, webhook.notification_numbers)


def _numbered(prefix: str, parts: Sequence[Part], numbers: Numbers | None) -> Iterator[tuple[str, Part]]:
    for number, part in zip((numbers or first(len(parts))).numbers, parts, strict=True):
        yield f"{prefix}.{number}", part
