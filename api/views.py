"""From what the registry and Temporal know to what the API shows."""

from datetime import datetime
from typing import Any

from api.schemas import event_types as type_schemas
from api.schemas import events as event_schemas
from api.schemas import schedules as schedule_schemas
from api.schemas import webhooks as webhook_schemas
from hookkeeper import ids
from hookkeeper.content import masking, tls
from hookkeeper.content.headers import masked
from hookkeeper.content.notifications import OnFailure
from hookkeeper.crypto.signing_keys import is_asymmetric, public_key
from hookkeeper.links import LinkBuilder
from hookkeeper.messages.event import Delivery
from hookkeeper.messages.schedule import SchedulePlan
from hookkeeper.registry.health import status_of
from hookkeeper.registry.models import EventType, Webhook
from hookkeeper.temporal.gateway import Run, Started
from hookkeeper.temporal.schedule_conversion import FiringRun, ScheduleSnapshot
from hookkeeper.temporal.visibility import ListedRun
from hookkeeper.times import utc_now


def webhook(row: Webhook) -> webhook_schemas.Webhook:
    return webhook_schemas.Webhook(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        description=row.description,
        url=row.url or None,
        events=row.events,
        filter=row.filter,
        filter_errors=row.filter_errors or 0,
        filter_error=row.filter_error,
        payload=row.payload,
        emails=row.emails,
        notifications=tuple(map(masking.masked, row.notifications)),
        on_failure=_masked(row.on_failure),
        headers=masked(row.headers),
        tls=tls.masked(row.tls),
        signature_scheme="v1a" if is_asymmetric(row.secret) else "v1",
        retry=row.retry,
        timeout=row.timeout,
        rate_limit=row.rate_limit,
        ordered=row.ordered is not None,
        order_policy=row.ordered or "block",
        disable_after=row.disable_after,
        health=_health(row),
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        disabled_at=row.disabled_at,
        paused_at=row.paused_at,
        metadata=row.metadata_,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _health(row: Webhook) -> webhook_schemas.Health:
    now = utc_now()
    throttled = row.throttled_until is not None and now < row.throttled_until
    return webhook_schemas.Health(
        status=status_of(row, now),
        failing_since=row.failing_since,
        failures=row.failures or 0,
        last_success_at=row.last_success_at,
        throttled_until=row.throttled_until if throttled else None,
    )


def webhook_with_secret(row: Webhook) -> webhook_schemas.WebhookWithSecret:
    return webhook_schemas.WebhookWithSecret(**dict(webhook(row)), secret=row.secret, public_key=_public_key(row))


def secret(row: Webhook) -> webhook_schemas.WebhookSecret:
    return webhook_schemas.WebhookSecret(
        secret=row.secret,
        public_key=_public_key(row),
        previous_secret_expires_at=row.previous_secret_expires_at,
    )


def event_type(row: EventType) -> type_schemas.EventTypeEntry:
    return type_schemas.EventTypeEntry(
        name=row.name,
        description=row.description,
        schema=row.schema,
        examples=row.examples,
        archived=row.archived,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def accepted(started: Started, links: LinkBuilder) -> event_schemas.AcceptedEvent:
    state = started.state
    return event_schemas.AcceptedEvent(
        id=state.id,
        type=state.type,
        tenant=state.tenant,
        status=state.status,
        duplicate=started.duplicate,
        workflow_id=started.workflow_id,
        run_id=started.run_id,
        deliveries=[
            event_schemas.DeliveryHead(id=delivery.id, webhook_id=delivery.webhook_id, channel=delivery.channel)
            for delivery in state.deliveries
        ],
        links=links_of(links, state.tenant, state.id, started.workflow_id, started.run_id),
    )


def event(run: Run, links: LinkBuilder) -> event_schemas.Event:
    state = run.state
    scheduled_for = state.deliver_at if state.status == "scheduled" else None
    return event_schemas.Event(
        id=state.id,
        type=state.type,
        tenant=state.tenant,
        timestamp=state.timestamp,
        data=run.event.data,
        status=state.status,
        deliver_at=state.deliver_at,
        accepted_at=state.accepted_at,
        finished_at=state.finished_at,
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        links=links_of(links, state.tenant, state.id, run.workflow_id, run.run_id),
        deliveries=[_delivery(delivery, scheduled_for) for delivery in state.deliveries],
    )


def event_row(run: ListedRun, links: LinkBuilder) -> event_schemas.EventRow:
    return event_schemas.EventRow(
        id=run.event_id,
        type=run.type,
        tenant=run.tenant,
        status=run.status,
        accepted_at=run.accepted_at,
        finished_at=run.finished_at,
        deliver_at=run.deliver_at,
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        links=links_of(links, run.tenant, run.event_id, run.workflow_id, run.run_id),
        webhooks=list(run.webhooks),
        needs_attention=list(run.needs_attention),
    )


def schedule_head(known: ScheduleSnapshot, links: LinkBuilder) -> schedule_schemas.ScheduleHead:
    return schedule_schemas.ScheduleHead(**_schedule_head(known, links))


def schedule(known: ScheduleSnapshot, links: LinkBuilder) -> schedule_schemas.Schedule:
    plan = known.plan
    return schedule_schemas.Schedule(
        **_schedule_head(known, links),
        event=schedule_schemas.EventToMake(type=plan.type, data=plan.data),
        catchup_window=plan.catchup_window,
        jitter=plan.jitter,
        recent=[_firing(firing, plan, links) for firing in known.firings],
        skipped=known.skipped,
        missed=known.missed,
        created_at=known.created_at,
        updated_at=known.updated_at,
    )


def _schedule_head(known: ScheduleSnapshot, links: LinkBuilder) -> dict[str, Any]:
    plan = known.plan
    fields = {"id", "tenant", "name", "type", "every", "offset", "timezone", "overlap", "start_at", "end_at"}
    return plan.model_dump(include=fields) | {
        "cron": list(plan.cron) or None,
        "paused": known.paused,
        "note": known.note,
        "next": list(known.next),
        "links": schedule_schemas.ScheduleLinks(
            self=links.schedule(plan.tenant, plan.id),
            temporal=links.temporal_schedule(ids.schedule_id(plan.tenant, plan.id)),
        ),
    }


def _firing(firing: FiringRun, plan: SchedulePlan, links: LinkBuilder) -> schedule_schemas.Firing:
    event_id = None if firing.status == "refused" else firing.event_id
    return schedule_schemas.Firing(
        time=firing.time,
        started_at=firing.started_at,
        status=firing.status,
        event_id=event_id,
        reason=firing.reason,
        links=schedule_schemas.FiringLinks(
            event=event_id and links.event(plan.tenant, event_id),
            temporal=links.run(firing.workflow_id, firing.run_id),
        ),
    )


def links_of(links: LinkBuilder, tenant: str, event_id: str, workflow_id: str, run_id: str) -> event_schemas.Links:
    return event_schemas.Links(self=links.event(tenant, event_id), temporal=links.run(workflow_id, run_id))


def _delivery(delivery: Delivery, scheduled_for: datetime | None) -> event_schemas.Delivery:
    waits = delivery.status in ("pending", "retrying")
    return event_schemas.Delivery(
        id=delivery.id,
        webhook_id=delivery.webhook_id,
        channel=delivery.channel,
        target=delivery.target,
        status=delivery.status,
        reason=delivery.reason,
        next_attempt_at=(delivery.next_attempt_at or scheduled_for) if waits else None,
        attempts=[event_schemas.Attempt(**dict(attempt)) for attempt in delivery.attempts],
        attempts_omitted=delivery.attempts_omitted,
        awaiting=list(delivery.awaiting),
        receipts=[event_schemas.Receipt(**receipt.model_dump(exclude={"id"})) for receipt in delivery.receipts],
    )


def _masked(on_failure: OnFailure | None) -> OnFailure | None:
    if on_failure is None:
        return None
    hidden = tuple(map(masking.masked, on_failure.notifications))
    return on_failure.model_copy(update={"notifications": hidden})


def _public_key(row: Webhook) -> str | None:
    return public_key(row.secret) if is_asymmetric(row.secret) else None
