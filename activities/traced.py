"""Trace the attempts of events that came with, or were given, a context."""

from collections.abc import Awaitable, Callable

from temporalio import activity

from activities.attempts import PreparedAttempt
from hookkeeper import temporal_names, tracing
from hookkeeper.outcomes import Outcome


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
