"""The targets of a webhook: its URL, each of its emails, … Builds their ids.

wh_1                  the URL
wh_1.email.2          its second email
wh_1.notification.1   its first notification
"""

from typing import Any, NamedTuple

from hookkeeper.content.text import truncate
from hookkeeper.kind import MAX_SHOWN, Kind
from hookkeeper.kinds import LISTS, URL
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.numbering import NONE
from hookkeeper.registry.webhooks.matching import MatchingWebhook


class Target(NamedTuple):
    """One destination of a webhook's events."""

    id: str
    kind: Kind
    shown: str
    """For display, without secrets."""


def targets_of(webhook: Webhook | MatchingWebhook) -> list[Target]:
    """Return all targets, in the order of their definition."""
    url = [Target(webhook.id, URL, webhook.target)] if webhook.url else []
    return url + [
        Target(f"{webhook.id}.{kind.name}.{number}", kind, truncate(item.target, MAX_SHOWN))
        for kind, _ in LISTS
        for number, item in _numbered(webhook, kind)
    ]


def part_of(target_id: str) -> str:
    """Return the name of a target within its webhook: `webhook` for the URL, `email.2`, `notification.1`."""
    return target_id.partition(".")[2] or URL.name


def items_of(webhook: Webhook, kind: Kind) -> tuple[Any, ...]:
    """Return the targets of a kind."""
    return webhook.targets.get(kind.name, NONE).items


def lists_of(webhook: Webhook) -> dict[str, tuple[Any, ...]]:
    """Return the targets of all kinds but the URL, by the field that they are set with."""
    return {kind.field: items_of(webhook, kind) for kind, _ in LISTS}


def item_of(webhook: Webhook, kind: Kind, target_id: str) -> Any:
    """Return the target of this kind and id, or None if the webhook no longer has it."""
    number = target_id.rpartition(".")[2]
    return next((item for other, item in _numbered(webhook, kind) if str(other) == number), None)


def _numbered(webhook: Webhook | MatchingWebhook, kind: Kind) -> "zip[tuple[int, Any]]":
    targets = webhook.targets.get(kind.name, NONE)
    return zip(targets.numbers, targets.items, strict=True)
