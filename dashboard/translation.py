"""The languages of the pages. Templates, scripts and notices are written in English, and `locales/` translates them.

A reader with a key reads English, as the API and the command line are. A visitor without one, and a customer in the
portal, reads the language of the link, or that which the browser asks for.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from gettext import NullTranslations, c2py
from importlib.resources import files
from typing import Any

from hookkeeper.services.caller import LANGUAGES

ENGLISH = "en"
SCRIPT_TEXT = re.compile(r'\b_\("([^"]+)"\)')
"""A text in a script."""
MAX_RANGES = 20
"""Languages of a header that are read."""


def language_of(accepted: str) -> str:
    """Return the language of ours that an `Accept-Language` prefers (RFC 9110, 12.5.4), else English."""
    best, best_quality = ENGLISH, 0.0
    for part in accepted.split(",")[:MAX_RANGES]:
        tag, _, weight = part.partition(";")
        language = tag.strip().lower().partition("-")[0]
        quality = _quality(weight)
        if quality > best_quality and language in LANGUAGES:
            best, best_quality = language, quality
    return best


def _quality(weight: str) -> float:
    name, _, value = weight.replace(" ", "").partition("=")
    if not name:
        return 1.0
    try:
        return min(float(value), 1.0) if name.lower() == "q" else 0.0
    except ValueError:
        return 0.0


class Translations(NullTranslations):
    """The translations of one language."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self._texts = read_messages(file)
        header = self._texts.pop("")[0]
        rule = next(line for line in header.split("\n") if line.startswith("Plural-Forms:"))
        self._plural = c2py(rule.partition("plural=")[2].rstrip(";"))

    def gettext(self, message: str) -> str:
        return self._texts.get(message, [message])[0]

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        texts = self._texts.get(msgid1)
        return texts[self._plural(n)] if texts else super().ngettext(msgid1, msgid2, n)


def read_messages(file: str) -> dict[str, list[str]]:
    """Read a file of translations in the format of gettext, without entries that are not translated or uncertain.

    A text has one translation, or one for each plural form.
    """
    messages: dict[str, list[str]] = {}
    for block in file.split("\n\n"):
        parts: dict[str, str] = {}
        name, comments = "", ""
        for line in block.splitlines():
            if line.startswith("#"):
                comments += f"{line}\n"
                continue
            keyword, _, text = line.partition('"')
            name = keyword.strip() or name
            parts[name] = parts.get(name, "") + json.loads(f'"{text}')  # with the same escapes
        texts = [text for name, text in parts.items() if name.startswith("msgstr")]
        if texts and all(texts) and "#, fuzzy" not in comments:
            messages[parts["msgid"]] = texts
    return messages


@cache
def translations_to(language: str) -> NullTranslations:
    """Return the translations from English."""
    if language == ENGLISH:
        return NullTranslations()
    path = files("dashboard").joinpath("locales", language, "LC_MESSAGES", "pages.po")
    return Translations(path.read_text(encoding="utf-8"))


def texts_of_scripts(language: str) -> dict[str, str]:
    """Return the translations that scripts need; none for English."""
    if language == ENGLISH:
        return {}
    scripts = (file for file in files("dashboard").joinpath("static").iterdir() if file.name.endswith(".js"))
    texts = {text for script in scripts for text in SCRIPT_TEXT.findall(script.read_text(encoding="utf-8"))}
    return {text: translations_to(language).gettext(text) for text in sorted(texts)}


def extract_fields(
    file: Any, keywords: Any, comment_tags: Any, options: Any
) -> Iterator[tuple[int, str, str, list[str]]]:
    """Yield the texts of the fields of webhooks, for Babel: they are in docstrings, which it does not read."""
    from hookkeeper.services.field_texts import by_path
    from hookkeeper.services.fields import EVENT_PATTERN, EVENT_TYPE, PATTERN_RULES
    from hookkeeper.services.webhooks.fields import STEPS, NewWebhook

    texts = [*STEPS, PATTERN_RULES[EVENT_TYPE], PATTERN_RULES[EVENT_PATTERN]]
    for field in by_path(NewWebhook).values():
        choices = field.shown_choices.values() if field.choices else ()
        singular = [field.title.removesuffix("s")] if field.is_list else []
        texts += [field.title, *field.form_help, *choices, *singular]
    for text in dict.fromkeys(filter(None, texts)):
        yield 1, "gettext", text, []
