"""Accept an event: check it, find the webhooks that want it, commit its row. Its run is started afterwards."""

import asyncio
from asyncio import Future
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

import structlog

from hookkeeper import ids, metrics, tracing
from hookkeeper.asyncio_tasks import stop
from hookkeeper.content import filters
from hookkeeper.content.context import OutgoingEvent
from hookkeeper.content.errors import ContentError
from hookkeeper.content.search_terms import Key, keys_of, keys_of_channels
from hookkeeper.content.text import truncate
from hookkeeper.kinds import KINDS
from hookkeeper.messages.event import Delivery, EventInput, LeftOut
from hookkeeper.messages.outcomes import ReservedTime
from hookkeeper.policy import OrderPolicy
from hookkeeper.registry.catalogue import EventRules
from hookkeeper.registry.events.rows import EventSnapshot
from hookkeeper.registry.models import HANGING_RATE, Webhook
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.registry.tenants.tenants import TenantDeleted
from hookkeeper.registry.webhooks.health import FILTER, MAX_TEXT, AttemptResult
from hookkeeper.registry.webhooks.matching import MatchingWebhook, hears
from hookkeeper.registry.webhooks.targets import Target, targets_of
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.services.catalogue.schema_validation import check_data
from hookkeeper.services.errors import Invalid, NotFound, NotKnown, TenantSuspended, TooLarge
from hookkeeper.services.events.new_event import NewEvent, digest
from hookkeeper.services.incidents import calls_after, incident_calls
from hookkeeper.services.rate_limits import RateLimits
from hookkeeper.services.starts.backlog import Backlog
from hookkeeper.services.starts.event_starts import EventStarts
from hookkeeper.services.starts.queue import Expected, NewRun
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.server.error_translation import Unavailable
from hookkeeper.times import utc_now

log = structlog.get_logger("hookkeeper.ingest")
ACCEPT_TIMEOUT = 4.8
"""Seconds. Within five, a client knows whether its event is accepted."""
MAX_TARGETS = 1000
"""Targets of an event: Temporal takes no more than 2 MB to start a run, and what is shown of it stays under 512 KiB."""
MAX_RUN_BYTES = 2 * 1024 * 1024 - 16 * 1024
"""Bytes of an event with its deliveries: Temporal takes no more than 2 MiB to start a run."""
MAX_RESERVED = 10
"""Webhooks that hang for which accepting an event reserves times."""
LATEST_WEBHOOKS, MAX_NAMED = 100, 5
"""Webhooks whose tenants are looked up for an event without a webhook, and tenants that its note names."""
MAX_LEFT_OUT = 100
"""Webhooks whose filter failed that an event names."""
MAX_CLOCK_SKEW = timedelta(minutes=1)
"""A `deliver_at` this far in the past comes from a clock that is a little off: the event is delivered now."""
MAX_AHEAD = timedelta(days=366)
MAX_TIMESTAMP_AHEAD = timedelta(days=1)
NO_KEY = sha256().hexdigest()
"""The digest of the key "": that of all events of a webhook without keys, and of those that have none."""
FIRST_TIMESTAMP = datetime(1970, 1, 1, tzinfo=UTC)


class PlaceInBatch(NamedTuple):
    """The place of an event in its batch."""

    earlier: Future[None]
    """Done when all events before this one have their places in the order."""
    end: Callable[[], None]
    """Let those behind it take theirs."""


class EventIngest:
    """Accepts events: posted ones, those of schedules, and test events."""

    def __init__(self, gateway: Gateway, store: Store, sandbox: Sandbox, settings: Settings) -> None:
        self._settings = settings
        self._gateway = gateway
        self._store = store
        self._sandbox = sandbox
        self._rates = RateLimits()
        self._incidents = incident_calls(gateway, settings)
        self._calls: set[asyncio.Task[None]] = set()
        self.starts = EventStarts(gateway, store.rows, settings.max_events_per_run)
        self.backlog = Backlog(settings.max_events_not_started)

    async def aclose(self) -> None:
        """Stop the starts of runs that are under way: they are repeated from rows. So are calls of incidents."""
        await self.starts.aclose()
        await asyncio.gather(*map(stop, self._calls))

    async def accept(
        self,
        event: NewEvent,
        event_id: str,
        in_batch: PlaceInBatch | None = None,
        *,
        may_share: bool = True,
        only_known: bool = False,
        makes_tenant: bool = True,
    ) -> EventSnapshot:
        """Accept the event for all webhooks that match; a repeated id returns the event that was accepted before.

        `event_id` is the event's own id, or was generated for it. If one of its webhooks is ordered, the event waits
        until all earlier events of its batch have their places. Without `may_share`, the event has a run of its own.
        With `only_known`, raises NotKnown for an event that has no row yet; without `makes_tenant`, NotFound for a
        tenant that is not known. Raises Invalid, TooLarge, Postponed, TenantSuspended, TenantDeleted, and the errors of
        the registry and of Temporal. After Unavailable the outcome is not known: sent again with the same id, it is one
        event.
        """
        size = self._check_size(event)
        async with _in_time():
            if only_known and not (event.id and await self._store.rows.find(event.tenant, event.id)):
                raise NotKnown("No event with this id was accepted before.")
            self.backlog.check(event.tenant)
            try:
                return await self._accept(event, event_id, size, in_batch, may_share, makes_tenant)
            except (Invalid, TenantSuspended):  # it may have been valid when it was accepted
                if event.id and (known := await self.starts.known(event.tenant, event.id, digest(event))):
                    metrics.count_accepted(duplicate=True)
                    return known
                raise

    async def accept_test(self, event: NewEvent, event_id: str, webhook: Webhook) -> EventSnapshot:
        """Start a run for one webhook only, whatever it listens to, and even while it is disabled.

        Its data must match the schema of its type, as those of any event: a receiver may rely on it. The type need not
        be in the catalogue. Raises what `accept` does.
        """
        size = self._check_size(event)
        made = self._input(event, event_id, utc_now(), tuple(deliveries_of(webhook, manual=True)), only_to=webhook.id)
        run = made.model_copy(update={"is_test": True})
        async with _in_time():
            search_keys = await self._check_rules(event, is_test=True)
            return await self._start(_new_run(run, size, search_keys=search_keys))

    async def other_tenants(self, tenant: str) -> list[str]:
        """Return some tenants with webhooks; none if this tenant has one of the latest."""
        found = await self._store.webhooks.latest_tenants(LATEST_WEBHOOKS)
        return [] if tenant in found else found[:MAX_NAMED]

    async def check(self, event: NewEvent) -> None:
        """Raise what `accept` does for an event that would be refused if it came now."""
        self._check_size(event)
        await self._check_rules(event, is_new=False)

    async def _accept(
        self,
        event: NewEvent,
        event_id: str,
        size: int,
        in_batch: PlaceInBatch | None,
        may_share: bool,
        makes_tenant: bool,
    ) -> EventSnapshot:
        """Accept the event, for the webhooks as they are now. Raises Invalid if it would be refused as a new one."""
        now = utc_now()
        _check_times(event, now)
        search_keys, listening = await asyncio.gather(
            self._check_rules(event, makes_tenant=makes_tenant), self._store.webhooks.matching(event.tenant, event.type)
        )
        listening = [webhook for webhook in listening if hears(webhook.channels, event.channels)]
        outgoing = OutgoingEvent(event_id, event.type, event.tenant, event.timestamp or now, event.data, event.channels)
        webhooks, left_out = await self._filter(listening, outgoing)
        order_keys = await self._order_keys(webhooks, outgoing)
        if in_batch is not None and any(webhook.ordered for webhook in webhooks):
            await asyncio.wait([in_batch.earlier])
        is_due = event.deliver_at is None
        slots = await self._slots(webhooks, now) if is_due else {}
        expected = _expected(webhooks, now)
        deliveries = deliveries_to(webhooks, order_keys, slots, is_due=is_due)
        made = self._input(event, event_id, now, deliveries, quick=is_due and expected == "quick", left_out=left_out)
        run = _new_run(made, size, expected=expected, search_keys=search_keys)
        if in_batch is not None:
            run = replace(run, has_place=in_batch.end)
        may_succeed = all(webhook.may_succeed_now for webhook in webhooks)
        started = await self._start(run, may_share=may_share and may_succeed)
        if left_out and not started.duplicate:
            await self._note_left_out(made)
        return started

    async def _start(self, run: NewRun, *, may_share: bool = False) -> EventSnapshot:
        self._gateway.readiness.check_registry()
        started = await self.starts.accept(run, may_share=may_share)
        metrics.count_accepted(duplicate=started.duplicate)
        return started

    def _check_size(self, event: NewEvent) -> int:
        """Return the bytes of the event as it is stored: `1e15` arrives as 4 bytes and is written as 18.

        Raises TooLarge.
        """
        if (size := len(event.model_dump_json(exclude_unset=True).encode())) > self._settings.max_event_bytes:
            raise TooLarge(f"The event is larger than the {self._settings.max_event_bytes} bytes allowed.")
        return size

    async def _check_rules(
        self, event: NewEvent, *, is_test: bool = False, is_new: bool = True, makes_tenant: bool = True
    ) -> tuple[Key, ...]:
        """Check the event by the rules of its tenant and of its type; of a test event, the type has only its schema.

        Return what it is searched by.
        """
        rules = await self._store.catalogue.rules(event.tenant, event.type)
        if not (makes_tenant or rules.is_known_tenant):
            raise NotFound("There is no such tenant.")
        await self._check_tenant(event.tenant, rules, is_new=is_new)
        if not rules.is_known and self._settings.require_known_event_types and not is_test:
            raise Invalid.field("type", "is not in the catalogue of event types")
        if rules.archived and not is_test:
            raise Invalid.field("type", "is archived: new events are refused")
        if rules.schema is not None:
            await check_data(self._sandbox, event.tenant, event.type, rules.schema, event.data)
        return keys_of(event.data, rules.search_keys) + keys_of_channels(event.channels)

    async def _check_tenant(self, tenant: str, rules: EventRules, *, is_new: bool) -> None:
        """Refuse an event of a deleted or suspended tenant. A new one counts for the tenant's rate, and makes it
        known.
        """
        if rules.was_deleted:
            raise TenantDeleted(tenant)
        if rules.is_suspended:
            raise TenantSuspended(tenant, "accepts no new events", rules.reason)
        if is_new and rules.rate_limit:
            refusal = f"The tenant may send {rules.rate_limit.replace('/', ' events a ')}."
            await self._rates.count(tenant, rules.rate_limit, refusal)
        if is_new and not rules.is_known_tenant:
            await self._store.tenants.note(tenant)

    async def _filter(
        self, webhooks: Sequence[MatchingWebhook], event: OutgoingEvent
    ) -> tuple[list[MatchingWebhook], tuple[LeftOut, ...]]:
        """Return the webhooks whose filter matches, and those whose filter fails: an error means no match."""
        filtered = [webhook for webhook in webhooks if webhook.filter is not None]
        if not filtered:
            return list(webhooks), ()
        answers = await self._sandbox.for_(event.tenant).call_each(
            filters.matches, [webhook.filter or "" for webhook in filtered], event.shown()
        )
        matches = {webhook.id: answer for webhook, answer in zip(filtered, answers, strict=True)}
        left_out = tuple(
            LeftOut(webhook_id=webhook_id, text=truncate(str(answer), MAX_TEXT))
            for webhook_id, answer in matches.items()
            if isinstance(answer, ContentError)
        )
        for each in left_out:
            log.warning(
                "filter failed", webhook=each.webhook_id, tenant=event.tenant, event_id=event.id, error=each.text
            )
        return [webhook for webhook in webhooks if matches.get(webhook.id, True) is True], left_out

    async def _order_keys(self, webhooks: Sequence[MatchingWebhook], event: OutgoingEvent) -> dict[str, str]:
        """Return digests of the keys of ordered webhooks. One that cannot be evaluated is left out, as if missing."""
        expressions = {webhook.id: webhook.order_key for webhook in webhooks if webhook.ordered and webhook.order_key}
        if not expressions:
            return {}
        answers = await self._sandbox.for_(event.tenant).call_each(
            filters.key_of, [*expressions.values()], event.shown()
        )
        keys = zip(expressions, answers, strict=True)
        return {webhook_id: answer for webhook_id, answer in keys if not isinstance(answer, ContentError)}

    async def _slots(self, webhooks: Sequence[MatchingWebhook], now: datetime) -> dict[str, ReservedTime]:
        """Reserve the times of the first requests to webhooks that hang: an attempt before would only be deferred.

        Each is a transaction. If there are many, the first attempts reserve the rest.
        """
        slots: dict[str, ReservedTime] = {}
        for webhook in [each for each in webhooks if each.is_hanging and not each.ordered][:MAX_RESERVED]:
            rate = webhook.current_rate or HANGING_RATE
            at = await self._store.reserved_times.reserve(webhook.id, max(now, webhook.throttled_until or now), rate)
            slots[webhook.id] = ReservedTime(at=at, rate=rate)
        return slots

    def _input(
        self,
        event: NewEvent,
        event_id: str,
        now: datetime,
        deliveries: tuple[Delivery, ...],
        *,
        only_to: str | None = None,
        quick: bool = False,
        left_out: Sequence[LeftOut] = (),
    ) -> EventInput:
        return EventInput(
            id=event_id,
            type=event.type,
            tenant=event.tenant,
            channels=event.channels,
            timestamp=event.timestamp or now,
            data=event.data,
            digest=digest(event, only_to),
            accepted_at=now,
            deliver_at=event.deliver_at,
            deliveries=deliveries,
            max_hold=self._settings.max_hold.total_seconds(),
            quick=quick,
            left_out=tuple(left_out[:MAX_LEFT_OUT]),
            traceparent=(
                tracing.of_new_event(event.tenant, event_id, event.type) if self._settings.traces_events else None
            ),
        )

    async def _note_left_out(self, event: EventInput) -> None:
        """Let the webhooks that left the event out be failing, and call their incidents in the background.

        The event is already accepted, so if that fails, it is only logged. The next event for them notes it again.
        """
        results = [
            AttemptResult(
                each.webhook_id,
                "failed",
                event.accepted_at,
                target=FILTER,
                error=each.error,
                text=each.text,
                event_id=event.id,
            )
            for each in event.left_out
        ]
        try:
            changes = await self._store.health.record(results, self._settings.health_defaults)
        except RegistryUnavailable as error:
            log.warning("filter errors not noted", error=str(error), event_id=event.id, tenant=event.tenant)
        else:
            calls = calls_after(changes, {}, utc_now())
            task = asyncio.create_task(self._incidents.make(event.tenant, calls, {}))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """Raise Unavailable if the block takes too long."""
    try:
        with metrics.accepting():
            async with asyncio.timeout(ACCEPT_TIMEOUT):
                yield
    except TimeoutError:
        raise Unavailable("the registry took too long") from None


def _new_run(event: EventInput, size: int, expected: Expected = "quick", search_keys: tuple[Key, ...] = ()) -> NewRun:
    """Return what is to be started. Raises TooLarge."""
    stored = event.model_dump_json(exclude_defaults=True)
    if len(stored.encode()) > MAX_RUN_BYTES:
        deliveries = len(event.deliveries)
        raise TooLarge(f"The event, with its {deliveries} deliveries, is larger than Temporal accepts.")
    return NewRun(event, stored, size, expected, search_keys)


def deliveries_to(
    webhooks: Sequence[MatchingWebhook],
    order_keys: Mapping[str, str],
    slots: Mapping[str, ReservedTime],
    *,
    is_due: bool,
) -> tuple[Delivery, ...]:
    """Return a delivery for each target of each webhook, with the keys of ordered webhooks, and the times that are
    reserved for the first requests.

    Raises Invalid for too many.
    """
    deliveries = tuple(
        _in_line(_at_slot(delivery, slots), webhook.ordered, order_keys.get(webhook.id, NO_KEY), is_due)
        for webhook in webhooks
        for delivery in deliveries_of(webhook)
    )
    if len(deliveries) > MAX_TARGETS:
        raise Invalid(f"The event goes to {len(deliveries)} targets; one event may have at most {MAX_TARGETS}.")
    return deliveries


def _expected(webhooks: Sequence[MatchingWebhook], now: datetime) -> Expected:
    """Return what the first attempts can be expected to be."""
    if any(webhook.is_failing_or_slow(now) for webhook in webhooks):
        return "slow"
    return "quick" if all(webhook.is_quick(now) for webhook in webhooks) else "unknown"


def check_deliver_at(deliver_at: datetime, now: datetime) -> None:
    """Raise Invalid for a time that has passed or is more than a year ahead."""
    if deliver_at < now - MAX_CLOCK_SKEW:
        raise Invalid.field("deliver_at", "is in the past")
    if deliver_at > now + MAX_AHEAD:
        raise Invalid.field("deliver_at", "is more than a year ahead")


def _check_times(event: NewEvent, now: datetime) -> None:
    if event.deliver_at:
        check_deliver_at(event.deliver_at, now)
    if event.timestamp and not FIRST_TIMESTAMP <= event.timestamp <= now + MAX_TIMESTAMP_AHEAD:
        raise Invalid.field("timestamp", "is before 1970 or more than a day ahead")


def _in_line(delivery: Delivery, ordered: OrderPolicy | None, key: str, is_due: bool) -> Delivery:
    if ordered is None or not KINDS[delivery.channel].is_paced:
        return delivery
    line = ids.line_of(delivery.webhook_id, key)
    return delivery.model_copy(
        update={"ordered": ordered, "line": line, "enqueued": is_due, "reason": "queued" if is_due else None}
    )


def _at_slot(delivery: Delivery, slots: Mapping[str, ReservedTime]) -> Delivery:
    slot = slots.get(delivery.webhook_id)
    if slot is None or not KINDS[delivery.channel].is_paced:
        return delivery
    return delivery.model_copy(update={"slot": slot, "next_attempt_at": slot.at})


def deliveries_of(webhook: Webhook | MatchingWebhook, *, manual: bool = False) -> list[Delivery]:
    """Return a delivery for each target of a webhook, in no order."""
    return [_delivery(webhook, target, manual) for target in targets_of(webhook)]


def _delivery(webhook: Webhook | MatchingWebhook, target: Target, manual: bool) -> Delivery:
    is_paced = target.kind.is_paced
    return Delivery(
        id=target.id,
        webhook_id=webhook.id,
        channel=target.kind.name,
        target=target.shown,
        requested=manual,
        rate=webhook.current_rate if is_paced else None,
        degraded=is_paced and webhook.is_hanging,
    )
