"""Numbers of a webhook's emails and notifications. Pure.

A number is part of a delivery's id and stays with its target: if the first email is removed while deliveries are in
progress, the second must not take its number. A used number is never given to another target.
"""

from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from hookkeeper.content.emails import Email
from hookkeeper.content.notifications import Notification

Part = TypeVar("Part", Email, Notification)


class Numbers(BaseModel):
    """The numbers of a webhook's emails, or of its notifications, in the order of their definition."""

    model_config = ConfigDict(frozen=True)

    numbers: tuple[int, ...] = ()
    used: int = 0
    """The highest number so far."""


def first(count: int) -> Numbers:
    """Return the numbers of a new webhook: 1, 2, 3, …"""
    return Numbers(numbers=tuple(range(1, count + 1)), used=count)


def renumber(given: Sequence[Part], known: Sequence[Part], old: Numbers) -> Numbers:
    """Keep the number of each part that is unchanged, else has the same destination, else has the same index."""
    kept: dict[int, int] = {}
    left = dict(enumerate(known))
    for form in (_whole, _destination):
        for index in (index for index in range(len(given)) if index not in kept):
            same = next((other for other, part in left.items() if form(part) == form(given[index])), None)
            if same is not None:
                kept[index] = old.numbers[same]
                del left[same]
    if len(given) == len(known):
        for index in (index for index in range(len(given)) if index not in kept and index in left):
            kept[index] = old.numbers[index]
    used, numbers = old.used, []
    for index in range(len(given)):
        used += index not in kept
        numbers.append(kept.get(index, used))
    return Numbers(numbers=tuple(numbers), used=used)


def _whole(part: Email | Notification) -> str:
    return part.model_dump_json()


def _destination(part: Email | Notification) -> str:
    if isinstance(part, Email):
        return part.model_dump_json(include={"to", "cc", "bcc"})
    return part.model_dump_json(include={"service": True, "http": {"method", "url"}})
