"""Numbers of a webhook's targets of a kind. Pure.

A number is part of a delivery's id and stays with its target: if the first email is removed while deliveries are in
progress, the second must not take its number. A used number is never given to another target.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Numbered(NamedTuple):
    """The targets of one kind, in the order of their definition."""

    items: tuple[Any, ...] = ()
    """Models of the kind; JSON, of a kind that is not installed."""
    numbers: tuple[int, ...] = ()
    used: int = 0
    """The highest number so far."""


Targets = Mapping[str, Numbered]
"""The targets of a webhook, by kind, without its URL."""
NONE = Numbered()


def first(items: Sequence[Any]) -> Numbered:
    """Number the targets of a new webhook: 1, 2, 3, …"""
    return renumber(items, NONE)


def renumber(given: Sequence[Any], known: Numbered) -> Numbered:
    """Keep the number of each target that is unchanged, else has the same destination, else has the same index."""
    kept: dict[int, int] = {}
    left = dict(enumerate(known.items))
    forms: tuple[Callable[[Any], Any], ...] = (lambda item: item, lambda item: item.destination)
    for form in forms:
        for index in (index for index in range(len(given)) if index not in kept):
            same = next((other for other, item in left.items() if form(item) == form(given[index])), None)
            if same is not None:
                kept[index] = known.numbers[same]
                del left[same]
    if len(given) == len(known.items):
        for index in (index for index in range(len(given)) if index not in kept and index in left):
            kept[index] = known.numbers[index]
    used, numbers = known.used, []
    for index in range(len(given)):
        used += index not in kept
        numbers.append(kept.get(index, used))
    return Numbered(tuple(given), tuple(numbers), used)
