"""`hookkeeper events bulk`: do something to all events that a filter matches."""

from collections.abc import Mapping
from inspect import Parameter
from typing import Annotated, Any, Literal

import typer

from hookkeeper.cli.client import Api, present
from hookkeeper.cli.console import Json, out, print_json_or
from hookkeeper.cli.options import confirm
from hookkeeper.cli.recoveries import print_started
from hookkeeper.cli.resources import AS_JSON, YES, parameter, query_of, with_parameters

Action = Literal["retry", "cancel", "redeliver", "acknowledge"]
MAX_COUNTED = 10_000
"""Events that the API counts."""
OPTIONS = [
    parameter("note", Annotated[str | None, typer.Option(help="Why, to acknowledge.")]),
    parameter("rate", Annotated[float | None, typer.Option(help="Events a second, at most.")]),
    parameter("dry_run", Annotated[bool, typer.Option("--dry-run", help="Only count the events.")], False),
    YES,
    AS_JSON,
]


def add(app: typer.Typer, filters: Mapping[str, Any]) -> None:
    """Add the command, with the filters of the list of events."""
    action = parameter("action", Annotated[Action, typer.Argument(help="What to do.")], Parameter.empty)
    options = [parameter(name, about) for name, about in filters.items() if name != "total"]
    app.command("bulk", help="Retry, cancel, redeliver or acknowledge all events that the options match.")(
        with_parameters([action, *options, *OPTIONS], _run)
    )


def _run(
    action: Action, note: str | None, rate: float | None, dry_run: bool, yes: bool, as_json: bool, **filters: Any
) -> None:
    """Count the events, ask, and start."""
    api, query = Api.of_environment(), query_of(filters)
    body = {"action": action} | present(note=note, rate=rate)
    if dry_run or not yes:
        counted = api.call("POST", "bulk", body=body | {"dry_run": True}, **query)
        if dry_run:
            print_json_or(as_json, counted, lambda _: out.print(f"{_count_of(counted)} would be changed"))
            return
        if not counted["found"]:
            print_json_or(as_json, counted, lambda _: out.print("No event matches."))
            return
        confirm(f"{action} {_count_of(counted)} of tenant {counted['tenant']}?", yes)
        query |= {"until": counted["until"], "tenant": counted["tenant"]}
    print_json_or(as_json, api.call("POST", "bulk", body=body, **query), print_started)


def _count_of(counted: Json) -> str:
    """Return how many events were counted."""
    found = counted["found"]
    return f"{found:,}{' or more' if found == MAX_COUNTED else ''} event{'' if found == 1 else 's'}"
