"""Statistics from the index of events. They need neither Temporal nor a worker."""

import asyncio
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.access import GuardedRoute, needs
from api.deps import AnyTenant, CallerDep, StoreDep, WebhookFilter
from api.problems import KEYED
from api.schemas.stats import StatisticsView
from api.state import state_of
from api.views import statistics
from hookkeeper.kinds import Channel
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.events.statistics import GroupBy, Order, Statistics, StatisticsQuery
from hookkeeper.services.errors import Invalid
from hookkeeper.services.fields import EventType, GivenTime
from hookkeeper.times import utc_now

router = APIRouter(prefix="/v1/stats", tags=["statistics"], route_class=GuardedRoute, responses=KEYED)
DEFAULT_PERIOD = timedelta(days=1)
MAX_STEP = 366 * 86_400


@router.get("", dependencies=[needs("events:read")], response_model=StatisticsView)
async def show_statistics(
    request: Request,
    store: StoreDep,
    caller: CallerDep,
    tenant: AnyTenant,
    webhook: WebhookFilter,
    by: Annotated[GroupBy, Query(description="What to count separately")] = "total",
    since: Annotated[
        GivenTime | None,
        Query(description="Count from this time on; by default the last 24 hours", examples=["2026-01-02T00:00:00Z"]),
    ] = None,
    until: Annotated[GivenTime | None, Query(description="Count before this time; by default now")] = None,
    step: Annotated[
        int | None,
        Query(
            ge=60,
            le=MAX_STEP,
            multiple_of=60,
            description="Seconds of each step, a multiple of 60. Steps begin at multiples of it since 1970, so those of"
            " a day begin at midnight UTC. By default there are no steps",
            examples=[3600],
        ),
    ] = None,
    type: Annotated[EventType | None, Query(description="Only events of exactly this type")] = None,
    channel: Annotated[Channel | None, Query(description="Only deliveries of this channel")] = None,
    order: Annotated[
        Order,
        Query(
            description="Which groups are named, of more than 100: those with the most events and attempts (`size`), or"
            " with the most failed attempts"
        ),
    ] = "size",
) -> Response:
    """Count events, deliveries and attempts, by tenant, webhook, channel or event type, and over time.

    Events count when they were accepted, attempts when they began, and deliveries when they finished: as soon as
    the event's workflow has recorded that step. `since` is rounded down and `until` up, to whole steps; without `step`,
    to minutes in a period of up to six hours, to hours in one of up to seven days, else to days. Minutes are kept for
    two days.

    An answer names at most 100 groups, and adds all others up to one with the name `(other)`. It has at most 3,000
    points (groups × steps): with more than 29 steps, it names fewer groups. A 422 says what to change.
    """
    now = utc_now()
    until = max(min(until or now, now), BEGINNING)
    query = StatisticsQuery(
        since=max(since or until - DEFAULT_PERIOD, BEGINNING),
        until=until,
        now=now,
        by=by,
        step=step,
        tenant=tenant,
        webhook=webhook,
        type=type,
        channel=channel,
        order=order,
    )
    if query.since >= query.until:
        raise Invalid.field("since", "must be before now and before until")
    async with state_of(request).counting.slot(caller.tenant or ""):
        found = await store.index.statistics(query)
        body = await asyncio.to_thread(_written, query, found)  # 3,000 points take a twentieth of a second
    return Response(body, media_type="application/json")


def _written(query: StatisticsQuery, found: Statistics) -> str:
    return statistics(query, found).model_dump_json()
