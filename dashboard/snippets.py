"""Programs that verify the requests of a webhook, for its page. Tests run those whose language is installed."""

from importlib.resources import files
from typing import NamedTuple

from hookkeeper.content.headers import MASK
from hookkeeper.crypto.signing_keys import PUBLIC, Scheme, is_asymmetric, public_key

LANGUAGES = {"Python": "py", "JavaScript": "mjs", "Go": "go", "Ruby": "rb", "PHP": "php", "Java": "java"}
"""Each language, and what its files end with."""
KEY = "_KEY"
"""Stands in a program for what follows the key's prefix."""
SCHEMES: tuple[Scheme, ...] = ("v1", "v1a")


class Snippet(NamedTuple):
    language: str
    suffix: str
    code: str


def _read(scheme: Scheme, suffix: str) -> str:
    return files("dashboard").joinpath("snippets", f"verify_{scheme}.{suffix}").read_text()


_programs = {scheme: {name: _read(scheme, suffix) for name, suffix in LANGUAGES.items()} for scheme in SCHEMES}


def snippets_for(secret: str) -> list[Snippet]:
    """Return the programs for the scheme of a signing key, which is masked; a public key is no secret."""
    scheme: Scheme = "v1a" if is_asymmetric(secret) else "v1"
    shown = public_key(secret).removeprefix(PUBLIC) if scheme == "v1a" else MASK
    return [
        Snippet(name, LANGUAGES[name], code.replace(KEY, f"_{shown}", 1)) for name, code in _programs[scheme].items()
    ]
