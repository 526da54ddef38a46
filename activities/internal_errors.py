"""Attempts that internal errors prevent: they are logged and counted, and put off or raised.

An activity has the attempts of many webhooks, events and tenants. One that is put off delays no other: it costs its
delivery no attempt, and is made by an activity of its own, which fails until the error is gone.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from temporalio import activity

from hookkeeper import metrics
from hookkeeper.egress.proxy import ProxyFailed
from hookkeeper.egress.request_state import LocalLimitReached
from hookkeeper.egress.resolver import ResolverUnavailable
from hookkeeper.kinds import kind_of
from hookkeeper.messages.batch import AttemptRequest, EventAttempts
from hookkeeper.messages.outcomes import Outcome, ReservedTime
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.webhooks.reads import LostWebhook, UnreadableWebhook
from hookkeeper.sandbox.children import SandboxUnavailable

MAX_TRIES = 3
"""Tries of an activity in which internal errors prevent all attempts, before it puts all of them off."""
PUT_OFF_TIME = timedelta(seconds=1)
"""As long as Temporal waits before it retries an activity."""
OUTAGES = (RegistryUnavailable, SandboxUnavailable, ProxyFailed, ResolverUnavailable, OSError)
"""Errors that all attempts meet. While they last, each event that is put off would only be one more run that waits."""
log = structlog.get_logger("hookkeeper.delivery")


def is_last_try() -> bool:
    """Return whether the present activity was tried often enough."""
    return activity.info().attempt >= MAX_TRIES


def raise_unless_put_off(errors: Sequence[Exception], *, is_alone: bool) -> None:
    """Raise the first of the errors that have prevented all attempts of an activity, so that Temporal retries it. After
    some tries they are put off instead, unless there is an outage, or the attempt `is_alone` in its activity already.
    """
    if errors and (is_alone or not is_last_try() or all(map(_is_outage, errors))):
        raise errors[0]


def put_off(delivery: str, error: Exception, now: datetime) -> Outcome:
    """Return the outcome of an attempt that an internal error has prevented. `now` is Temporal's time."""
    return Outcome(
        delivery=delivery,
        verdict="deferred",
        slot=ReservedTime(at=now + PUT_OFF_TIME, rate=1 / PUT_OFF_TIME.total_seconds()),
        degraded=True,  # its own activity may be retried for long, and slow ones have places of their own in a run
        response_excerpt=f"internal error: {_text(error)}",
    )


def note(event: EventAttempts, request: AttemptRequest, error: Exception) -> None:
    """Log and count the error of one attempt."""
    if isinstance(error, LocalLimitReached):  # it counts itself
        return
    metrics.INTERNAL_ERRORS.labels(kind_of(request.delivery).name).inc()
    log.error(
        "attempt prevented by an internal error",
        tenant=event.tenant,
        event_id=event.id,
        delivery=request.delivery,
        webhook=request.webhook_id,
        error=_text(error),
        exc_info=None if isinstance(error, RegistryUnavailable) else error,
    )


def _is_outage(error: Exception) -> bool:
    return isinstance(error, OUTAGES) and not isinstance(error, UnreadableWebhook)


def _text(error: Exception) -> str:
    """Describe the error without secrets."""
    return str(error) if isinstance(error, UnreadableWebhook | LostWebhook) else type(error).__name__
