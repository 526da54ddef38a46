"""Reads the log of changes once for all streams of the process, and gives each stream what it shows.

It reads while there is a stream, and nothing otherwise.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import structlog
from fastapi.sse import ServerSentEvent

from api import views
from api.authenticator import Authenticator
from api.cursors import StreamCursors
from api.limits import slot_now
from api.problems import ServiceUnavailable
from api.streams.subscription import Subscription, Update
from hookkeeper.asyncio_tasks import stop
from hookkeeper.limits import TenantLimit
from hookkeeper.links import LinkBuilder
from hookkeeper.messages.rows import EventKey
from hookkeeper.registry.events.change_log import Change, Position
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.events.index import EventIndex
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.services.caller import Caller
from hookkeeper.tenant_limits import RESUMES

INTERVAL = 1.0
"""Seconds between two reads."""
MAX_SHARE = 0.25
"""Share of its time that the feed spends reading, however many streams begin."""
MAX_CHANGES = 1000
"""Changes of one read that are sent, divided between the tenants that have any."""
MAX_MISSED = 500
"""Changes that are sent to a stream that is resumed."""
MARK_INTERVAL = 15.0
"""Seconds after which streams are told how far they have come, also if nothing has happened in their tenants."""
CHECK_INTERVAL = 5.0
"""Seconds between two checks of the keys of open streams."""
MAX_DURATION = 900.0
"""Seconds after which a stream ends, for the reader to authenticate again."""
RECONNECT_AFTER = 3000
"""Milliseconds."""
RETRY_AFTER = 10
"""Seconds."""
UNAVAILABLE = "The registry is unavailable: the stream goes on when it is back."
SKIPPED = "More has changed than can be sent: read the list."
log = structlog.get_logger("hookkeeper.api")
CHANGES_PER_STEP = 100
DELIVERIES_PER_STEP = 200
"""What is read and written as JSON in one step of the event loop, unless a single change has more."""


class ChangeFeed:
    """One for the process."""

    def __init__(
        self,
        index: EventIndex,
        authenticator: Authenticator,
        links: LinkBuilder,
        cursors: StreamCursors,
        limit: TenantLimit,
    ) -> None:
        self._index = index
        self._authenticator = authenticator
        self._links = links
        self._cursors = cursors
        self.limit = limit
        """Limits open streams."""
        self._resuming = RESUMES.limit()
        self._streams: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None
        self._has_new = asyncio.Event()
        self._position: Position | None = None
        """How far the log was read. None: nothing was read yet."""
        self._is_down = False
        self._is_closed = False
        self._checked_at = self._marked_at = 0.0

    @property
    def count(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    @contextmanager
    def subscription(self, caller: Caller, search: Search, last_id: str | None) -> Iterator[Subscription]:
        """Open a stream until the block ends. Raises Malformed for a bad id, RateLimited, ServiceUnavailable."""
        after = self._cursors.position(last_id) if last_id else None
        if self._is_closed:
            raise ServiceUnavailable("This process stops: connect again.", headers={"retry-after": "1"})
        refusal = f"Too many streams are open: a tenant may have {self.limit.per_tenant} in each API process."
        with slot_now(self.limit, caller.tenant or "", refusal, RETRY_AFTER, "streams"):
            stream = Subscription(caller, search, after, _now())
            try:
                self._streams.add(stream)
                self._start()
                if self._is_down:
                    stream.put(_message("unavailable", UNAVAILABLE))
                yield stream
            finally:
                self._streams.discard(stream)

    async def messages(self, stream: Subscription) -> AsyncIterator[ServerSentEvent]:
        """Yield the messages of a stream, first those that its reader has missed, until it is over."""
        while (message := await stream.next()) is not None:
            if stream.live_from is not None and stream.after is not None:
                async for missed in self._missed(stream, stream.after, stream.live_from):
                    yield missed
                stream.after = None
            yield message

    def close(self) -> None:
        """End all streams, and take no more: a server that stops would wait for them."""
        self._is_closed = True
        for stream in self._streams:
            stream.end()

    async def aclose(self) -> None:
        """Close it, and stop reading."""
        self.close()
        if self._task is not None:
            await stop(self._task)

    # A stream that is resumed

    async def _missed(self, stream: Subscription, after: Position, until: Position) -> AsyncIterator[ServerSentEvent]:
        """Yield what a stream has missed; of too much, only that it was."""
        changes: list[Change] | None = None
        while not stream.is_over:
            try:
                async with self._resuming.slot(stream.caller.tenant or ""):
                    if changes is None:
                        changes = await self._find_missed(stream, after, until)
                    step = next(steps(changes or ()), [])
                    updates = await self._updates(step)
            except RegistryUnavailable:
                yield _message("unavailable", UNAVAILABLE)
                await asyncio.sleep(INTERVAL)
                continue
            if changes is None:
                yield _message("reset", SKIPPED)
            for update in updates:
                if stream.shows(update.event):
                    yield update.message
            changes = (changes or [])[len(step) :]
            if not changes:
                return

    async def _find_missed(self, stream: Subscription, after: Position, until: Position) -> list[Change] | None:
        """Return the changes between two positions; None if the log does not have them all, or they are too many."""
        ends = await self._index.change_log()
        if not ends.begin <= after <= until:
            return None
        changes, reached = await self._index.changes(after, until, stream.tenants)
        changes = merged(changes)
        return changes if reached == until and len(changes) <= MAX_MISSED else None

    # In the background

    def _start(self) -> None:
        self._has_new.set()
        if self._task is None or self._task.done():
            self._position, self._is_down = None, False
            self._task = asyncio.create_task(self._read_regularly())

    async def _read_regularly(self) -> None:
        while self._streams:
            begin = _now()
            self._has_new.clear()
            try:
                await self._read()
                await self._end_old(begin)
            except RegistryUnavailable:
                self._say_down()
            except Exception:
                log.exception("streams ended: what has changed cannot be read")
                self._end(self._streams)
            spent = _now() - begin
            await asyncio.sleep(spent / MAX_SHARE - spent)
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL):
                    await self._has_new.wait()

    async def _read(self) -> None:
        """Put what has changed since the last read."""
        ends = await self._index.change_log()
        if self._position is None:
            self._position = ends.end
        elif not ends.begin <= self._position <= ends.end:
            self._position = ends.end
            self._put(self._live(), _message("reset", SKIPPED))
        if self._is_down:
            self._is_down = False
            self._say_ready(self._live(), self._position)
        changes, reached = await self._index.changes(self._position, ends.end, self._tenants())
        chosen, skipped = divided(merged(changes), MAX_CHANGES)
        cut = [stream for stream in self._live() if skipped.intersection(stream.tenants or skipped)]
        self._put(cut, _message("reset", SKIPPED))
        for step in steps(chosen):
            for update in await self._updates(step):
                self._put([stream for stream in self._live() if stream.shows(update.event)], update.message)
            self._position = step[-1].position
        self._position = reached
        self._mark(reached)
        self._take_up(reached)

    async def _updates(self, changes: Sequence[Change]) -> list[Update]:
        """Read the events of changes, and write a message about each."""
        found = await self._index.changed_events(changes) if changes else []
        return [
            Update(
                event,
                ServerSentEvent(
                    event="event",
                    raw_data=views.event_change(event, self._links, is_new=change.is_new).model_dump_json(),
                    id=self._cursors.id_of(change.position),
                ),
            )
            for change, event in found
        ]

    def _live(self) -> list[Subscription]:
        """Return the streams that take updates."""
        return [stream for stream in self._streams if stream.live_from is not None]

    def _tenants(self) -> set[str] | None:
        """Return the tenants whose changes are of interest; None for all."""
        named = [stream.search.tenant for stream in self._live()]
        return None if None in named else {tenant for tenant in named if tenant is not None}

    def _take_up(self, position: Position) -> None:
        """Begin with new streams."""
        new = [stream for stream in self._streams if stream.live_from is None]
        for stream in new:
            stream.live_from = position
        self._say_ready(new, position)

    def _say_ready(self, streams: Iterable[Subscription], position: Position) -> None:
        id_ = self._cursors.id_of(position)
        self._put(streams, ServerSentEvent(event="ready", data={}, id=id_, retry=RECONNECT_AFTER))

    def _mark(self, position: Position) -> None:
        """Tell all streams how far they have come: the log forgets old positions."""
        if _now() - self._marked_at >= MARK_INTERVAL:
            self._marked_at = _now()
            self._put(self._live(), ServerSentEvent(comment="up to here", id=self._cursors.id_of(position)))

    def _say_down(self) -> None:
        if not self._is_down:
            log.warning("streams wait: the registry is unavailable", streams=len(self._streams))
            self._put(self._streams, _message("unavailable", UNAVAILABLE))
        self._is_down = True

    def _put(self, streams: Iterable[Subscription], message: ServerSentEvent) -> None:
        for stream in streams:
            stream.put(message)

    async def _end_old(self, now: float) -> None:
        """End the streams whose key or session has ended, or that have lasted long enough."""
        if now - self._checked_at < CHECK_INTERVAL:
            return
        self._checked_at = now
        for caller in {stream.caller for stream in self._streams}:
            if await self._authenticator.has_ended(caller):
                self._end([stream for stream in self._streams if stream.caller == caller])
        self._end([stream for stream in self._streams if now - stream.began > MAX_DURATION])

    def _end(self, streams: Iterable[Subscription]) -> None:
        for stream in streams:
            stream.end()


def _message(kind: str, detail: str) -> ServerSentEvent:
    """Make a message that is not about an event."""
    return ServerSentEvent(event=kind, data={"detail": detail})


def _now() -> float:
    return asyncio.get_running_loop().time()


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
    chosen = [change for changes_of_tenant in by_tenant.values() for change in changes_of_tenant[-share:]]
    skipped = {tenant for tenant, changes_of_tenant in by_tenant.items() if len(changes_of_tenant) > share}
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
