"""The page of an event: its deliveries with their attempts, and the commands that make sense now."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ValidationError

from api import views
from api.access import needs
from api.deps import CallerDep, GatewayDep, LinksDep, StoreDep, Tenant
from api.errors import as_problem
from api.problems import Problem
from api.schemas.events import AcknowledgeRequest
from dashboard.rendering import problem_of, query, redirect, render
from dashboard.routes import PageRoute
from hookkeeper.command_rules import COMMANDS, Command
from hookkeeper.commands import Refused, UnknownDelivery
from hookkeeper.links import LinkBuilder
from hookkeeper.messages.event import FINAL, Delivery, EventState
from hookkeeper.registry.events.listing import WORST_FIRST
from hookkeeper.registry.events.rows import EventSnapshot
from hookkeeper.registry.store import Store
from hookkeeper.services.caller import Caller
from hookkeeper.services.events.commands import SENDS_NOTHING, acknowledge, send, suspended_tenant, unacknowledge
from hookkeeper.services.events.reads import read_event
from hookkeeper.services.fields import EVENT_ID
from hookkeeper.services.webhooks.webhooks import names_of
from hookkeeper.statuses import DeliveryStatus
from hookkeeper.temporal.server.error_translation import UnknownEvent
from hookkeeper.wording import N_

router = APIRouter(include_in_schema=False, route_class=PageRoute)
DELIVERIES_ON_PAGE = 20
FINISHED: frozenset[DeliveryStatus] = FINAL | {"sent"}
"""Deliveries that are made again. An open one is retried instead."""
BUTTONS: dict[Command, str] = {
    "retry": N_("Retry now"),
    "release": N_("Release"),
    "hold": N_("Hold"),
    "redeliver": N_("Deliver again"),
    "cancel": N_("Cancel"),
}
SENT = {
    "retry": N_("An attempt was requested."),
    "cancel": N_("The cancellation was sent."),
    "hold": N_("The hold was sent."),
    "release": N_("The release was sent."),
    "redeliver": N_("The event is being delivered again."),
    "example": N_("The example was sent."),
    "acknowledge": N_("The event needs no attention, until a delivery of it fails again."),
    "unacknowledge": N_("The acknowledgement is undone."),
}
"""What the page says after a command, and of an event that was sent from the catalogue."""
REASONS = {
    "exhausted": N_("All attempts of its schedule have failed."),
    "gone": N_("The receiver answered 410: it wants no more events."),
    "rejected": N_("The provider has rejected it."),
    "bad_template": N_("Its template failed."),
    "bounced": N_("The email bounced."),
    "forbidden_address": N_("Its address is not allowed."),
    "webhook_deleted": N_("Its webhook was deleted."),
    "webhook_disabled": N_("Its webhook is disabled."),
    "webhook_paused": N_("Its webhook is paused."),
    "queued": N_("It waits for earlier events of its ordered webhook."),
    "held_too_long": N_("It was held for too long."),
}
PathId = Annotated[str, Path(pattern=EVENT_ID)]


@router.get("/events/{event_id}", dependencies=[needs("events:read")])
async def show_event(
    request: Request,
    event_id: PathId,
    store: StoreDep,
    links: LinksDep,
    tenant: Tenant,
    caller: CallerDep,
    page: Annotated[int, Query(ge=1, le=1000)] = 1,
    sent: str = "",
) -> Response:
    """Show an event.

    An operator who names no tenant, as with an id from a log, gets the events of all tenants with this id.
    """
    try:
        snapshot = await read_event(store.rows, tenant, event_id)
    except UnknownEvent:
        if caller.tenant is None and "tenant" not in request.query_params:
            return redirect(query("/events", id_prefix=event_id))
        raise
    return await _show(request, snapshot, store, links, caller, page, notice=SENT.get(sent, ""))


@router.post("/events/{event_id}/acknowledge", dependencies=[needs("events:write")])
async def acknowledge_event(
    request: Request,
    event_id: PathId,
    tenant: Tenant,
    store: StoreDep,
    links: LinksDep,
    caller: CallerDep,
) -> Response:
    """Acknowledge an event, or undo it. A form of the list leads back to the list."""
    form: dict[str, str] = request.state.form
    try:
        if "undo" in form:
            await unacknowledge(event_id, tenant, store, caller)
        else:
            note = AcknowledgeRequest(note=form.get("note", "").strip()).note
            await acknowledge(event_id, tenant, note, store, caller)
    except (Refused, ValidationError) as error:
        snapshot = await read_event(store.rows, tenant, event_id)
        return await _show(request, snapshot, store, links, caller, 1, problem=problem_of(error))
    if "list" in form:
        return redirect(f"/events?{urlencode(parse_qsl(form['list']))}")
    return redirect(
        query(f"/events/{event_id}", tenant=tenant, sent="unacknowledge" if "undo" in form else "acknowledge")
    )


@router.post("/events/{event_id}/{command}", dependencies=[needs("events:write")])
async def command_event(
    request: Request,
    event_id: PathId,
    command: Command,
    tenant: Tenant,
    gateway: GatewayDep,
    store: StoreDep,
    links: LinksDep,
    caller: CallerDep,
) -> Response:
    """Send a command to a delivery, or to all."""
    delivery = request.state.form.get("delivery") or None
    try:
        await send(command, event_id, tenant, delivery, gateway, store, caller)
    except (Refused, UnknownDelivery) as error:
        snapshot = await read_event(store.rows, tenant, event_id)
        return await _show(request, snapshot, store, links, caller, 1, problem=as_problem(error))
    return redirect(query(f"/events/{event_id}", tenant=tenant, sent=command))


def offered(statuses: Iterable[DeliveryStatus], is_scheduled: bool, for_all: bool = False) -> list[Command]:
    """Return the commands that make sense for a delivery, or for all of an event.

    A finished delivery that failed is retried; one that succeeded is delivered again.
    """
    known = set(statuses)
    commands: list[Command] = []
    for command in BUTTONS:
        rule = COMMANDS[command]
        applicable = rule.statuses - (rule.skipped if for_all else frozenset())
        if command == "redeliver":
            applicable &= FINISHED
        if is_scheduled and (command in ("retry", "redeliver") or (command == "release" and not for_all)):
            continue
        if known & applicable or (command == "release" and is_scheduled):
            commands.append(command)
    return commands


async def _show(
    request: Request,
    snapshot: EventSnapshot,
    store: Store,
    links: LinkBuilder,
    caller: Caller,
    page: int,
    *,
    notice: str = "",
    problem: Problem | None = None,
) -> Response:
    deliveries = sorted(snapshot.state.deliveries, key=lambda delivery: WORST_FIRST.index(delivery.status))
    begin = (page - 1) * DELIVERIES_ON_PAGE
    shown = deliveries[begin : begin + DELIVERIES_ON_PAGE]
    is_scheduled = snapshot.state.status == "scheduled"
    can_write = "events:write" in caller.scopes
    is_suspended = await suspended_tenant(snapshot.state.tenant, store) is not None

    def buttons_for(statuses: Iterable[DeliveryStatus], *, for_all: bool = False) -> list[Command]:
        found = offered(statuses, is_scheduled, for_all) if can_write else []
        return [command for command in found if not is_suspended or command in SENDS_NOTHING]

    path = f"/events/{snapshot.state.id}"
    return await render(
        request,
        "event.html",
        event=views.event(_with_deliveries(snapshot, shown), links),
        counts=_counts(snapshot.state),
        worst=deliveries[0].status if deliveries else "",
        names=await names_of(
            store,
            caller,
            [delivery.webhook_id for delivery in shown] + [left.webhook_id for left in snapshot.event.left_out],
        ),
        actions=buttons_for((delivery.status for delivery in deliveries), for_all=True),
        actions_of={delivery.id: buttons_for([delivery.status]) for delivery in shown},
        suspended=is_suspended and can_write,
        buttons=BUTTONS | ({"release": N_("Deliver now")} if is_scheduled else {}),
        reasons=REASONS,
        is_open=snapshot.state.status not in FINAL,
        can_acknowledge=can_write and snapshot.state.needs_attention and not snapshot.acknowledged,
        can_undo=can_write and snapshot.acknowledged is not None,
        page=page,
        pages=-(-len(deliveries) // DELIVERIES_ON_PAGE),
        path_of_page=lambda number: query(path, tenant=snapshot.state.tenant, page=number),
        notice=notice,
        problem=problem,
    )


def _with_deliveries(snapshot: EventSnapshot, deliveries: list[Delivery]) -> EventSnapshot:
    return replace(snapshot, state=snapshot.state.model_copy(update={"deliveries": tuple(deliveries)}))


def _counts(state: EventState) -> dict[DeliveryStatus, int]:
    """Count the deliveries by status, in the order of the page."""
    counted = Counter(delivery.status for delivery in state.deliveries)
    return {status: counted[status] for status in WORST_FIRST if counted[status]}
