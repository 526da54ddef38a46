"""Converts rows of the registry and messages of runs to the answers of the API."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, get_args

from api.schemas.events import (
    AcceptedEvent,
    ChangedDelivery,
    DeliveryView,
    EventChange,
    EventLinks,
    EventSummary,
    EventView,
    LatestResultView,
    LeftOutView,
    RunsView,
    RunView,
)
from api.schemas.recoveries import RecoveryView, WebhookDelivery
from api.schemas.stats import AttemptOutcomes, LatencyPercentiles, StatisticsGroup, StatisticsStep, StatisticsView
from api.schemas.webhooks import WebhookSecret
from hookkeeper import ids
from hookkeeper.command_rules import COMMANDS
from hookkeeper.content import tls
from hookkeeper.content.headers import masked
from hookkeeper.content.search_terms import CHANNEL
from hookkeeper.crypto.signing_keys import is_asymmetric, public_key
from hookkeeper.filters import OF_EVENTS
from hookkeeper.kinds import LISTS
from hookkeeper.links import LinkBuilder
from hookkeeper.messages.bulk_work import RecoveryScope, RecoveryState
from hookkeeper.messages.event import Acknowledgement, Delivery, EventState, next_attempt_at
from hookkeeper.messages.rows import DeliveryRow, EventRow
from hookkeeper.messages.schedule import SchedulePlan
from hookkeeper.policy import OrderKey
from hookkeeper.registry.events.conditions import Search, delivery_needs_attention
from hookkeeper.registry.events.rollup import OUTCOMES
from hookkeeper.registry.events.rows import EventSnapshot
from hookkeeper.registry.events.statistics import Group, Measures, Statistics, StatisticsQuery
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.webhooks.health import health_status
from hookkeeper.registry.webhooks.targets import items_of
from hookkeeper.services.schedules.fields import (
    EventTemplate,
    FiringLinks,
    FiringView,
    ScheduleLinks,
    ScheduleSummary,
    ScheduleView,
)
from hookkeeper.services.webhooks.fields import FailingTarget, WebhookHealth, WebhookView, WebhookWithSecret
from hookkeeper.services.webhooks.webhooks import masked_alerts
from hookkeeper.statuses import DeliveryStatus
from hookkeeper.temporal.bulk.recovery_candidates import search_of
from hookkeeper.temporal.events.event_runs import RunState
from hookkeeper.temporal.schedules.conversion import FiringRun, ScheduleSnapshot
from hookkeeper.times import rfc3339, utc_now

MAX_NAMED = 5
"""Webhooks that a note names."""
NAMES = ("tenant", "webhook_id", "channel", "type")
COUNTS = ("deliveries_succeeded", "deliveries_failed", "deliveries_cancelled", "attempts", "retries", "requested")


def webhook(row: Webhook) -> WebhookView:
    return WebhookView.of(
        row,
        url=row.url or None,
        filter_errors=row.filter_errors or 0,
        **{kind.field: items.with_masks(items_of(row, kind)) for kind, items in LISTS},
        on_failure=masked_alerts(row.on_failure),
        headers=masked(row.headers),
        tls=tls.masked(row.tls),
        signature_scheme="v1a" if is_asymmetric(row.secret) else "v1",
        ordered=OrderKey(key=row.order_key) if row.order_key else row.ordered is not None,
        order_policy=row.ordered or "block",
        health=_health(row),
        metadata=row.metadata_,
    )


def _health(row: Webhook) -> WebhookHealth:
    now = utc_now()
    throttled = row.throttled_until is not None and now < row.throttled_until
    failing = sorted(row.failing.items(), key=lambda item: item[1].since)
    return WebhookHealth.of(
        row,
        status=health_status(row, now),
        failing_since=row.unhealthy_since,
        failures=max((failure.failures for _, failure in failing), default=0),
        throttled_until=row.throttled_until if throttled else None,
        failing=[FailingTarget.of(failure, target=target) for target, failure in failing],
    )


def webhook_with_secret(row: Webhook) -> WebhookWithSecret:
    return WebhookWithSecret.of(webhook(row), secret=row.secret, public_key=_public_key(row))


def secret(row: Webhook) -> WebhookSecret:
    return WebhookSecret.of(row, public_key=_public_key(row))


def accepted(started: EventSnapshot, links: LinkBuilder) -> AcceptedEvent:
    state = started.state
    return AcceptedEvent.of(
        state,
        duplicate=started.duplicate,
        note=note_of(started),
        **_located(started.row, links),
    )


def note_of(accepted: EventSnapshot) -> str | None:
    """Return what the sender of an event should know: that it goes nowhere, or that filters have failed."""
    event, left_out = accepted.state, [each.webhook_id for each in accepted.event.left_out]
    notes = []
    if event.status == "no_webhook" and not left_out:
        notes.append(
            f"No webhook of tenant {event.tenant} gets {event.type}: none matches its type, channels and data."
        )
    if left_out:
        named = ", ".join(left_out[:MAX_NAMED]) + (" …" if len(left_out) > MAX_NAMED else "")
        notes.append(f"Filters have failed, so these webhooks did not get the event: {named}.")
    return " ".join(notes) or None


def event(snapshot: EventSnapshot, links: LinkBuilder) -> EventView:
    state = snapshot.state
    return EventView.of(
        state,
        data=snapshot.event.data,
        channels=snapshot.event.channels,
        **_located(snapshot.row, links),
        acknowledged=snapshot.acknowledged,
        left_out=[LeftOutView.of(each) for each in snapshot.event.left_out],
        deliveries=_deliveries(state),
    )


def runs(found: Iterable[RunState]) -> RunsView:
    return RunsView(
        items=[
            RunView(
                workflow_id=run.id,
                run_id=run.run_id,
                status=run.status.name if run.status else "",
                deliveries=_deliveries(state) if state else [],
            )
            for run, state in found
        ]
    )


def _deliveries(state: EventState) -> list[DeliveryView]:
    return [DeliveryView.of(delivery, next_attempt_at=_next_attempt(delivery, state)) for delivery in state.deliveries]


def event_summary(row: EventRow, links: LinkBuilder, names: Mapping[str, str]) -> EventSummary:
    """`names` are those of webhooks, by id."""
    now, shown = utc_now(), row.deliveries if row.needs_attention else ()
    troubled = {each.webhook_id for each in shown if delivery_needs_attention(each.status, each.accepted_at, now)}
    latest = row.latest and LatestResultView.of(
        row.latest,
        delivery=row.latest.id,
        webhook_name=names.get(row.latest.webhook_id),
        next_attempt_at=_next_attempt(row.latest, row),
    )
    return EventSummary.of(
        row,
        **_located(row, links),
        channels=(row.channels or "").split(),
        webhooks=sorted({each.webhook_id for each in row.deliveries}),
        needs_attention=sorted(troubled),
        latest=latest,
        acknowledged=Acknowledgement.of(row.acknowledged),
    )


def event_change(row: EventRow, links: LinkBuilder, *, is_new: bool) -> EventChange:
    deliveries = [
        ChangedDelivery.of(delivery, next_attempt_at=_next_attempt(delivery, row)) for delivery in row.deliveries
    ]
    return EventChange.of(row, **_located(row, links), is_new=is_new, deliveries=deliveries)


def delivery(row: EventRow, links: LinkBuilder) -> WebhookDelivery:
    """`row` has the delivery alone."""
    return WebhookDelivery.of(row.latest, **_located(row, links))


def _located(row: EventRow, links: LinkBuilder) -> dict[str, Any]:
    """Return the run that has an event, and the links to both."""
    to_both = EventLinks(self=links.event(*row.name), temporal=links.run(row.workflow_id, row.run_id))
    return {"workflow_id": row.workflow_id, "run_id": row.run_id, "links": to_both}


def recovery(state: RecoveryState) -> RecoveryView:
    scope = state.scope
    return RecoveryView.of(
        state,
        id=state.id or None,
        tenant=scope.tenant,
        action=scope.action or "recover",
        filter=as_query(search_of(scope)) if scope.action else None,
        changes=_changes(scope),
        found=None if state.found is None else max(state.found, state.done + state.skipped + state.failed),
        webhook_id=scope.webhook_id,
        status=state.status if state.id else "dry_run",
        since=scope.since,
        until=scope.until,
        types=scope.types,
        requested_status=scope.status,
        started_at=scope.began,
    )


def _changes(scope: RecoveryScope) -> list[DeliveryStatus]:
    if scope.action is None:
        changed: Collection[str] = {scope.status, *(("retrying",) if scope.retrying else ())}
    elif scope.action in COMMANDS:
        changed = COMMANDS[scope.action].applies_to(search_of(scope).delivery_statuses)
    else:
        changed = ()
    return [status for status in get_args(DeliveryStatus) if status in changed]


def as_query(search: Search) -> dict[str, str | list[str]]:
    """Write a search of events as the query of the list that it found."""
    codes = search.status_codes
    values = {each.name: getattr(search, each.field or each.name) for each in OF_EVENTS}
    written = values | {
        "webhook": search.webhook,
        "since": search.since,
        "until": search.until,
        "q": " ".join(f'data.{path}:"{value}"' for path, value in search.keys if path != CHANNEL) or None,
        "in_channel": next((value for path, value in search.keys if path == CHANNEL), None),
        "status_code": codes and (f"{codes.status_class}xx" if codes.is_class else str(codes.first)),
    }
    return {name: _as_text(value) for name, value in written.items() if value not in (None, ())}


def _as_text(value: Any) -> str | list[str]:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def schedule_summary(known: ScheduleSnapshot, links: LinkBuilder) -> ScheduleSummary:
    plan = known.plan
    return ScheduleSummary.of(
        plan,
        cron=list(plan.cron) or None,
        paused=known.paused,
        note=known.note,
        next=None if known.next is None else list(known.next),
        links=ScheduleLinks(
            self=links.schedule(plan.tenant, plan.id),
            temporal=links.temporal_schedule(ids.schedule_id(plan.tenant, plan.id)),
        ),
    )


def schedule(known: ScheduleSnapshot, links: LinkBuilder) -> ScheduleView:
    plan = known.plan
    return ScheduleView.of(
        known,
        **dict(schedule_summary(known, links)),
        event=EventTemplate(type=plan.type, channels=plan.channels, data=plan.data),
        recent=None if known.firings is None else [_firing(firing, plan, links) for firing in known.firings],
    )


def _firing(firing: FiringRun, plan: SchedulePlan, links: LinkBuilder) -> FiringView:
    event_id = None if firing.status == "refused" else firing.event_id
    return FiringView.of(
        firing,
        event_id=event_id,
        links=FiringLinks(
            event=event_id and links.event(plan.tenant, event_id),
            temporal=links.run(firing.workflow_id, firing.run_id),
        ),
    )


def _next_attempt(delivery: Delivery | DeliveryRow, event: EventState | EventRow) -> datetime | None:
    return next_attempt_at(delivery.status, delivery.next_attempt_at, event.status, event.deliver_at)


def _public_key(row: Webhook) -> str | None:
    return public_key(row.secret) if is_asymmetric(row.secret) else None


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
        **{name: measures[name] if query.has_events else None for name in ("events", "no_webhook")},
        **{name: measures[name] for name in COUNTS},
        "success_rate": measures.success_rate,
        "error_rate": measures.error_rate,
        "outcomes": AttemptOutcomes(**{name: measures[name] for name in OUTCOMES}),
        "latency": _latency(measures),
    }


def _latency(measures: Measures) -> LatencyPercentiles | None:
    p50, p95, p99 = (measures.latency(share) for share in (0.5, 0.95, 0.99))
    if p50 is None or p95 is None or p99 is None:
        return None
    return LatencyPercentiles(p50=round(p50, 1), p95=round(p95, 1), p99=round(p99, 1))
