"""From what the index adds up to what the API shows."""

from typing import Any

from api.schemas.stats import AttemptOutcomes, LatencyPercentiles, StatisticsGroup, StatisticsStep, StatisticsView
from hookkeeper.registry.index.rollup import OUTCOMES
from hookkeeper.registry.index.statistics import Group, Measures, Statistics, StatisticsQuery

NAMES = ("tenant", "webhook_id", "channel", "type")
COUNTS = ("deliveries_succeeded", "deliveries_failed", "deliveries_cancelled", "attempts", "retries", "requested")


def statistics(query: StatisticsQuery, found: Statistics) -> StatisticsView:
    return StatisticsView(
        by=query.by,
        since=found.since,
        until=found.until,
        step=query.step,
        items=[_group(query, found, group) for group in found.groups],
        waiting_capped=found.waiting_capped,
    )


def _group(query: StatisticsQuery, found: Statistics, group: Group) -> StatisticsGroup:
    names: dict[str, Any] = {name: group.names.get(name) for name in NAMES}
    steps = [
        StatisticsStep(at=at, **_counts(query, measures)) for at, measures in zip(found.times, group.steps, strict=True)
    ]
    return StatisticsGroup(
        **names, **_counts(query, group.total), held=group.held, retrying=group.retrying, steps=steps
    )


def _counts(query: StatisticsQuery, measures: Measures) -> dict[str, Any]:
    return {
        "events": measures["events"] if query.has_events else None,
        **{name: measures[name] for name in COUNTS},
        "success_rate": measures.success_rate,
        "outcomes": AttemptOutcomes(**{name: measures[name] for name in OUTCOMES}),
        "latency": _latency(measures),
    }


def _latency(measures: Measures) -> LatencyPercentiles | None:
    p50, p95, p99 = (measures.latency(share) for share in (0.5, 0.95, 0.99))
    if p50 is None or p95 is None or p99 is None:
        return None
    return LatencyPercentiles(p50=round(p50, 1), p95=round(p95, 1), p99=round(p99, 1))
