"""What the index has counted in the last 24 hours, by hour."""

from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

from dashboard.charts import Chart, chart
from hookkeeper.registry.index.index import EventIndex
from hookkeeper.registry.index.rollup import HOUR, OTHERS
from hookkeeper.registry.index.statistics import MAX_POINTS, Group, StatisticsQuery, StatisticsTooLarge
from hookkeeper.times import utc_now

DAY = timedelta(days=1)
MAX_COMPARED = 5
"""Webhooks that the overview names."""


class Day(NamedTuple):
    """What happened in all, and the attempts of each hour."""

    counts: Group
    chart: Chart


async def last_day(
    index: EventIndex, height: float, *, tenant: str | None = None, webhook: str | None = None
) -> Day | None:
    """Count what happened; None if there are too many counters to add up."""
    now = utc_now()
    query = StatisticsQuery(since=now - DAY, until=now, now=now, step=HOUR, tenant=tenant, webhook=webhook)
    try:
        found = await index.statistics(query)
    except StatisticsTooLarge:
        return None
    return Day(found.groups[0], chart(found.times, found.groups[0].steps, height))


async def tenants_of_the_day(index: EventIndex) -> dict[str, Group] | None:
    """Count what happened by tenant; None if there are too many to count."""
    now = utc_now()
    query = StatisticsQuery(since=now - DAY, until=now, now=now, by="tenant", max_groups=MAX_POINTS)
    try:
        found = await index.statistics(query)
    except StatisticsTooLarge:
        return None
    days = {group.names["tenant"]: group for group in found.groups}
    return None if OTHERS in days else days


async def webhooks_with_trouble(index: EventIndex, tenant: str | None) -> list[Group]:
    """Return the webhooks with most failed attempts and waiting deliveries. Raises StatisticsTooLarge.

    Of too many to compare all, they are those with most deliveries that need attention.
    """
    now = utc_now()
    query = StatisticsQuery(since=now - DAY, until=now, now=now, by="webhook", tenant=tenant, order="failures")
    try:
        groups = [group for group in (await index.statistics(query)).groups if group.names["webhook_id"] != OTHERS]
    except StatisticsTooLarge:
        few = await index.webhooks_needing_attention(now - DAY, tenant, MAX_COMPARED)
        found = [await index.statistics(replace(query, tenant=of, webhook=webhook)) for of, webhook in few]
        groups = [group for each in found for group in each.groups]
    return sorted(filter(_trouble, groups), key=_trouble, reverse=True)[:MAX_COMPARED]


def _trouble(group: Group) -> int:
    return group.total["attempts"] - group.total["succeeded"] + group.held + group.retrying
