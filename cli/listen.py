"""`hookkeeper listen`: a receiver that verifies signatures and prints what comes."""

import asyncio
import json
from typing import Annotated

import typer
from rich.markup import escape

from cli.client import Api, fail, out
from cli.processes import run, stop_event
from cli.receiver import Behaviour, Received, receiving


def listen(
    port: Annotated[int, typer.Option(help="Port on the loopback address; 0 takes a free one.")] = 9000,
    fail_first: Annotated[int, typer.Option("--fail", help="Answer the first N requests with 503.")] = 0,
    status: Annotated[int, typer.Option(min=200, max=599, help="Status of the other answers.")] = 200,
    delay: Annotated[float, typer.Option(min=0, help="Seconds to wait before each answer.")] = 0.0,
    secret: Annotated[
        list[str] | None,
        typer.Option(help="Signing key (whsec_…, whsk_… or whpk_…). Else asked of the API, for webhooks of this port."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a request.")] = False,
) -> None:
    """Receive deliveries on this machine, verify their signatures, print them. Ctrl-C stops it."""
    run(_listen(port, Behaviour(fail_first, 503, status, delay), secret or [], as_json))


async def _listen(port: int, behaviour: Behaviour, secrets: list[str], as_json: bool) -> None:
    stop, bound = stop_event(), port

    async def find_keys() -> list[str]:
        return secrets or await asyncio.to_thread(_keys_of_port, bound)

    try:
        async with receiving(port, behaviour, find_keys, _print_json if as_json else _print) as bound:
            if not as_json:
                out.print(f"Listening on [bold]http://127.0.0.1:{bound}/[/bold]. Ctrl-C stops it.")
            await stop.wait()
    except OSError as error:
        fail(f"cannot listen on port {port}: {error.strerror}")


def _keys_of_port(port: int) -> list[str]:
    """Ask the API for the keys of the webhooks that point here; none where there is no API to ask."""
    api = Api.of_environment()
    try:
        webhooks = api.call("GET", "/webhooks", limit=100)["items"]
        ours = [each["id"] for each in webhooks if f":{port}/" in f"{each['url']}/"]
        return [api.call("GET", f"/webhooks/{id_}/secret")["secret"] for id_ in ours]
    except typer.Exit:
        return []
    finally:
        api.close()


def _print(received: Received) -> None:
    color = "green" if received.status < 300 else "red"
    signature = {True: "[green]signature verified[/green]", False: "[red]signature wrong[/red]", None: "not verified"}
    out.print(
        f"#{received.number}  [{color}]{received.status}[/{color}]  {escape(received.webhook_id)}"
        f"  {signature[received.verified]}\n   {escape(received.body.decode(errors='replace')[:500])}"
    )


def _print_json(received: Received) -> None:
    typer.echo(
        json.dumps(
            {
                "number": received.number,
                "webhook_id": received.webhook_id,
                "timestamp": received.timestamp,
                "verified": received.verified,
                "status": received.status,
                "body": received.body.decode(errors="replace"),
            }
        )
    )
