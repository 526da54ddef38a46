"""Options and arguments that several commands have."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tenant = Annotated[str | None, typer.Option(help="The tenant. Default: the key's tenant, or `default`.")]
Limit = Annotated[int, typer.Option(min=1, max=100, help="Maximum number of rows.")]
Cursor = Annotated[str | None, typer.Option(help="next_cursor of the previous page.")]
EventData = Annotated[str, typer.Option(help="JSON, @file, or - for standard input.")]
OwnEventId = Annotated[
    str | None, typer.Option("--id", help="Your own id, so that the command can be repeated safely.")
]
WebhookId = Annotated[str, typer.Argument(help="The webhook's id.")]
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def age_of(text: str) -> timedelta | None:
    """Convert an age such as `2h`; None for any other text."""
    age = re.fullmatch(r"(\d{1,6})([smhd])", text)
    return timedelta(**{UNITS[age[2]]: int(age[1])}) if age else None


def time_of(text: str) -> str:
    """Convert an age such as `2h` to a time; leave other values to the API."""
    age = age_of(text)
    return text if age is None else (datetime.now(UTC) - age).isoformat()
