"""What a channel gets to make an attempt, and the outcome that it returns."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from cachetools import LRUCache
from temporalio import activity
from temporalio.client import Client

from hookkeeper import temporal_names, tracing
from hookkeeper.content.context import OutgoingEvent, context_of
from hookkeeper.content.errors import ContentError
from hookkeeper.content.payload import Body, body_of
from hookkeeper.content.sizes import memory_of
from hookkeeper.messages import Message, outcomes
from hookkeeper.messages.batch import AttemptRequest, EventAttempts
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.registry.models import Webhook
from hookkeeper.targets.sending import Answer
from hookkeeper.temporal.events.run_state import input_of

MAX_CACHED_BYTES = 16 * 1024 * 1024
"""Approximate memory of each of a worker's two caches."""


@dataclass(frozen=True)
class BatchContext:
    """What the attempts of an event share."""

    message: EventAttempts
    event: OutgoingEvent
    clock_offset: timedelta
    """How far Temporal's clock is ahead of this machine's."""
    targets: int
    """Attempts of the activity, whose outcomes share one result."""
    is_shared: bool = False
    """The run of the activity is shared by several events."""

    def now(self) -> datetime:
        """Return the time now by Temporal's clock."""
        return datetime.now(UTC) + self.clock_offset

    @cached_property
    def excerpt_limit(self) -> int:
        """Bytes of each response to keep."""
        return outcomes.excerpt_limit(self.targets)

    @cached_property
    def headers_limit(self) -> int:
        """Bytes of the headers of each response to keep."""
        return outcomes.headers_limit(self.targets)

    @cached_property
    def standard_body(self) -> Body:
        """The body for webhooks without a payload of their own."""
        return body_of(None, {"event": self.event.shown()})


@dataclass(frozen=True, slots=True)
class PreparedAttempt:
    """An attempt that can be made: the webhook exists, and is enabled or the attempt was requested."""

    request: AttemptRequest
    webhook: Webhook
    batch: BatchContext

    @property
    def event(self) -> OutgoingEvent:
        return self.batch.event

    @property
    def tenant(self) -> str:
        return self.event.tenant

    @property
    def context(self) -> dict[str, Any]:
        """The variables of templates."""
        return context_of(self.event, self.webhook.context)

    @property
    def timeout(self) -> float:
        return self.webhook.timeout

    @property
    def excerpt_limit(self) -> int:
        return self.batch.excerpt_limit

    @property
    def headers_limit(self) -> int:
        return self.batch.headers_limit

    def outcome(self, answer: Answer, text: str, target: str, **more: Any) -> Outcome:
        """Return the outcome of the request, as `hookkeeper.targets.sending.OpenAttempt` says."""
        return Outcome(
            delivery=self.request.delivery,
            verdict=answer.verdict,
            target=target,
            started_at=answer.started_at,
            duration_ms=round(answer.duration_ms, 1),
            connect_ms=_rounded(answer.connect_ms),
            first_byte_ms=_rounded(answer.first_byte_ms),
            status_code=answer.status_code,
            error=answer.error,
            response_excerpt=self.excerpt(text),
            retry_after=answer.retry_after,
            delays=self.webhook.retry.delays if self.webhook.retry else None,
            **more,
        )

    def bad_template(self, error: ContentError) -> Outcome:
        """Return the outcome if the content cannot be rendered: no request was made, and none can be."""
        return Outcome(
            delivery=self.request.delivery,
            verdict="bad_template",
            started_at=datetime.now(UTC),
            error="bad_template",
            response_excerpt=self.excerpt(str(error)),
        )

    def excerpt(self, text: str) -> str:
        return outcomes.excerpt(text.encode(), self.batch.excerpt_limit)


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)


def clock_offset() -> timedelta:
    """Return how far Temporal's clock is ahead of this machine's, at the start of an activity.

    Throttles end by Temporal's clock, like the timers that wait for their end. By this machine's clock, a request could
    be too early.
    """
    return activity.info().started_time - datetime.now(UTC)


async def traced(make_attempt: Callable[[PreparedAttempt], Awaitable[Outcome]], attempt: PreparedAttempt) -> Outcome:
    """Make the attempt in a span of its own."""
    event, request = attempt.batch.message, attempt.request
    if event.traceparent is None:
        return await make_attempt(attempt)
    info = activity.info()
    attributes: dict[str, str | int] = {
        "hookkeeper.tenant": event.tenant,
        "hookkeeper.event_id": event.id,
        "hookkeeper.event_type": event.type,
        "hookkeeper.delivery": request.delivery,
        "hookkeeper.attempt": request.number,
        "hookkeeper.run_id": info.workflow_run_id or "",
    }
    run_id = info.workflow_run_id if info.workflow_type == temporal_names.EVENT else None
    with tracing.attempt(event.traceparent, run_id, attributes) as record:
        outcome = await make_attempt(attempt)
        record(outcome)
        return outcome


class _RunInput(Message):
    """The data in the input of a run."""

    data: Any = None


class EventData:
    """The data of events. That of a later attempt, or of a large event, is in the first event of the run's history: if
    each attempt carried it, history would have it once for each.
    """

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal
        self._cache: LRUCache[str, Any] = LRUCache(MAX_CACHED_BYTES, getsizeof=memory_of)
        """Data by run."""

    async def outgoing(self, event: EventAttempts) -> OutgoingEvent:
        """Return the event with its data. Raises `RPCError`."""
        data = event.data if event.data_inline else await self.of_this_run()
        return OutgoingEvent(event.id, event.type, event.tenant, event.timestamp, data, event.channels)

    async def of_this_run(self) -> Any:
        """Return the data of the run that this activity belongs to. Raises `RPCError`."""
        info = activity.info()
        assert info.workflow_id is not None
        assert info.workflow_run_id is not None
        run_id = info.workflow_run_id
        if run_id in self._cache:
            return self._cache[run_id]
        handle = self._temporal.get_workflow_handle(info.workflow_id, run_id=run_id)
        data = (await input_of(self._temporal, handle, _RunInput)).data
        with suppress(ValueError):  # larger than the cache
            self._cache[run_id] = data
        return data
