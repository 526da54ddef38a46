"""The first page: how deliveries went in the last 24 hours, what needs attention, and whether everything runs."""

import asyncio
from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from api import views
from api.access import needs
from api.deps import AnyTenant, CallerDep, GatewayDep, LinksDep, SettingsDep, StoreDep
from dashboard.day import Day, last_day, webhooks_with_trouble
from dashboard.rendering import query, redirect, render
from dashboard.routes import PageRoute
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.index.search import Search
from hookkeeper.registry.index.statistics import StatisticsTooLarge
from hookkeeper.registry.store import Store
from hookkeeper.temporal.error_translation import Unavailable
from hookkeeper.temporal.gateway import Gateway

router = APIRouter(include_in_schema=False, route_class=PageRoute)
CHECK_TIMEOUT = 2.0
"""Seconds for Temporal to answer; a page may be late, and does not wait for long."""
CHART_HEIGHT = 120.0
MAX_EVENTS = 8


class Component(NamedTuple):
    """A part of the installation."""

    name: str
    works: bool
    text: str


@router.get("/", dependencies=[needs("events:read", "webhooks:read")])
async def show_overview(
    request: Request,
    store: StoreDep,
    gateway: GatewayDep,
    links: LinksDep,
    settings: SettingsDep,
    caller: CallerDep,
    tenant: AnyTenant,
) -> Response:
    """Show how it goes. A key without `events:read` has the list of its webhooks instead."""
    if "events:read" not in caller.scopes:
        return redirect("/webhooks")
    components = await _components(gateway, store) if caller.tenant is None else []
    try:
        day = await last_day(store.index, CHART_HEIGHT, tenant=tenant)
        troubled = await _troubled(store, tenant, can_read="webhooks:read" in caller.scopes)
        search = Search(tenant=tenant, needs_attention=True)
        events, _ = await store.index.events(search, MAX_EVENTS, None)
        is_new = _is_empty(day) and await _is_new(store, tenant)
    except RegistryUnavailable:
        return await render(request, "overview_unavailable.html", 503, components=components)
    return await render(
        request,
        "overview.html",
        components=components,
        stream=query("/live", tenant=tenant if caller.tenant is None else None),
        day=day,
        troubled=troubled,
        events=[views.event_summary(event, links) for event in events],
        is_new=is_new,
        all_tenants=caller.tenant is None,
        tenant=tenant,
        api=settings.public_url,
        offers_inbox=settings.inboxes and caller.scopes >= {"webhooks:write", "events:write"},
    )


async def _troubled(store: Store, tenant: str | None, *, can_read: bool) -> list[dict[str, object]] | None:
    """Return the webhooks with failures; None if there are too many to compare."""
    try:
        groups = await webhooks_with_trouble(store.index, tenant)
    except StatisticsTooLarge:
        return None
    ids = {group.names["webhook_id"] for group in groups}
    known = (await store.webhooks.many(ids)).readable if can_read else {}
    return [
        {
            "id": group.names["webhook_id"],
            "tenant": group.names["tenant"],
            "webhook": known.get(group.names["webhook_id"]),
            "failed": group.total["attempts"] - group.total["succeeded"],
            "held": group.held,
            "retrying": group.retrying,
            "success_rate": group.total.success_rate,
        }
        for group in groups
    ]


def _is_empty(day: Day | None) -> bool:
    return day is not None and day.chart.is_empty and not day.counts.total["events"]


async def _is_new(store: Store, tenant: str | None) -> bool:
    """Return whether there has been no event at all."""
    events, _ = await store.index.events(Search(tenant=tenant), 1, None)
    return not events


async def _components(gateway: Gateway, store: Store) -> list[Component]:
    return list(await asyncio.gather(_temporal(gateway), _worker(gateway), _registry(store)))


async def _temporal(gateway: Gateway) -> Component:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await gateway.readiness.ping()
    except (Unavailable, TimeoutError):
        text = "does not answer: new events are refused with 503 until it does. Accepted ones are not lost."
        return Component("Temporal", False, text)
    return Component("Temporal", True, "answers")


async def _worker(gateway: Gateway) -> Component:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            works, waiting = await asyncio.gather(gateway.readiness.has_worker(), gateway.readiness.count_waiting())
    except (Unavailable, TimeoutError):
        return Component("Workers", False, "are unknown while Temporal does not answer.")
    if not works:
        return Component("Workers", False, f"do not run: events are accepted and wait. {waiting} tasks wait now.")
    return Component("Workers", True, f"run; {waiting} tasks wait" if waiting else "run; nothing waits")


async def _registry(store: Store) -> Component:
    try:
        await store.ping()
    except RegistryUnavailable:
        text = "does not answer: new events are refused with 503, and deliveries wait until it does."
        return Component("Registry", False, text)
    return Component("Registry", True, "answers")
