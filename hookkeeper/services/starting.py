"""Start a run whose events have rows already."""

import asyncio
from collections.abc import Coroutine
from time import monotonic
from typing import Any

import structlog

from hookkeeper.services.start_limit import StartLimit
from hookkeeper.temporal.server.error_translation import GatewayError

MAX_SECONDS = 10.0
"""Seconds for a start. It may take effect later."""
log = structlog.get_logger("hookkeeper.starts")


async def starting(start: Coroutine[Any, Any, object], events: int, limit: StartLimit) -> bool:
    """Wait for a start of a run, which adjusts the limit; return whether Temporal has stored the run.

    A start that fails is repeated later, from rows (`hookkeeper.services.look_after`).
    """
    begin = monotonic()
    try:
        async with asyncio.timeout(MAX_SECONDS):
            await start
        limit.note_start(monotonic() - begin, events)
        return True
    except (GatewayError, TimeoutError) as error:
        cause = str(error.__cause__ or "")
        log.warning("a run is started later", error=str(error) or "timeout", cause=cause, events=events)
    except Exception as error:
        log.error("a run is started later", exc_info=error, events=events)
    return False
