"""Templates of named fields, so that errors contain the field's name."""

import json
import unicodedata

from hookkeeper.content import json_text, templates
from hookkeeper.content.context import Context
from hookkeeper.content.faults import BadTemplate
from hookkeeper.content.templates import Escape

_NOT_IN_A_LINE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: controls (CR and LF among them), surrogates, line and paragraph separators."""


def is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def is_line(text: str) -> bool:
    """Return whether a text is valid in a header: without line breaks and control characters."""
    return not any(unicodedata.category(character) in _NOT_IN_A_LINE for character in text)


def check(field: str, template: str | None, escape: Escape = "none") -> None:
    """Raise BadTemplate, with the field's name, for a template that fails for every event.

    With `json`, it is if what it gives cannot be JSON.
    """
    if template is None:
        return
    try:
        text = templates.check(template, escape)
    except BadTemplate as fault:
        raise _named(field, fault) from None
    if escape == "json" and text is not None:
        json_text.parse(field, text)


def fill(field: str, template: str, context: Context, escape: Escape = "none") -> str:
    """Render a template; a BadTemplate has the field's name.

    A template can call methods of dicts and lists, `event.clear()` among them: it does so on a copy of its own.
    """
    try:
        return templates.render(template, _copy(context) if "(" in template else context, escape)
    except BadTemplate as fault:
        raise _named(field, fault) from None


def fill_line(field: str, template: str, context: Context) -> str:
    """Render what must be one line. Line breaks at the template's own end do not count, those of data do."""
    line = fill(field, template.rstrip("\r\n"), context)
    if not is_line(line):
        raise BadTemplate(f"{field}: must be one line without control characters, but is not for this event")
    return line


def _copy(context: Context) -> Context:
    copy: Context = json.loads(json.dumps(context))
    return copy


def _named(field: str, fault: BadTemplate) -> BadTemplate:
    return BadTemplate(f"{field}: {fault.message}", fault.line, fault.column)
