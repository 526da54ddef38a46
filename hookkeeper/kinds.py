"""The kinds of targets that are installed. Everything that differs between them is found here, by the name of the kind.

A kind is a folder. Those of Hookkeeper are named here; other packages name theirs as entry points.
"""

from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal

from hookkeeper.kind import Items, Kind, load

OWN = (
    "hookkeeper.targets.url.kind:URL",
    "hookkeeper.targets.email.kind:EMAIL",
    "hookkeeper.targets.notification.kind:NOTIFICATION",
)
GROUP = "hookkeeper.targets"
"""The entry points of others."""


def _installed() -> Iterator[Kind]:
    yield from map(load, OWN)
    yield from (entry.load() for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name))


KINDS: dict[str, Kind] = {kind.name: kind for kind in _installed()}
"""All kinds, by name, in the order in which a webhook has its targets."""
LISTS: tuple[tuple[Kind, Items], ...] = tuple((kind, kind.items) for kind in KINDS.values() if kind.items)
"""Kinds of which a webhook can have several targets."""
URL = next(kind for kind in KINDS.values() if kind.items is None)
if TYPE_CHECKING:
    Channel = str
else:
    Channel = Literal[tuple(KINDS)]
"""The name of a kind."""


def kind_of(target_id: str) -> Kind:
    """Return the kind of a target by its id."""
    match target_id.split("."):
        case [_, name, _] if name in KINDS:
            return KINDS[name]
        case _:
            return URL
