"""`hookkeeper demo`: one real event, delivered as a webhook, an email and a notification.

The webhook is signed, refused twice, retried and delivered. The email is written to a file. All services keep running.
"""

import asyncio
import json
import threading
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from pathlib import Path

from rich.markup import escape

from cli.client import event_views
from cli.client.api import Api
from cli.client.listen import Behaviour, Keys, Received, receiving
from cli.console import Failed, Json, out
from cli.datadir import DEFAULT, DataDir
from cli.local import stack
from cli.local.dev import command_name, print_addresses, print_event, print_hang, print_stopping, progress_printer
from cli.operators.startup import read_settings
from cli.ports import METRICS_PORT, Ports, free_ports
from cli.processes import ShutdownDeadline, forever, run, until_stopped
from hookkeeper.version import VERSION

TENANT = "demo"
WEBHOOK_NAME = "demo receiver"
ORDER = {"order": 4711, "amount": "129.90", "currency": "EUR"}
NEXT_ORDER = {"order": 4712}
CUSTOMER = "ada@example.com"
SUBJECT = "Order {{ event.data.order }} was paid"


class DemoFailed(Failed):
    """The demo did not end as expected."""


@dataclass
class DemoInbox:
    """Requests that the receiver got, its keys, and the folder of emails."""

    base: str = ""
    emails: Path = Path()
    keys: list[str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    @property
    def hook(self) -> str:
        return f"{self.base}/hook"

    @property
    def notify(self) -> str:
        return f"{self.base}/notify"

    def requests(self, channel: str) -> list[Received]:
        return [request for request in self.received if request.channel == channel]


def run_demo(*, once: bool) -> None:
    """Start everything and run the demo; then exit, or keep everything running until stopped."""
    run(_demo(once))


async def _demo(once: bool) -> None:
    inbox, is_delivered = DemoInbox(), False
    out.print(f"[bold]Hookkeeper[/bold] {VERSION}   delivers one event as a webhook, an email and a notification\n")
    deadline = ShutdownDeadline(stack.shutdown_time(read_settings()), print_hang)
    async with AsyncExitStack() as services, until_stopped(print_stopping, deadline):
        port = await services.enter_async_context(
            receiving(0, Behaviour(fail=2), Keys(inbox.keys), inbox.received.append)
        )
        running = await services.enter_async_context(
            stack.running(
                DataDir(DEFAULT),
                free_ports(Ports(metrics=METRICS_PORT)),
                send_emails=False,
                on_ready=progress_printer(),
                on_event=print_event,
            )
        )
        assert running.emails
        inbox.base, inbox.emails = f"http://127.0.0.1:{port}", running.emails
        out.print(f"  [green]✓[/green] Receiver    {inbox.base}  [dim]refuses two requests, then accepts them[/dim]")
        event = await _run_client(running, inbox)
        is_delivered = True
        if not once:
            _print_links(event, running)
            _print_services(running)
            await forever()
    if once and not is_delivered:
        raise DemoFailed("stopped before the event was delivered")
    if not once:
        out.print("  Stopped.")


def _print_links(event: Json, running: stack.Stack) -> None:
    out.print(
        f"\n   The event on the dashboard (log in with the admin key)"
        f"\n   {running.url}/events/{event['id']}?tenant={TENANT}"
        f"\n\n   The workflow in the Temporal web UI"
        f"\n   {event['links']['temporal']}"
        f"\n\n   The event, in another terminal"
        f"\n   {command_name()} events show {event['id']} --tenant {TENANT}\n"
    )


def _print_services(running: stack.Stack) -> None:
    out.print("[bold]Everything keeps running[/bold]   Ctrl-C stops everything")
    print_addresses(running, capture_reason="the demo sends no emails")
    data = f"--data '{json.dumps(NEXT_ORDER)}'"
    out.print(f"\n  Send another: {command_name()} send order.paid --tenant {TENANT} {data} --follow", markup=False)


async def _run_client(running: stack.Stack, inbox: DemoInbox) -> Json:
    """Act as a client, in a thread, while the receiver answers; return the event."""
    interrupted = threading.Event()

    def sleep(seconds: float) -> None:
        if interrupted.wait(seconds):
            raise DemoFailed("interrupted")

    def client() -> Json:
        with closing(Api(running.url, running.admin_key)) as api:
            webhook = _register(api, inbox)
            event = _send(api)
            return _watch(api, event["id"], webhook["id"], inbox, sleep)

    try:
        return await asyncio.to_thread(client)
    finally:
        interrupted.set()


def _register(api: Api, inbox: DemoInbox) -> Json:
    for old in list(api.all("webhooks", tenant=TENANT)):
        if old["name"] == WEBHOOK_NAME:
            api.call("DELETE", "webhooks", old["id"])  # the receiver of an earlier demo is gone
    webhook: Json = api.call(
        "POST",
        "webhooks",
        body={
            "tenant": TENANT,
            "name": WEBHOOK_NAME,
            "url": inbox.hook,
            "events": ["order.*"],
            "retry": {"schedule": [1, 3]},
            "emails": [{"to": [CUSTOMER], "subject": SUBJECT}],
            "notifications": [{"http": {"url": inbox.notify, "body": f'{{"text": "{SUBJECT}"}}'}}],
        },
    )
    inbox.keys.append(webhook["secret"])
    out.print("\n[bold]1  A customer registers a webhook[/bold]\n")
    out.print(f"   POST /v1/webhooks  {webhook['id']}")
    out.print("   [dim]gets order.* events, and for each of them sends[/dim]")
    for message, target in (
        ("a signed POST", f"{inbox.hook}, with retries after 1 s and 3 s"),
        ("an email", CUSTOMER),
        ("a notification", inbox.notify),
    ):
        out.print(f"   [dim]  {message:<14} to {target}[/dim]")
    return webhook


def _send(api: Api) -> Json:
    event: Json = api.call("POST", "events", body={"type": "order.paid", "tenant": TENANT, "data": ORDER})
    out.print("\n[bold]2  An order is paid[/bold]\n")
    out.print(f"   POST /v1/events    {event['id']}")
    out.print("   [dim]accepted: it is committed, so it cannot be lost[/dim]")
    return event


def _watch(api: Api, event_id: str, webhook_id: str, inbox: DemoInbox, sleep: event_views.Sleep) -> Json:
    out.print("\n[bold]3  The event is delivered[/bold]\n")

    def are_final(event: Json) -> bool:
        return all(delivery["status"] in event_views.FINAL for delivery in _deliveries(event, webhook_id).values())

    event = event_views.follow(api, out, event_id, TENANT, is_done=are_final, sleep=sleep)
    deliveries = _deliveries(event, webhook_id)
    _verify_webhook(deliveries["webhook"], inbox, event_id)
    _verify_email(deliveries["email"], inbox, event_id)
    _verify_notification(deliveries["notification"], inbox)
    return event


def _deliveries(event: Json, webhook_id: str) -> dict[str, Json]:
    """Return the demo webhook's deliveries by channel: the tenant may have other webhooks."""
    return {delivery["channel"]: delivery for delivery in event["deliveries"] if delivery["webhook_id"] == webhook_id}


# The demo is also a test: it reports only what it has verified.


def _verify_webhook(delivery: Json, inbox: DemoInbox, event_id: str) -> None:
    statuses = [attempt["status_code"] for attempt in delivery["attempts"]]
    if statuses != [503, 503, 200]:
        raise DemoFailed(f"the webhook {delivery['status']} with {statuses}; expected 503, 503, 200")
    if not all(received.verified for received in inbox.requests("webhook")):
        raise DemoFailed("the receiver could not verify a signature")
    out.print(
        f"\n   [green]✓ Webhook[/green]       delivered with attempt {len(statuses)};"
        " the receiver verified each signature"
        f"\n                   [dim]webhook-id was {event_id} each time, so receivers can detect duplicates[/dim]"
    )


def _verify_email(delivery: Json, inbox: DemoInbox, event_id: str) -> None:
    try:
        (file,) = inbox.emails.glob(f"{event_id}.{delivery['id']}.*.eml")
        subject = message_from_bytes(file.read_bytes(), policy=policy.default)["subject"]
    except (ValueError, OSError) as error:
        raise DemoFailed(f"the email {delivery['status']}, and is not in {inbox.emails}") from error
    out.print(
        f"   [green]✓ Email[/green]         “{escape(subject)}” to {CUSTOMER},"
        " saved to a file: the demo sends no emails"
        f"\n                   [dim]{file}[/dim]"
    )


def _verify_notification(delivery: Json, inbox: DemoInbox) -> None:
    requests = inbox.requests("notification")
    if len(requests) != 1:
        raise DemoFailed(f"the notification {delivery['status']}, and the receiver got {len(requests)}; expected one")
    body = escape(requests[0].body.decode(errors="replace"))
    out.print(f"   [green]✓ Notification[/green]  the receiver got {requests[0].method} {requests[0].path}  {body}")
