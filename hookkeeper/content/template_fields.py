"""Templates of named fields, so that errors contain the field's name."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from hookkeeper.content import json_text, templates
from hookkeeper.content.context import Context
from hookkeeper.content.errors import BadTemplate
from hookkeeper.content.templates import Escape
from hookkeeper.content.text import is_line


def is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


@contextmanager
def named(field: str) -> Iterator[None]:
    """Raise errors as BadTemplate, with the field's name."""
    try:
        yield
    except BadTemplate as error:
        raise BadTemplate(f"{field}: {error.message}", error.line, error.column) from None
    except ValueError as error:
        raise BadTemplate(f"{field}: {error}") from None


def check(field: str, template: str | None, escape: Escape = "none") -> None:
    """Raise BadTemplate, with the field's name, for a template that fails for every event.

    With `json`, a template whose output is never JSON fails too.
    """
    if template is None:
        return
    with named(field):
        text = templates.check(template, escape)
    if escape == "json" and text is not None:
        json_text.parse(field, text)


def fill(field: str, template: str, context: Context, escape: Escape = "none") -> str:
    """Render a template; a BadTemplate has the field's name.

    A template that calls something gets a copy of the context: methods such as `event.clear()` change it.
    """
    with named(field):
        return templates.render(template, _copy(context) if "(" in template else context, escape)


def fill_line(field: str, template: str, context: Context) -> str:
    """Render a template whose output must be one line. Line breaks at the end of the template itself are dropped."""
    line = fill(field, template.rstrip("\r\n"), context)
    if not is_line(line):
        raise BadTemplate(f"{field}: must be one line without control characters, but is not for this event")
    return line


def _copy(context: Context) -> Context:
    copy: Context = json.loads(json.dumps(context))
    return copy
