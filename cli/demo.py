"""`hookkeeper demo`: one real event, signed, refused twice, retried, delivered; and everything left running."""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from cli import stack, timeline
from cli.client import Api, fail, out
from cli.datadir import DEFAULT, DataDir
from cli.dev import CANNOT_START, print_addresses, steps, tell_event
from cli.processes import run, stop_event
from cli.receiver import Behaviour, Received, receiving
from cli.temporal_server import is_port_free

TENANT = "demo"
ORDER = {"order": 4711, "amount": "129.90", "currency": "EUR"}


class DemoFailed(Exception):
    """The demo did not go as it should."""


@dataclass
class Inbox:
    """What the receiver got, and the keys it verifies with."""

    keys: list[str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    async def find_keys(self) -> list[str]:
        return self.keys


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the event is delivered.")] = False,
) -> None:
    """Start everything, send one event to a receiver that fails twice, and show what happens."""
    try:
        run(_demo(once))
    except (*CANNOT_START, DemoFailed) as error:
        fail(str(error))


async def _demo(once: bool) -> None:
    stop, inbox = stop_event(), Inbox()
    out.print("[bold]Hookkeeper demo[/bold]  one event, from the API to a receiver that is down at first\n")
    async with (
        receiving(0, Behaviour(fail=2), inbox.find_keys, inbox.received.append) as port,
        stack.running(
            DataDir(DEFAULT), "127.0.0.1", _free_ports(), on_ready=steps(out), on_event=tell_event
        ) as running,
    ):
        out.print(f"  [green]✓[/green] Receiver   [dim]answers 503 twice, then 200[/dim]  http://127.0.0.1:{port}/hook")
        await asyncio.to_thread(_tell_the_story, Api(running.url, running.admin_key), port, inbox)
        if not once:
            out.print("[bold]Everything keeps running[/bold]  Ctrl-C stops it")
            print_addresses(out, running)
            out.print(f"\n  Try: .venv/bin/hookkeeper send order.paid --tenant {TENANT} --follow")
            await stop.wait()


def _tell_the_story(api: Api, port: int, inbox: Inbox) -> None:
    webhook = _register(api, port, inbox)
    event = _send(api)
    out.print("\n[bold]3  Watch it arrive[/bold]")
    ended = timeline.follow(api, out, event["id"], TENANT)
    _check(ended, inbox)
    attempts = ended["deliveries"][0]["attempts"]
    out.print(
        f"\n  [green]✓ delivered[/green] with attempt {len(attempts)}; the receiver verified the signature"
        f" of all {len(inbox.received)} requests"
        f"\n    webhook-id {event['id']} [dim]is the same on each, so that a receiver can tell a repetition[/dim]"
        f"\n\n  [bold]The run[/bold]      {ended['links']['temporal']}"
        f"\n  [bold]The event[/bold]    {ended['links']['self']}"
        f"\n  [bold]The webhook[/bold]  {api.url}/v1/webhooks/{webhook['id']}\n"
    )
    api.close()


def _register(api: Api, port: int, inbox: Inbox) -> dict[str, Any]:
    for old in api.call("GET", "/webhooks", tenant=TENANT, limit=100)["items"]:
        api.call("DELETE", f"/webhooks/{old['id']}")  # the receiver of an earlier demo is gone
    webhook: dict[str, Any] = api.call(
        "POST",
        "/webhooks",
        body={
            "tenant": TENANT,
            "name": "demo receiver",
            "url": f"http://127.0.0.1:{port}/hook",
            "events": ["order.*"],
            "retry": {"schedule": [2, 4]},
        },
    )
    inbox.keys.append(webhook["secret"])
    out.print("\n[bold]1  A customer registers a webhook[/bold]")
    out.print(f"  POST /v1/webhooks  {webhook['id']}  [dim]listens to order.*, retries after 2 s and 4 s[/dim]")
    return webhook


def _send(api: Api) -> dict[str, Any]:
    event: dict[str, Any] = api.call("POST", "/events", body={"type": "order.paid", "tenant": TENANT, "data": ORDER})
    out.print("\n[bold]2  An order is paid[/bold]")
    out.print(f"  POST /v1/events    {event['id']}  [dim]accepted: Temporal has it, nothing can lose it now[/dim]")
    return event


def _check(event: dict[str, Any], inbox: Inbox) -> None:
    """Fail where the story did not go as told; the demo is a test too."""
    statuses = [attempt["status_code"] for attempt in event["deliveries"][0]["attempts"]]
    if event["status"] != "succeeded" or statuses != [503, 503, 200]:
        raise DemoFailed(f"the event {event['status']} with {statuses}; expected 503, 503, 200")
    if not all(received.verified for received in inbox.received):
        raise DemoFailed("the receiver could not verify a signature")


def _free_ports() -> stack.Ports:
    """Take the usual ports, or the next free ones: the demo should not fail over a port."""
    usual = stack.Ports()
    return stack.Ports(*(_free_from(port) for port in (usual.api, usual.temporal, usual.ui)))


def _free_from(port: int) -> int:
    return next(each for each in range(port, port + 100) if is_port_free("127.0.0.1", each))
