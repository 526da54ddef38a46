"""Options and arguments that several commands have, and the conversion of their values."""

import json
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Optional, overload

import typer

from cli.console import Failed
from hookkeeper.filters import Filter

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tenant = Annotated[str | None, typer.Option(help="The tenant. Default: the key's tenant, or `default`.")]
EventTenant = Annotated[
    str | None, typer.Option("--tenant", help="The tenant. Needed only for an id that several tenants have.")
]
Limit = Annotated[int, typer.Option(min=1, max=100, help="Maximum number of rows.")]
Cursor = Annotated[str | None, typer.Option(help="next_cursor of the previous page.")]
EventData = Annotated[str, typer.Option(help="JSON, @file, or - for standard input.")]
Follow = Annotated[
    bool, typer.Option("--follow/--no-follow", help="Show the attempts live; exit 1 unless all succeed.")
]
OwnEventId = Annotated[
    str | None, typer.Option("--id", help="Your own id, so that the command can be repeated safely.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
WebhookId = Annotated[str, typer.Argument(help="The webhook's id or name.")]
STDIN = "-"
MAX_AGE = timedelta(days=365_000)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def read_json(argument: str, option: str) -> Any:
    """Read JSON, `@file`, or `-` for standard input. Raises `Failed`, naming the option."""
    try:
        value = json.loads(read_bytes(argument).decode())
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # Python reads more than can be sent
        return value
    except RecursionError as error:
        raise Failed(f"{option} is nested too deeply") from error
    except ValueError as error:
        raise Failed(f"{option} is not JSON: {error}") from error


def read_json_file(file: str, option: str) -> Any:
    """Read JSON from a file, or from standard input if it is `-`. Raises `Failed`, naming the option."""
    return read_json(file if file == STDIN else f"@{file}", option)


def read_bytes(argument: str) -> bytes:
    """Read a text, `@file`, or `-` for standard input, exactly. Raises `Failed`."""
    try:
        if argument == STDIN:
            return sys.stdin.buffer.read()
        return Path(argument[1:]).read_bytes() if argument.startswith("@") else os.fsencode(argument)
    except OSError as error:
        raise Failed(f"cannot read {error.filename}: {error.strerror}") from error


def age_of(text: str) -> timedelta | None:
    """Convert an age such as `2h`; None for any other text, and for an age before the calendar."""
    given = re.fullmatch(r"(\d{1,6})([smhd])", text)
    age = timedelta(**{UNITS[given[2]]: int(given[1])}) if given else None
    return age if age and age <= MAX_AGE else None


@overload
def time_of(text: str) -> str: ...
@overload
def time_of(text: None) -> None: ...
def time_of(text: str | None) -> str | None:
    """Convert an age such as `2h` to a time; leave dates to the API. Raises `Failed` for any other text."""
    age = age_of(text) if text else None
    if text and age is None and not re.match(r"\d{4}-", text):
        raise Failed(f"{text!r} is neither a time such as 2026-01-02T03:04:05Z nor an age such as 30m, 2h or 7d")
    return text if age is None else (datetime.now(UTC) - age).isoformat()


def later(text: str | None) -> str | None:
    """Convert `in 10m` to a time; leave others to the API. Raises `Failed` for a text that is neither."""
    if text is None or not text.startswith("in "):
        if text and not re.match(r"\d{4}-", text):
            raise Failed(f"{text!r} is neither a time such as 2026-01-02T03:04:05Z nor a delay such as 'in 10m'")
        return text
    delay = age_of(text.removeprefix("in ").strip())
    if delay is None:
        raise Failed(f"{text!r} is no delay such as 'in 30s', 'in 10m' or 'in 2h'")
    return (datetime.now(UTC) + delay).isoformat()


def confirm(question: str, yes: bool) -> None:
    """Ask, unless the answer was given with `--yes`. Raises `Abort` for a no; without a terminal, `BadParameter`."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{question} To answer without a terminal, add --yes")
    typer.confirm(question, abort=True, err=True)


def only(help_: str) -> Any:
    """Return the annotation of an option that filters a list."""
    return Annotated[str | None, typer.Option(help=help_)]


def filters_of(filters: Sequence[Filter]) -> dict[str, Any]:
    """Return the options of a list with these filters, by their names in the API."""
    return {each.name: _filter(each) for each in filters} | {
        "since": only("Accepted since: RFC 3339, or an age such as 30m, 2h, 7d."),
        "until": only("Accepted before, in the same format."),
        "last": only("Accepted in the last minutes, hours or days: 15m, 24h, 7d."),
        "total": Annotated[bool | None, typer.Option("--total", help="Count all matches, up to 1,000.")],
    }


def _filter(each: Filter) -> Any:
    choices = f": {', '.join(each.choices)}" if each.choices else ""
    if each.is_repeatable:
        return Annotated[list[str] | None, typer.Option(help=f"{each.help}{choices}; can be repeated.")]
    kind: Any = each.type if each.type in (bool, int) else str
    return Annotated[Optional[kind], typer.Option(help=f"{each.help}{choices}.", min=each.bounds.get("ge"))]  # noqa: UP045
