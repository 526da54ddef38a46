"""`hookkeeper demo`: one real event, signed, refused twice, retried, delivered; and everything left running."""

import asyncio
import threading
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from typing import Any

from cli import stack, timeline
from cli.client import Api
from cli.console import Failed, out
from cli.datadir import DEFAULT, DataDir
from cli.dev import hookkeeper, print_addresses, tell_event, tell_stopping, ticking
from cli.processes import forever, run, until_stopped
from cli.receiver import Behaviour, Received, receiving
from cli.temporal_server import is_port_free
from version import VERSION

TENANT = "demo"
WEBHOOK_NAME = "demo receiver"
ORDER = {"order": 4711, "amount": "129.90", "currency": "EUR"}

Json = dict[str, Any]


class DemoFailed(Failed):
    """The demo did not go as it should."""


@dataclass
class Inbox:
    """What the receiver got, and the keys that it verifies with."""

    url: str = ""
    keys: list[str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    async def find_keys(self) -> list[str]:
        return self.keys


def run_demo(*, once: bool) -> None:
    """Start everything and tell the story; then end, or keep everything running until told to stop."""
    run(_demo(once))


async def _demo(once: bool) -> None:
    inbox, is_told = Inbox(), False
    out.print(f"[bold]Hookkeeper[/bold] {VERSION}   one event, from the API to a receiver that is down at first\n")
    async with AsyncExitStack() as services, until_stopped(tell_stopping):
        port = await services.enter_async_context(
            receiving(0, Behaviour(fail=2), inbox.find_keys, inbox.received.append)
        )
        running = await services.enter_async_context(
            stack.running(DataDir(DEFAULT), "127.0.0.1", free_ports(), on_ready=ticking(), on_event=tell_event)
        )
        inbox.url = f"http://127.0.0.1:{port}/hook"
        out.print(f"  [green]✓[/green] Receiver    {inbox.url}  [dim]fails twice, then answers 200[/dim]")
        await _tell_the_story(running, inbox)
        is_told = True
        if not once:
            out.print("[bold]Everything keeps running[/bold]   Ctrl-C stops it")
            print_addresses(running)
            out.print(f"\n  Send another: {hookkeeper()} send order.paid --tenant {TENANT} --follow")
            await forever()
    if once and not is_told:
        raise DemoFailed("stopped before the event was delivered")
    if not once:
        out.print("  Stopped.")


async def _tell_the_story(running: stack.Stack, inbox: Inbox) -> None:
    """Do what a client does, in a thread: the client waits, and the receiver must answer meanwhile."""
    interrupted = threading.Event()

    def sleep(seconds: float) -> None:
        if interrupted.wait(seconds):
            raise DemoFailed("interrupted")

    def tell() -> None:
        with closing(Api(running.url, running.admin_key)) as api:
            webhook = _register(api, inbox)
            event = _send(api)
            _watch(api, event["id"], webhook["id"], inbox, sleep)

    try:
        await asyncio.to_thread(tell)
    finally:
        interrupted.set()


def _register(api: Api, inbox: Inbox) -> Json:
    for old in list(api.all("webhooks", tenant=TENANT)):
        if old["name"] == WEBHOOK_NAME:
            api.call("DELETE", "webhooks", old["id"])  # the receiver of an earlier demo is gone
    webhook: Json = api.call(
        "POST",
        "webhooks",
        body={
            "tenant": TENANT,
            "name": WEBHOOK_NAME,
            "url": inbox.url,
            "events": ["order.*"],
            "retry": {"schedule": [1, 3]},
        },
    )
    inbox.keys.append(webhook["secret"])
    out.print("\n[bold]1  A customer registers a webhook[/bold]\n")
    out.print(f"   POST /v1/webhooks  {webhook['id']}")
    out.print("   [dim]listens to order.*, tried again after 1 s, and once more after 3 s[/dim]")
    return webhook


def _send(api: Api) -> Json:
    event: Json = api.call("POST", "events", body={"type": "order.paid", "tenant": TENANT, "data": ORDER})
    out.print("\n[bold]2  An order is paid[/bold]\n")
    out.print(f"   POST /v1/events    {event['id']}")
    out.print("   [dim]accepted: Temporal has it, nothing can lose it now[/dim]")
    return event


def _watch(api: Api, event_id: str, webhook_id: str, inbox: Inbox, sleep: timeline.Sleep) -> None:
    out.print("\n[bold]3  It arrives[/bold]\n")

    def is_ours_final(event: Json) -> bool:
        return _ours(event, webhook_id)["status"] in timeline.FINAL

    event = timeline.follow(api, out, event_id, TENANT, is_enough=is_ours_final, sleep=sleep)
    attempts = _check(_ours(event, webhook_id), inbox)
    out.print(
        f"\n   [green]✓ Delivered[/green] with attempt {len(attempts)}. The receiver verified the signature of each."
        f"\n   [dim]webhook-id stayed {event_id}, so a repetition can be told.[/dim]"
        f"\n\n   The run in the Temporal web UI"
        f"\n   {event['links']['temporal']}"
        f"\n\n   The event, in another terminal"
        f"\n   {hookkeeper()} events show {event_id} --tenant {TENANT}\n"
    )


def _ours(event: Json, webhook_id: str) -> Json:
    """Find our delivery: others may listen to the tenant of the demo, too."""
    return next(delivery for delivery in event["deliveries"] if delivery["webhook_id"] == webhook_id)


def _check(delivery: Json, inbox: Inbox) -> list[Json]:
    """Give the attempts, if they went as told: the demo is a test too."""
    attempts: list[Json] = delivery["attempts"]
    statuses = [attempt["status_code"] for attempt in attempts]
    if statuses != [503, 503, 200]:
        raise DemoFailed(f"the delivery {delivery['status']} with {statuses}; expected 503, 503, 200")
    if not all(received.verified for received in inbox.received):
        raise DemoFailed("the receiver could not verify a signature")
    return attempts


def free_ports() -> stack.Ports:
    """Take the usual ports, or the next that are free: the demo should not fail over a port."""
    usual = stack.Ports()
    for n in range(100):
        ports = stack.Ports(usual.api + n, usual.temporal + n, usual.ui + n)
        if all(is_port_free("127.0.0.1", port) for port in (ports.api, ports.temporal, ports.ui)):
            return ports
    raise DemoFailed(f"no free ports from {usual.api}, {usual.temporal} and {usual.ui} on")
