"""Names `HOOKKEEPER_…` that are no settings, such as a mistyped one, which would have no effect."""

import difflib
import os
from collections.abc import Iterable

from dotenv import dotenv_values

from hookkeeper.settings import Settings

PREFIX = "HOOKKEEPER_"
SETTINGS = tuple(name.upper() for name in Settings.model_fields)
OTHERS = frozenset({"URL", "API_KEY", "SECRET", "VERSION"})
"""Read by the command line, the examples, and the compose file."""


def unknown_settings() -> list[str]:
    """Return a sentence for each name in the environment and in `.env` that is unknown."""
    return describe_unknown([*os.environ, *dotenv_values(".env")])


def describe_unknown(names: Iterable[str]) -> list[str]:
    """Return a sentence for each of these names that begins with the prefix and is unknown."""
    given = sorted({name.upper() for name in names if name.upper().startswith(PREFIX)})
    known = OTHERS.union(SETTINGS)
    return [_sentence(name.removeprefix(PREFIX)) for name in given if name.removeprefix(PREFIX) not in known]


def _sentence(name: str) -> str:
    similar = difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.75)
    hint = f": did you mean {PREFIX}{similar[0]}?" if similar else ""
    return f"{PREFIX}{name} is not a setting{hint}"
