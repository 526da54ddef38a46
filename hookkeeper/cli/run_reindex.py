"""`hookkeeper reindex`."""

from datetime import datetime

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from temporalio.service import RPCError

from hookkeeper.cli.console import Failed, out
from hookkeeper.cli.options import age_of
from hookkeeper.cli.processes import run, until_stopped
from hookkeeper.cli.startup import begin, connect
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.settings import Settings
from hookkeeper.temporal.reindex import Reindex
from hookkeeper.times import utc_now

CONTINUE = "run the same command again to continue"


def run_reindex(since: str) -> None:
    """Rebuild the index of events since an age or a time; by default as long as Temporal keeps events."""
    settings = begin()
    run(_reindex(settings, _time_of(since) if since else utc_now() - settings.retention))


def _time_of(since: str) -> datetime:
    age = age_of(since)
    try:
        time = datetime.fromisoformat(since) if age is None else utc_now() - age
    except ValueError as error:
        raise typer.BadParameter(
            f"--since is neither an age such as 7d nor a time such as 2026-01-02T03:04:05Z: {since}"
        ) from error
    if time.tzinfo is None:
        raise typer.BadParameter("--since needs a time zone, such as 2026-01-02T03:04:05Z")
    return time


async def _reindex(settings: Settings, since: datetime) -> None:
    keyring = settings.keyring
    added: int | None = None
    try:
        async with Store.connect(settings.database_url, keyring) as store:
            client = await connect(settings, keyring)
            with _progress() as progress:
                task = progress.add_task("reindex", total=None)
                reindex = Reindex(
                    client,
                    store,
                    settings.task_queue,
                    settings.retention,
                    lambda done, total: progress.update(task, completed=done, total=total),
                )
                async with until_stopped():
                    added = await reindex.run(since)
    except RegistryUnavailable as error:
        raise Failed(str(error)) from error
    except RPCError as error:
        raise Failed(f"Temporal: {error.message}; {CONTINUE}") from error
    if added is None:
        raise Failed(f"interrupted: {CONTINUE}")
    out.print(f"{added} {'event was' if added == 1 else 'events were'} missing or incomplete")


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=out)
