"""`hookkeeper send`, also `hookkeeper events send`: one event, or many in batches."""

import json
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cli.client import event_views
from cli.client.api import SEND_RETRY_WAITS, Api, ApiUnavailable, present
from cli.client.options import STDIN, AsJson, EventData, Follow, OwnEventId, Tenant, later, read_json
from cli.console import Failed, Json, err, out, print_json_or

MAX_BATCH = 100
"""Events of a request."""
MAX_BATCH_CHARACTERS = 1_000_000
"""Characters of the JSON of a request; a single event may have more."""
PASSING = (429, 503)
"""Statuses of an event that may be accepted later."""
MAX_SHOWN = 10
"""Refused events that are printed; `--json` has them all."""


def send(
    type_: Annotated[
        str | None,
        typer.Argument(
            metavar="TYPE", help="The event's type, such as order.paid. With --file, that of lines without."
        ),
    ] = None,
    data: EventData = "{}",
    id_: OwnEventId = None,
    tenant: Tenant = None,
    channel: Annotated[list[str] | None, typer.Option(help="A channel of the event; can be repeated.")] = None,
    deliver_at: Annotated[
        str | None, typer.Option(help="Time of the delivery: RFC 3339, or a delay: 'in 10m'.", callback=later)
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Send this many events, which differ in their ids.")] = 1,
    file: Annotated[
        str | None,
        typer.Option(
            help="Send the events of a file, one as JSON in each line; - for standard input. Options set what"
            " a line leaves out."
        ),
    ] = None,
    follow: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Send an event, or many. Exit 1 if one of many is refused."""
    if type_ is None and file is None:
        raise typer.BadParameter("give a type, such as order.paid, or --file")
    event = present(type=type_, tenant=tenant, id=id_, channels=channel or None, deliver_at=deliver_at)
    if count == 1 and file is None:
        api = Api.of_environment()
        event["data"] = read_json(data, "--data")
        print_accepted_event(api, api.send_event(event), follow=follow, as_json=as_json)
        return
    if id_ or follow or (file and count > 1):
        raise typer.BadParameter("--file and --count take neither --id, nor --follow, nor each other")
    if file == data == STDIN:
        raise typer.BadParameter("--file and --data cannot both be standard input")
    event["data"] = read_json(data, "--data")
    events = _events_of(file, event) if file else ((number, dict(event)) for number in range(1, count + 1))
    sent = send_all(Api.of_environment(), events)
    print_json_or(as_json, asdict(sent), lambda _: _print_sent(sent))
    if sent.refused or sent.error:
        raise typer.Exit(1)


def trigger(
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="A type of the catalogue that has an example.")],
    example: Annotated[int, typer.Option(min=1, help="Which of its examples.")] = 1,
    tenant: Tenant = None,
    channel: Annotated[list[str] | None, typer.Option(help="A channel of the event; can be repeated.")] = None,
    follow: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Send an event with the example of its type in the catalogue."""
    api = Api.of_environment()
    examples = api.call("GET", "event-types", type_)["examples"]
    if len(examples) < example:
        number = f"{len(examples)} examples" if examples else "no example"
        raise Failed(f"{type_} has {number}: `hookkeeper event-types edit` adds one, `hookkeeper send` takes data")
    event = present(type=type_, tenant=tenant, channels=channel or None, data=examples[example - 1])
    print_accepted_event(api, api.send_event(event), follow=follow, as_json=as_json)


def print_accepted_event(api: Api, accepted: Json, *, follow: bool, as_json: bool) -> None:
    """Print the answer to an event that was sent; with `follow`, its attempts until it is final."""
    if not (as_json and follow):
        print_json_or(as_json, accepted, _print_deliveries)
    if follow:
        _follow(api, accepted, as_json)


def _print_deliveries(accepted: Json) -> None:
    count = len(accepted["deliveries"])
    deliveries = f"{count} {'delivery' if count == 1 else 'deliveries'}" if count else "[yellow]no webhook[/yellow]"
    duplicate = "  [yellow]duplicate[/yellow]" if accepted["duplicate"] else ""
    out.print(f"[bold]{accepted['id']}[/bold]  {accepted['type']}  {deliveries}{duplicate}")
    if note := accepted["note"]:
        hint = "" if accepted["deliveries"] else " `hookkeeper webhooks create` registers a webhook."
        out.print(f"  {escape(note)}{hint}")


def _follow(api: Api, accepted: Json, as_json: bool) -> None:
    event = event_views.follow(api, err if as_json else out, accepted["id"], accepted["tenant"])
    if as_json:
        typer.echo(json.dumps(event))
    else:
        out.print(f"  {event_views.colored(event['status'])}")
    if event["status"] != "succeeded":
        raise typer.Exit(1)


# Many events

Numbered = tuple[int, Json | str]
"""The number of an event, which is that of its line in a file, and the event, or why the line is none."""


@dataclass
class Sent:
    """What became of many events."""

    accepted: int = 0
    duplicates: int = 0
    refused: list[Json] = field(default_factory=list)
    """Number, status and reason of each; the status of a line that was not sent is null."""
    error: str | None = None
    """Why the events after these were not sent."""


def _events_of(file: str, defaults: Json) -> Iterator[Numbered]:
    """Yield the events of a file. Raises `Failed` if it cannot be read."""
    try:
        with nullcontext(sys.stdin) if file == STDIN else Path(file).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _event_of(line, defaults)
    except OSError as error:
        raise Failed(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Failed(f"{file} is not UTF-8") from error


def _event_of(line: str, defaults: Json) -> Json | str:
    try:
        event = read_json(line.strip(), "the line") if line.strip()[0] == "{" else None
    except Failed as error:
        return str(error)
    return defaults | event if isinstance(event, dict) else "the line is not a JSON object"


def send_all(api: Api, events: Iterator[Numbered]) -> Sent:
    """Send the events in batches, one after the other. An event has an id, so that a batch can be repeated."""
    sent = Sent()
    for batch in _batches(events):
        sent.refused += [_refusal(number, None, event) for number, event in batch if isinstance(event, str)]
        ready = {
            number: {"id": f"evt_{secrets.token_hex(12)}"} | event for number, event in batch if isinstance(event, dict)
        }
        try:
            _send_batch(api, ready, sent)
        except Failed as error:
            sent.error = f"{error}\nThe events from number {batch[0][0]} on were not all sent."
            break
    return sent


def _batches(events: Iterator[Numbered]) -> Iterator[list[Numbered]]:
    batch: list[Numbered] = []
    size = 0
    for number, event in events:
        length = len(json.dumps(event))
        if batch and (len(batch) == MAX_BATCH or size + length > MAX_BATCH_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append((number, event))
        size += length
    if batch:
        yield batch


def _send_batch(api: Api, events: dict[int, Json], sent: Sent) -> None:
    """Send a batch, and again what may be accepted later. Raises `Failed`."""
    for wait in (*SEND_RETRY_WAITS, None):
        if not events:
            return
        try:
            items = api.call("POST", "events", "batch", body={"events": [*events.values()]})["items"]
        except ApiUnavailable:
            if wait is None:
                raise
            items = []
        passing = {} if items else events
        for (number, event), item in zip([*events.items()], items, strict=False):
            if item["event"]:
                sent.accepted += not item["event"]["duplicate"]
                sent.duplicates += item["event"]["duplicate"]
            elif item["status"] in PASSING and wait is not None:
                passing[number] = event
            else:
                sent.refused.append(_refusal(number, item["status"], _reason(item["problem"])))
        events = passing
        if events and wait is not None:
            time.sleep(wait)


def _refusal(number: int, status: int | None, reason: str) -> Json:
    return {"number": number, "status": status, "reason": reason}


def _reason(problem: Json) -> str:
    return "; ".join([problem["detail"], *(f"{each['path']}: {each['detail']}" for each in problem.get("errors", ()))])


def _print_sent(sent: Sent) -> None:
    for refusal in sent.refused[:MAX_SHOWN]:
        status = f"{refusal['status']} " if refusal["status"] else ""
        err.print(f"[red]✗[/red] event {refusal['number']}: {status}{escape(refusal['reason'])}")
    if len(sent.refused) > MAX_SHOWN:
        err.print(f"  and {len(sent.refused) - MAX_SHOWN:,} more: --json names all")
    if sent.error:
        err.print(f"[red]Error:[/red] {escape(sent.error)}")
    counts = {"accepted": sent.accepted, "duplicate": sent.duplicates, "refused": len(sent.refused)}
    out.print(", ".join(f"{count:,} {name}" for name, count in counts.items() if count or name == "accepted"))
