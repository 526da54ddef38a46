"""The size of a run's state: it stays under 512 KiB, however many deliveries and attempts there are. Pure.

A result or failure over 2 MB would block the run permanently. What is left out of the state is in its history.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.outcomes import HEADER_FRAME

Item = TypeVar("Item")

EXCERPTS_BUDGET = 45 * 1024
"""Bytes of all excerpts together. In JSON, a quotation mark takes two bytes."""
HEADERS_BUDGET = 30 * 1024
"""Bytes of the headers of all responses together."""
ATTEMPTS_BUDGET = 500
AWAITING_BUDGET = 64 * 1024
"""Bytes of all addresses together whose receipts are awaited."""
RECEIPTS_BUDGET = 100
"""Receipts, of at most 0.7 KB each."""
TARGETS_BUDGET = 72 * 1024
"""Bytes of all targets together: a URL can be long."""

STORED_BYTES = 16 * 1024
"""Bytes of a delivery in its row, unless its latest attempt alone is larger."""


@dataclass(frozen=True, slots=True)
class _Budget:
    """What one delivery may have."""

    attempts: int
    receipts: int
    excerpt: int
    headers: int
    target: int


def truncated(deliveries: Collection[Delivery]) -> tuple[Delivery, ...]:
    """Truncate excerpts and targets, and omit older attempts and receipts."""
    count = max(1, len(deliveries))
    attempts = ATTEMPTS_BUDGET // count
    shown = sum(min(attempts, len(delivery.attempts)) for delivery in deliveries)
    budget = _Budget(
        attempts=attempts,
        receipts=RECEIPTS_BUDGET // count,
        excerpt=EXCERPTS_BUDGET // max(1, shown),
        headers=HEADERS_BUDGET // max(1, shown),
        target=TARGETS_BUDGET // count,
    )
    return tuple(_truncated(delivery, budget) for delivery in deliveries)


def stored(delivery: Delivery) -> str:
    """Return a delivery as JSON for its row, without its oldest attempts if it is large."""
    text = delivery.model_dump_json(exclude_defaults=True)
    while len(text) > STORED_BYTES and (half := len(delivery.attempts) // 2):
        delivery = delivery.model_copy(
            update={
                "attempts": delivery.attempts[-half:],
                "attempts_omitted": delivery.attempts_made - half,
                "receipts": delivery.receipts[-half:],
            }
        )
        text = delivery.model_dump_json(exclude_defaults=True)
    return text


def _truncated(delivery: Delivery, budget: _Budget) -> Delivery:
    attempts = _latest(delivery.attempts, budget.attempts)
    omitted = len(delivery.attempts) - len(attempts)
    return delivery.model_copy(
        update={
            "target": delivery.target[: budget.target],
            "attempts": tuple(_with_response(attempt, budget) for attempt in attempts),
            "attempts_omitted": delivery.attempts_omitted + omitted,
            "receipts": _latest(delivery.receipts, budget.receipts),
        }
    )


def _latest(items: tuple[Item, ...], count: int) -> tuple[Item, ...]:
    return items[max(0, len(items) - count) :]


def _with_response(attempt: Attempt, budget: _Budget) -> Attempt:
    """Truncate the excerpt, and leave out the last headers that do not fit."""
    excerpt, headers = attempt.response_excerpt.encode(), _fitting(attempt.response_headers, budget.headers)
    if len(excerpt) <= budget.excerpt and len(headers) == len(attempt.response_headers):
        return attempt
    cut = excerpt[: budget.excerpt].decode(errors="ignore")
    return attempt.model_copy(update={"response_excerpt": cut, "response_headers": headers})


def _fitting(headers: Mapping[str, str], size: int) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name, value in headers.items():
        size -= len(name.encode()) + len(value.encode()) + HEADER_FRAME
        if size < 0:
            break
        kept[name] = value
    return kept
