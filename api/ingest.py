"""From a request to a run: check the times, find the webhooks, start the workflow. 202 means Temporal has it."""

import asyncio
import hashlib
import json
import secrets
import time
from asyncio import Future
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import structlog

from api.problems import Invalid, TooLarge
from api.schemas.events import AcceptedEvent, DeliveryHead, NewEvent
from api.validating import check_data
from api.views import links_of
from hookkeeper.content import filters
from hookkeeper.content.context import Event
from hookkeeper.content.faults import Fault
from hookkeeper.limits.adaptive_limit import AdaptiveLimit
from hookkeeper.limits.turns import Turns
from hookkeeper.links import Links
from hookkeeper.messages.event import Delivery, EventInput
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.pacing import order_of, rate_of
from hookkeeper.registry.store import RegistryUnavailable, Store
from hookkeeper.registry.targets import Target, targets_of
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.settings import Settings
from hookkeeper.temporal.error_translation import Unavailable
from hookkeeper.temporal.gateway import Gateway, Started
from hookkeeper.times import utc_now

log = structlog.get_logger("hookkeeper.acceptance")
PATIENCE = 4.8
"""Seconds: within five, a request is either in Temporal or told that it is not."""
STARTS_AT_ONCE = 32
"""Runs that a process is starting at a time, half of them of one tenant: who floods waits here, and keeps nobody else
waiting in Temporal."""
LEAST_STARTS_PER_TENANT = 2
"""Of each tenant, while Temporal is so busy that starts take long."""
MAX_TARGETS = 1000
"""Of one event: Temporal takes no more than 2 MB to start a run, and what is shown of it stays under 512 KiB."""
LATE = timedelta(minutes=1)
"""A `deliver_at` this far in the past is a clock that is a little off: deliver now."""
MAX_AHEAD = timedelta(days=366)
MAX_TIMESTAMP_AHEAD = timedelta(days=1)
FIRST_TIMESTAMP = datetime(1970, 1, 1, tzinfo=UTC)


class EventId(NamedTuple):
    """The id that a request's event has, or gets."""

    value: str
    is_new: bool
    """Generated for this request: there is no run of it yet."""


def event_id_of(request: NewEvent, idempotency_key: str | None = None) -> EventId:
    """Give the event's id: the request's own, else the `Idempotency-Key`, else a new one."""
    given = request.id or idempotency_key
    return EventId(given or new_event_id(), is_new=given is None)


class EventIngest:
    """Accepts events: the one way into Temporal."""

    def __init__(self, gateway: Gateway, store: Store, links: Links, sandbox: Sandbox, settings: Settings) -> None:
        self._settings = settings
        self._gateway = gateway
        self._store = store
        self._links = links
        self._sandbox = sandbox
        self._starting = Turns(STARTS_AT_ONCE)
        self._starts_per_tenant = AdaptiveLimit(LEAST_STARTS_PER_TENANT, STARTS_AT_ONCE // 2)

    async def accept(
        self, request: NewEvent, event_id: EventId | None = None, behind: Sequence[Future[Any]] = ()
    ) -> AcceptedEvent:
        """Start the event's run with all webhooks that match; a repeated id answers with the run that is there.

        Raises Unavailable where the outcome is not known: sent again with the same id, it is one event.

        For an ordered webhook it comes after all that it is `behind`.
        """
        self._check_size(request)
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._accept(request, event_id or event_id_of(request), utc_now(), behind)
        except TimeoutError:
            raise Unavailable("the registry and Temporal together took too long") from None

    async def _accept(
        self, request: NewEvent, event_id: EventId, now: datetime, behind: Sequence[Future[Any]]
    ) -> AcceptedEvent:
        try:
            return await self._accept_now(request, event_id, now, behind)
        except Invalid:  # it may have been all right when it was accepted
            if known := await self._known(request, event_id):
                return self._answer(known)
            raise

    async def _accept_now(
        self, request: NewEvent, event_id: EventId, now: datetime, behind: Sequence[Future[Any]]
    ) -> AcceptedEvent:
        """Accept it as all is now; raise `Invalid` where it would be refused if it were new."""
        _check_times(request, now)
        await self._check_type(request)
        listening = await self._store.matching(request.tenant, request.type)
        event = _event(request, event_id.value, now)
        wanting = await self._wanting(listening, event)
        asked = list(zip(listening, wanting, strict=True))
        wanted = [webhook for webhook, wants in asked if wants is True]
        if behind and any(webhook.ordered for webhook in wanted):
            await asyncio.wait(behind)
        accepted = await self._start(request, event, wanted, now)
        if not accepted.duplicate:
            await self._note({webhook.id: str(fault) for webhook, fault in asked if isinstance(fault, Fault)})
        return accepted

    async def check(self, request: NewEvent) -> None:
        """Raise `Invalid` or `TooLarge` for an event that would be refused if it came now."""
        self._check_size(request)
        await self._check_type(request)

    async def accept_test(self, request: NewEvent, webhook: Webhook) -> AcceptedEvent:
        """Start a run for one webhook only, whatever it listens to, and even while it is disabled."""
        now = utc_now()
        return await self._start(request, _event(request, new_event_id(), now), [webhook], now, by_hand=True)

    async def _wanting(self, webhooks: Sequence[Webhook], event: Event) -> list[bool | Fault]:
        """Ask the filter of each webhook; one that fails for this event means no."""
        filtered = [number for number, webhook in enumerate(webhooks) if webhook.filter is not None]
        wanting: list[bool | Fault] = [True] * len(webhooks)
        if not filtered:
            return wanting
        expressions = [webhooks[number].filter or "" for number in filtered]
        answers = await self._sandbox.for_(event.tenant).call_each(filters.matches, expressions, event.shown())
        for number, answer in zip(filtered, answers, strict=True):
            wanting[number] = answer
            if isinstance(answer, Fault):
                about = {"webhook": webhooks[number].id, "tenant": event.tenant, "event_id": event.id}
                log.warning("filter failed", **about, error=str(answer))
        return wanting

    async def _note(self, failures: dict[str, str]) -> None:
        """Count the filters that failed. The event is accepted by now: that stands, whether they can be counted."""
        try:
            for webhook_id, error in failures.items():
                await self._store.note_filter_error(webhook_id, error)
        except RegistryUnavailable as error:
            log.warning("filter errors not counted", error=str(error), webhooks=list(failures))

    async def _start(
        self, request: NewEvent, event: Event, webhooks: list[Webhook], now: datetime, by_hand: bool = False
    ) -> AcceptedEvent:
        deliveries = tuple(
            _delivery(webhook, target, by_hand) for webhook in webhooks for target in targets_of(webhook)
        )
        if len(deliveries) > MAX_TARGETS:
            raise Invalid(f"The event goes to {len(deliveries)} targets; one event may have at most {MAX_TARGETS}.")
        started = EventInput(
            id=event.id,
            type=event.type,
            tenant=event.tenant,
            timestamp=event.timestamp,
            data=event.data,
            accepted_at=now,
            deliver_at=request.deliver_at,
            deliveries=deliveries,
            max_hold=self._settings.max_hold.total_seconds(),
        )
        async with self._starting.of(event.tenant):
            begin = time.monotonic()
            try:
                return self._answer(await self._gateway.start(started, digest(request)))
            finally:
                self._starts_per_tenant.note(time.monotonic() - begin)
                self._starting.per_tenant = self._starts_per_tenant.value

    async def _known(self, request: NewEvent, event_id: EventId) -> Started | None:
        if event_id.is_new:
            return None
        return await self._gateway.known(request.tenant, event_id.value, digest(request))

    async def _check_type(self, request: NewEvent) -> None:
        """Hold the event to the catalogue."""
        known = await self._store.catalogue.get(request.type)
        if known is None:
            if self._settings.require_known_event_types:
                raise Invalid.field("type", "is not in the catalogue of event types")
        elif known.archived:
            raise Invalid.field("type", "is archived: it takes no new events")
        elif known.schema is not None:
            await check_data(self._sandbox, request.tenant, request.type, known.schema, request.data)

    def _check_size(self, request: NewEvent) -> None:
        """Refuse an event that is too large as it is kept: `1e15` comes as 4 bytes and is written as 18."""
        if len(request.model_dump_json(exclude_unset=True).encode()) > self._settings.max_event_bytes:
            raise TooLarge(f"The event is larger than the {self._settings.max_event_bytes} bytes allowed.")

    def _answer(self, started: Started) -> AcceptedEvent:
        state = started.state
        return AcceptedEvent(
            id=state.id,
            type=state.type,
            tenant=state.tenant,
            status=state.status,
            duplicate=started.duplicate,
            workflow_id=started.workflow_id,
            run_id=started.run_id,
            deliveries=[
                DeliveryHead(id=each.id, webhook_id=each.webhook_id, channel=each.channel) for each in state.deliveries
            ],
            links=links_of(self._links, state.tenant, state.id, started.workflow_id, started.run_id),
        )


def _event(request: NewEvent, event_id: str, now: datetime) -> Event:
    return Event(event_id, request.type, request.tenant, request.timestamp or now, request.data)


def _delivery(webhook: Webhook, target: Target, by_hand: bool) -> Delivery:
    to_url = target.channel == "webhook"
    return Delivery(
        id=target.id,
        webhook_id=webhook.id,
        channel=target.channel,
        target=target.shown,
        by_hand=by_hand,
        rate=rate_of(webhook) if to_url else None,
        ordered=order_of(webhook) if to_url and not by_hand else None,
    )


def new_event_id() -> str:
    return f"evt_{secrets.token_hex(12)}"


def digest(request: NewEvent) -> str:
    """Tell whether two requests with one id mean the same event: the order of keys does not matter, all else does."""
    meant: dict[str, Any] = request.model_dump(mode="json", include={"type", "data", "timestamp", "deliver_at"})
    canonical = json.dumps(meant, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def check_deliver_at(deliver_at: datetime, now: datetime) -> None:
    """Raise `Invalid` for a time that has passed or is more than a year ahead."""
    if deliver_at < now - LATE:
        raise Invalid.field("deliver_at", "is in the past")
    if deliver_at > now + MAX_AHEAD:
        raise Invalid.field("deliver_at", "is more than a year ahead")


def _check_times(request: NewEvent, now: datetime) -> None:
    if request.deliver_at:
        check_deliver_at(request.deliver_at, now)
    if request.timestamp and not FIRST_TIMESTAMP <= request.timestamp <= now + MAX_TIMESTAMP_AHEAD:
        raise Invalid.field("timestamp", "is before 1970 or more than a day ahead")
