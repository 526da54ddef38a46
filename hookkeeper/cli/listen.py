"""`hookkeeper listen`: a receiver that verifies signatures and prints requests."""

import asyncio
import json
import os
from contextlib import closing
from dataclasses import asdict
from urllib.parse import urlsplit

import typer
from rich.markup import escape

from hookkeeper.cli.client import Api
from hookkeeper.cli.console import Failed, err, out, print_failure
from hookkeeper.cli.processes import forever, run, until_stopped
from hookkeeper.cli.receiver import Behaviour, Received, check_key, receiving

MAX_PRINTED_BODY = 2000
"""Characters of a body that are printed; `--json` prints all."""
SIGNATURES = {
    True: "[green]signature verified[/green]",
    False: "[red]wrong signature[/red]",
    None: "[yellow]signature not verified: no webhook has this port, and --secret is not set[/yellow]",
}


def run_listen(port: int, behaviour: Behaviour, secrets: list[str], *, as_json: bool) -> None:
    """Receive until stopped. Port 0 selects a free one; without secrets, they are read from the API."""
    for secret in secrets:
        try:
            check_key(secret)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--secret") from error
    run(_listen(port, behaviour, secrets, as_json))


async def _listen(port: int, behaviour: Behaviour, secrets: list[str], as_json: bool) -> None:
    bound = port

    async def find_keys() -> list[str]:
        return secrets or await asyncio.to_thread(_keys_of_port, bound)

    try:
        async with until_stopped(), receiving(port, behaviour, find_keys, _print_json if as_json else _print) as bound:
            console = err if as_json else out
            console.print(f"Listening on [bold]http://127.0.0.1:{bound}/[/bold]. Ctrl-C stops it.")
            await forever()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise Failed(f"cannot listen on port {port}: {reason}") from error


def _keys_of_port(port: int) -> list[str]:
    """Return the keys of the webhooks with this port, from the API; none if it does not respond."""
    try:
        with closing(Api.of_environment()) as api:
            webhooks = [webhook["id"] for webhook in api.all("webhooks") if _port(webhook["url"]) == port]
            return [api.call("GET", "webhooks", id_, "secret")["secret"] for id_ in webhooks]
    except Failed as failure:
        print_failure(failure)
        return []


def _port(url: str | None) -> int | None:
    parts = urlsplit(url or "")
    return parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _print(received: Received) -> None:
    color = "green" if received.status < 300 else "red"
    body = received.body.decode(errors="replace")
    more = f"… ({len(body)} characters)" if len(body) > MAX_PRINTED_BODY else ""
    out.print(
        f"#{received.number}  [{color}]{received.status}[/{color}]  {_description(received)}"
        f"\n    {escape(body[:MAX_PRINTED_BODY])}{more}"
    )


def _description(received: Received) -> str:
    if received.channel == "notification":
        return f"{escape(f'{received.method} {received.path}')}  notification, not signed"
    return f"{escape(received.webhook_id)}  {SIGNATURES[received.verified]}"


def _print_json(received: Received) -> None:
    typer.echo(json.dumps(asdict(received) | {"body": received.body.decode(errors="replace")}))
