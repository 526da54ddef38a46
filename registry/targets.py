"""The targets of a webhook: its URL, each of its emails, each of its notifications. Their ids are spelled here alone.

wh_1                  the URL
wh_1.email.2          its second email
wh_1.notification.1   its first notification
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeVar

from elements.emails import Email
from elements.notifications import Notification
from registry.models import Webhook

Channel = Literal["webhook", "email", "notification"]
Part = TypeVar("Part", Email, Notification)

MAX_SHOWN = 256


class Target(NamedTuple):
    """One thing that an event of a webhook goes to."""

    id: str
    channel: Channel
    shown: str
    """As people may see it: no secret."""


def targets_of(webhook: Webhook) -> list[Target]:
    """Give all targets, in the order in which people wrote them."""
    url = [Target(webhook.id, "webhook", webhook.target)] if webhook.url else []
    emails = [
        Target(f"{webhook.id}.email.{number}", "email", recipients(email))
        for number, email in enumerate(webhook.emails, start=1)
    ]
    notifications = [
        Target(f"{webhook.id}.notification.{number}", "notification", notification.target)
        for number, notification in enumerate(webhook.notifications, start=1)
    ]
    return url + emails + notifications


def recipients(email: Email) -> str:
    return ", ".join(email.to)[:MAX_SHOWN]


def part(target_id: str, parts: Sequence[Part]) -> Part | None:
    """Give the email or notification of this target, or None where the webhook has no such any more."""
    number = int(target_id.rpartition(".")[2])
    return parts[number - 1] if number <= len(parts) else None
