"""`hookkeeper status`: what is wrong, in a sentence and by webhook. `hookkeeper explain`: why, and what helps."""

import textwrap
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.markup import escape

from cli.client.api import Api, ApiUnavailable, present
from cli.client.event_views import target
from cli.client.options import AsJson, EventTenant, time_of
from cli.console import Failed, Json, out, print_json_or
from hookkeeper.wording import duration

STATES = {"failing": "red", "disabled": "red", "degraded": "yellow", "slow": "yellow", "paused": "yellow"}
"""States of webhooks that are told, the worst first, and their colours."""
MARKS = {
    "succeeded": "[green]✓[/green]",
    "sent": "[green]→[/green]",
    "failed": "[red]✗[/red]",
    "cancelled": "[yellow]–[/yellow]",
}
MAX_WEBHOOKS = 20
"""Webhooks of a state that are shown."""
Advice = tuple[str, str]
"""What is so, or helps, and the style of the line."""
WHY_HELD = {
    "webhook_paused": ("until the webhook is resumed", "webhooks resume {webhook}"),
    "webhook_disabled": ("until the webhook is enabled", "webhooks update {webhook} --enabled"),
}
"""What a held delivery waits for, and the command for it; for others, it was held by command."""


def status(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None, as_json: AsJson = False
) -> None:
    """Say whether all is well: what does not run, which webhooks fail and why, what waits.

    Exit codes: 0 if all is well, or something only waits; 1 if a webhook is failing or was disabled for it, or a part
    of Hookkeeper does not run.
    """
    api = Api.of_environment()
    found = read_status(api, tenant)
    print_json_or(as_json, found, _print_status)
    if not found["well"]:
        raise typer.Exit(1)


def read_status(api: Api, tenant: str | None) -> Json:
    """Return what is wrong: parts of the installation, webhooks by state, numbers of what waits or has failed."""
    parts = api.readiness()
    webhooks = {state: [*api.all("webhooks", status=state, tenant=tenant)] for state in STATES}
    groups = api.call("GET", "stats", tenant=tenant, by="webhook", since=time_of("10m"))["items"]
    retrying = {group["webhook_id"]: group["retrying"] for group in groups}
    for webhook in (webhook for found in webhooks.values() for webhook in found):
        webhook["retrying"] = retrying.get(webhook["id"], 0)
    filter_ = {"needs_attention": True, "delivery_status": "failed", "total": True}
    failed = api.call("GET", "events", tenant=tenant, limit=1, **filter_)["total"]
    is_broken = webhooks["failing"] or [each for each in webhooks["disabled"] if each["disabled_reason"] != "manual"]
    runs = parts.get("temporal") == "running" and parts.get("workers") == "running"
    return {
        "well": runs and not is_broken,
        **parts,
        "webhooks": {state: found for state, found in webhooks.items() if found},
        "waiting": {name: sum(group[name] for group in groups) for name in ("retrying", "held")},
        "failed_events": failed,
    }


def _print_status(found: Json) -> None:
    color = "red" if not found["well"] else "yellow" if found["webhooks"] or _waits(found) else "green"
    out.print(f"[{color}]{sentence(found)}[/{color}]", soft_wrap=False)
    for state, webhooks in found["webhooks"].items():
        for webhook in webhooks[:MAX_WEBHOOKS]:
            out.print()
            _print_webhook(webhook)
        if len(webhooks) > MAX_WEBHOOKS:
            out.print(f"\nAll {len(webhooks)}: hookkeeper webhooks list --status {state}")


def sentence(found: Json) -> str:
    """`2 webhooks are failing, 1 is slow, 318 deliveries wait, 3 events have failed.`"""
    clauses = []
    if found["temporal"] != "running":
        clauses.append("Temporal does not answer: events are accepted and wait")
    elif found["workers"] != "running":
        clauses.append("no worker runs: events are accepted and wait")
    for state, webhooks in found["webhooks"].items():
        word = "has just begun to fail" if state == "degraded" else f"is {state}"
        noun = "" if clauses else "webhook "
        clauses.append(_counted(len(webhooks), f"{noun}{word}", f"{noun and 'webhooks '}{_plural(word)}"))
    if waits := _waits(found):
        clauses.append(_counted(waits, "delivery waits", "deliveries wait"))
    failed = found["failed_events"]
    if failed is None:
        clauses.append("over 1,000 events have failed")
    elif failed:
        clauses.append(_counted(failed, "event has failed", "events have failed"))
    text = ", ".join(clauses) or "all is well: no webhook fails, and nothing waits"
    return f"{text[0].upper()}{text[1:]}."


def _waits(found: Json) -> int:
    return sum(found["waiting"].values())


def _plural(word: str) -> str:
    return word.replace("is ", "are ", 1).replace("has ", "have ", 1)


def _counted(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _print_webhook(webhook: Json) -> None:
    state, health = webhook["health"]["status"], webhook["health"]
    since = health["failing_since"] if state in ("failing", "degraded") else webhook["disabled_at"]
    name = escape(webhook["name"] or webhook["url"] or webhook["id"])
    about = f" since {since or webhook['paused_at']}" if since or webhook["paused_at"] else ""
    color = STATES.get(state, "green")
    out.print(f"[bold]{name}[/bold] of {escape(webhook['tenant'])}: [{color}]{state}[/{color}]{about}")
    for line in _why(webhook):
        _print_indented(*line)


def _why(webhook: Json) -> Iterator[Advice]:
    """Yield the causes of a webhook's state, each with its remedy."""
    health, id_ = webhook["health"], webhook["uid"] or webhook["id"]
    for failed in health["failing"]:
        target = "" if failed["target"] in ("webhook", "filter") else f"{failed['target']}: "
        yield f"{target}{failed['error_text'] or failed['error'] or 'no attempt was made'}.", ""
        yield failed["remedy"] or "", "dim"
    if health["status"] == "slow":
        yield f"Its requests take up to {duration(health['slow_ms'] / 1000)}.", ""
        yield "Let the receiver answer first, and work afterwards.", "dim"
    if health["status"] == "disabled":
        yield f"hookkeeper webhooks update {id_} --enabled", "cyan"
    elif health["status"] == "paused":
        yield f"hookkeeper webhooks resume {id_}", "cyan"
    elif any(failed["target"] != "filter" for failed in health["failing"]):
        number = webhook["retrying"]
        what = f"the {_counted(number, 'delivery that waits', 'deliveries that wait')}" if number else "what has failed"
        yield f"When it is mended, send {what}:", "dim"
        yield f"hookkeeper webhooks {'retry' if number else 'recover'} {id_}", "cyan"


def _print_indented(text: str, style: str = "") -> None:
    """Print a paragraph that fits the terminal. Commands stay whole."""
    width = len(text) + 1 if text.startswith("hookkeeper ") else max(out.width - 4, 20)
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    for line in lines:
        out.print(f"    {line}", style=style or None, markup=False)


def explain(
    what: Annotated[
        str, typer.Argument(metavar="EVENT|WEBHOOK", help="An event's id; or a webhook's id, uid or name.")
    ],
    tenant: EventTenant = None,
    as_json: AsJson = False,
) -> None:
    """Say why an event was not delivered, or why a webhook does not work, and what helps."""
    api = Api.of_environment()
    webhook, event = _found(api, what, tenant)
    if webhook is None:
        print_json_or(as_json, event, lambda event: _print_event(api, event))
        return
    (total,) = api.call("GET", "stats", webhook=webhook["id"], tenant=webhook["tenant"])["items"]
    numbers = {"retrying": total["retrying"], "held": total["held"]}
    print_json_or(as_json, webhook | numbers, _print_explained)


def _found(api: Api, what: str, tenant: str | None) -> tuple[Json | None, Json]:
    """Return the webhook, or else the event. Raises `Failed` if there is neither."""
    if not what.startswith("evt_"):
        try:
            webhook: Json = api.call("GET", "webhooks", what)
            return webhook, {}
        except ApiUnavailable:
            raise
        except Failed:
            if what.startswith("wh_"):
                raise
    try:
        return None, api.call("GET", "events", what, **present(tenant=tenant))
    except ApiUnavailable:
        raise
    except Failed as error:
        raise Failed(f"there is neither a webhook nor an event {what!r}") from error


def _print_explained(webhook: Json) -> None:
    _print_webhook(webhook)
    health = webhook["health"]
    if health["status"] in ("healthy", "slow"):
        _print_indented(
            f"The latest attempt of each of its targets has succeeded, the last {health['last_success_at']}."
        )
    elif health["status"] == "new":
        _print_indented(f"No event was sent yet. Try it: hookkeeper webhooks test {webhook['id']}")
    if health["throttled_until"]:
        _print_indented(f"The receiver is overloaded: attempts wait until {health['throttled_until']}.")
    if webhook["retrying"] and not health["failing"]:
        number = _counted(webhook["retrying"], "delivery waits", "deliveries wait")
        _print_indented(f"{number} for the next attempt. Send what waits:")
        _print_indented(f"hookkeeper webhooks retry {webhook['id']}", "cyan")
    if webhook["held"]:
        _print_indented(f"{_counted(webhook['held'], 'delivery is', 'deliveries are')} held.")


def _print_event(api: Api, event: Json) -> None:
    out.print(
        f"{escape(event['type'])} of {escape(event['tenant'])}, accepted {event['accepted_at']}: {event['status']}"
    )
    if event["status"] == "no_webhook" and not event["left_out"]:
        _print_indented("No webhook of its tenant gets events of its type, channels and content.")
        _print_indented(f"hookkeeper webhooks list --tenant {event['tenant']}", "cyan")
    for left in event["left_out"]:
        name = escape(api.webhook_name(left["webhook_id"]) or left["webhook_id"])
        out.print(f"[red]✗[/red] [bold]{name}[/bold] did not get it")
        _print_indented(f"{left['error_text'] or left['error']}.")
        _print_indented(left["remedy"] or "", "dim")
    for delivery in event["deliveries"]:
        name = escape(api.webhook_name(delivery["webhook_id"]) or delivery["webhook_id"])
        mark = MARKS.get(delivery["status"], "[yellow]·[/yellow]")
        out.print(f"{mark} [bold]{name}[/bold] {escape(target(delivery))}: {delivery['status']}")
        for line in _why_of(event, delivery):
            _print_indented(*line)


def _why_of(event: Json, delivery: Json) -> Iterator[Advice]:
    """Yield why a delivery is where it is, and what helps."""
    latest: Any = delivery["attempts"][-1] if delivery["attempts"] else None
    state, reason, id_ = delivery["status"], delivery["reason"], event["id"]
    if latest:
        said = latest["error_text"] or latest["error"] or latest["status_code"] or "accepted"
        yield f"Attempt {latest['number']}, {latest['started_at']}: {said}.", ""
        yield latest["remedy"] or "", "dim"
    if state == "held":
        why, command = WHY_HELD.get(reason, ("until it is released", "events release {event}"))
        yield f"It is held {why}.", ""
        yield f"hookkeeper {command.format(webhook=delivery['webhook_id'], event=id_)}", "cyan"
    elif delivery["next_attempt_at"]:
        yield f"The next attempt is {delivery['next_attempt_at']}.", ""
        yield f"hookkeeper events retry {id_}", "cyan"
    elif state == "failed":
        yield f"No further attempt is made{f': {_words(reason)}' if reason else ''}.", ""
        yield f"hookkeeper events redeliver {id_}", "cyan"
    elif state == "pending":
        yield f"It waits{f': {_words(reason)}' if reason else ' for a worker'}.", ""


def _words(reason: str) -> str:
    return reason.replace("_", " ")
