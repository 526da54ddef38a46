"""The runs that a recovery redelivers: find them oldest first, redeliver them. A bulk action does what was asked to the
events that a search finds, newest first.

The index has them in order. The state of each run decides.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from temporalio.client import Client

from hookkeeper import ids
from hookkeeper.command_rules import COMMANDS, Command
from hookkeeper.commands import Refused, UnknownDelivery, select
from hookkeeper.messages.bulk_work import (
    RecoveryCandidate,
    RecoveryPlan,
    RecoveryScope,
    RecoverySearch,
    RedeliveryResult,
    RunPosition,
)
from hookkeeper.messages.event import Delivery, EventState
from hookkeeper.registry.events.conditions import Matcher, Search
from hookkeeper.registry.events.index import EventIndex
from hookkeeper.registry.events.rows import EventRows, EventSnapshot
from hookkeeper.registry.events.runs_by_status import recoverable
from hookkeeper.temporal.events import run_state
from hookkeeper.temporal.events.erasure import Erasure, erase_open
from hookkeeper.temporal.events.event_commands import EventCommands
from hookkeeper.temporal.server.error_translation import UnknownEvent

_SEARCH = TypeAdapter(Search)
EVENTS_PER_COUNT = 1000


def written(search: Search) -> dict[str, Any]:
    """Write a search as a history has it."""
    found: dict[str, Any] = _SEARCH.dump_python(search, mode="json", exclude_defaults=True)
    return found


def search_of(scope: RecoveryScope) -> Search:
    """Return what a bulk action searches: events that were accepted before it began."""
    search = _SEARCH.validate_python(scope.search or {})
    return replace(search, tenant=scope.tenant, until=min(search.until or scope.until, scope.until))


class RecoveryCandidates:
    """Used by the activities of a recovery. Raises Temporal's `RPCError`, `Unavailable` and RegistryUnavailable."""

    def __init__(
        self,
        client: Client,
        index: EventIndex,
        commands: EventCommands,
        rows: EventRows,
        erasure: Erasure,
    ) -> None:
        self._client = client
        self._index = index
        self._commands = commands
        self._rows = rows
        self._erasure = erasure

    async def count(self, scope: RecoveryScope) -> int:
        """Count the events that would be redelivered, or that a bulk action finds."""
        if scope.action is None:
            return await self._index.runs_by_status.count(recoverable(scope), scope.began)
        count, cursor = 0, None
        while True:
            found, cursor = await self._index.matches(search_of(scope), EVENTS_PER_COUNT, cursor)
            count += len(found)
            if cursor is None:
                return count

    async def oldest(self, search: RecoverySearch, at_most: int) -> RecoveryPlan:
        """Return the oldest candidates, each run once; those of a bulk action from the newest on."""
        scope = search.scope
        if scope.action is not None:
            cursor = search.after if isinstance(search.after, str) else None
            keys, next_cursor = await self._index.matches(search_of(scope), at_most, cursor)
            events = tuple(RecoveryCandidate(workflow_id=ids.workflow_id(*key)) for key in keys)
            return RecoveryPlan(runs=events, end=next_cursor)
        after = None if isinstance(search.after, str) else search.after
        found, end = await self._index.runs_by_status.oldest(recoverable(scope), after, at_most)
        runs = tuple(_candidate(scope, run.position, is_counted=run.was_there(scope.began)) for run in found)
        return RecoveryPlan(runs=runs, end=end)

    async def redeliver(
        self, scope: RecoveryScope, run: RecoveryCandidate, active: Collection[str]
    ) -> RedeliveryResult:
        """Redeliver the deliveries of a run that are in scope, unless that was done since the recovery began.

        Only those of `active` webhooks: a requested delivery would be sent to one that is paused or disabled all the
        same, and one of a deleted webhook would need a further run to end without an attempt.
        """
        if scope.webhook_id is not None and scope.webhook_id not in active:
            return "skipped"
        tenant, event_id = ids.event_of(run.workflow_id)
        snapshot = await self._rows.read(tenant, event_id, ids.part_of(run.workflow_id))
        if snapshot is None:
            return "skipped"
        state = snapshot.state
        in_scope = [delivery for delivery in state.deliveries if scope.webhook_id in (None, delivery.webhook_id)]
        due = [
            delivery
            for delivery in in_scope
            if delivery.webhook_id in active and is_to_redeliver(delivery, state, scope)
        ]
        accepted = [await self._send(tenant, event_id, "retry", delivery.id) for delivery in due]
        # What was not counted may be a run that was redelivered before.
        is_done = run.is_counted and any(was_reopened(delivery, state, scope.began) for delivery in in_scope)
        return "redelivered" if any(accepted) or is_done else "skipped"

    async def command(
        self, scope: RecoveryScope, command: Command, run: RecoveryCandidate, active: Collection[str]
    ) -> RedeliveryResult:
        """Send a command to those deliveries of an event that the search is about, unless that was done since the bulk
        action began.
        """
        tenant, event_id = ids.event_of(run.workflow_id)
        snapshot = await self._rows.read(tenant, event_id)
        if snapshot is None:
            return "skipped"
        due, is_done = commanded(command, snapshot, search_of(scope), scope.began, active)
        accepted = [
            await self._send(tenant, event_id, command, delivery) for delivery in _at_once(command, snapshot.state, due)
        ]
        return "redelivered" if any(accepted) or is_done else "skipped"

    async def is_deciding(self, workflow_id: str) -> bool:
        """Return whether a run waits for a worker to take its next step."""
        run = await run_state.find_run(self._client, workflow_id)
        return run is not None and run_state.is_deciding(run)

    async def erase(self, tenant: str, event_id: str) -> RedeliveryResult:
        """Erase an event; cancel it before if it is open, and wait until its runs have closed. Idempotent."""
        with suppress(UnknownEvent):
            await erase_open(self._erasure, self._commands, tenant, event_id)
        return "redelivered"

    async def _send(self, tenant: str, event_id: str, command: Command, delivery: str | None) -> bool:
        try:
            await self._commands.send(tenant, event_id, command, delivery)
        except (Refused, UnknownDelivery, UnknownEvent):
            return False
        return True


def _candidate(scope: RecoveryScope, position: RunPosition, *, is_counted: bool) -> RecoveryCandidate:
    workflow_id = ids.run_of(scope.tenant, position.event_id, position.part)
    return RecoveryCandidate(workflow_id=workflow_id, is_counted=is_counted)


def is_to_redeliver(delivery: Delivery, state: EventState, scope: RecoveryScope) -> bool:
    """Return whether a delivery has a status of the scope, and was not requested since the recovery began."""
    if delivery.status == "retrying":
        is_in_scope = scope.retrying or scope.status == "retrying"
        return is_in_scope and not was_requested(delivery, state, scope.began)
    return delivery.status == scope.status and not was_reopened(delivery, state, scope.began)


def was_reopened(delivery: Delivery, state: EventState, began: datetime) -> bool:
    """Return whether a delivery was reopened since then, by a recovery or by request."""
    if not delivery.requested or not delivery.redelivered_from:
        return False
    since = [attempt for attempt in delivery.attempts if attempt.number >= delivery.redelivered_from]
    if since:
        return since[0].started_at >= began
    return state.finished_at is None or state.finished_at >= began


def commanded(
    command: Command, snapshot: EventSnapshot, search: Search, began: datetime, active: Collection[str]
) -> tuple[list[str], bool]:
    """Return the deliveries of an event that a bulk action commands, and whether it has commanded some before.

    Those that meet the search, and no attempt is made for webhooks that are not `active`.
    """
    rule, state = COMMANDS[command], snapshot.state
    found = {row.id for row in filter(Matcher(search).concerns, snapshot.row.deliveries)}
    applicable = rule.applies_to(search.delivery_statuses)
    concerned = [delivery for delivery in state.deliveries if _is_target(search, delivery)]
    if command == "cancel":
        due = [delivery.id for delivery in concerned if delivery.status in applicable and delivery.id in found]
        is_since = state.finished_at is None or state.finished_at >= began
        return due, is_since and any(delivery.status == "cancelled" for delivery in concerned)
    requested = {delivery.id for delivery in concerned if was_requested(delivery, state, began)}
    due = [
        delivery.id
        for delivery in concerned
        if delivery.id not in requested
        and delivery.webhook_id in active
        and delivery.status in applicable
        and delivery.id in found
    ]
    return due, bool(requested)


def was_requested(delivery: Delivery, state: EventState, began: datetime) -> bool:
    """Return whether an attempt of a delivery was requested since then, and was made or will be."""
    made = any(attempt.trigger == "manual" and attempt.started_at >= began for attempt in delivery.attempts)
    return made or delivery.forced or was_reopened(delivery, state, began)


def _is_target(search: Search, delivery: Delivery) -> bool:
    return search.webhook in (None, delivery.webhook_id) and search.channel in (None, delivery.channel)


def _at_once(command: Command, state: EventState, due: Sequence[str]) -> Sequence[str | None]:
    """Return the deliveries to command one by one; None stands for all."""
    try:
        return [None] if set(due) == set(select(command, state.deliveries, None)) else due
    except Refused:
        return due
