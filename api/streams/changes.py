"""Changes of one read: merged, divided between tenants, and in steps. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from hookkeeper.registry.index.change_log import Change
from hookkeeper.registry.index.merge import EventKey

CHANGES_PER_STEP = 100
DELIVERIES_PER_STEP = 200
"""What is read and written as JSON in one step of the event loop, unless a single change has more."""


def merged(changes: Iterable[Change]) -> list[Change]:
    """Join the changes of an event, which all show it as it is now, unless they have too many deliveries for a message.

    A joined change has the position of the last.
    """
    latest: dict[EventKey, Change] = {}
    kept: list[Change] = []
    for change in changes:
        earlier = latest.get(change.key)
        if earlier is not None:
            deliveries = tuple(dict.fromkeys((*earlier.deliveries, *change.deliveries)))
            if len(deliveries) <= DELIVERIES_PER_STEP:
                change = replace(change, is_new=earlier.is_new or change.is_new, deliveries=deliveries)
            else:
                kept.append(earlier)
        latest[change.key] = change
    return sorted((*kept, *latest.values()), key=lambda change: change.position)


def divided(changes: Sequence[Change], at_most: int) -> tuple[list[Change], set[str]]:
    """Return as many changes as may be sent, the latest of each tenant, and the tenants that have more."""
    if len(changes) <= at_most:
        return list(changes), set()
    by_tenant: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        by_tenant[change.key.tenant].append(change)
    share = max(at_most // len(by_tenant), 1)
    chosen = [change for of_tenant in by_tenant.values() for change in of_tenant[-share:]]
    skipped = {tenant for tenant, of_tenant in by_tenant.items() if len(of_tenant) > share}
    return sorted(chosen, key=lambda change: change.position), skipped


def steps(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """Divide changes into what one step of the event loop may read."""
    step: list[Change] = []
    size = 0
    for change in changes:
        size += len(change.deliveries)
        if step and (len(step) == CHANGES_PER_STEP or size > DELIVERIES_PER_STEP):
            yield step
            step, size = [], len(change.deliveries)
        step.append(change)
    if step:
        yield step
