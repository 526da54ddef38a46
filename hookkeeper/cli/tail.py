"""`hookkeeper events tail`: print events as they are accepted."""

import json
import time
from datetime import datetime, timedelta
from typing import Any

import typer
from rich.markup import escape

from hookkeeper.cli.client import Api, ApiUnavailable
from hookkeeper.cli.console import Json, err, out

OVERLAP = timedelta(seconds=10)
"""Events are written to the index within this time after their acceptance, in any order."""
MAX_PAGES = 20
"""Pages of 100 events that one look reads."""
INTERVAL = 1.0
"""Seconds between two looks."""


class EventTail:
    """Finds the events that are new since the last look."""

    def __init__(self, api: Api, **filters: Any) -> None:
        self._api = api
        self._filters = filters
        self._seen: dict[tuple[str, str], datetime] = {}
        self._begin: datetime | None = None
        """Older events are not new. None if there was no event at the first look."""
        self.has_skipped = False
        """There were more new events than the latest look has read."""

    def begin(self) -> list[Json]:
        """Return up to 100 latest events, oldest first. Only events that come after them are new."""
        page = self._page(None, None)
        latest = self._note(page["items"])
        if latest:
            self._begin = _accepted_at(latest[0])
        return latest

    def new(self) -> list[Json]:
        """Return the events that have come since the last look, oldest first."""
        since = self._forget()
        found: list[Json] = []
        cursor = None
        for _ in range(MAX_PAGES):
            page = self._page(since, cursor)
            unseen = self._note(page["items"])
            found = unseen + found
            cursor = page["next_cursor"]
            if cursor is None:
                break
        self.has_skipped = cursor is not None and bool(unseen)
        return found

    def _page(self, since: datetime | None, cursor: str | None) -> Json:
        begin = since.isoformat() if since else None
        page: Json = self._api.call("GET", "events", since=begin, limit=100, cursor=cursor, **self._filters)
        return page

    def _note(self, newest_first: list[Json]) -> list[Json]:
        """Note the events as seen; return those that were not, oldest first."""
        unseen = [event for event in reversed(newest_first) if _key(event) not in self._seen]
        self._seen |= {_key(event): _accepted_at(event) for event in unseen}
        return unseen

    def _forget(self) -> datetime | None:
        """Forget events that are too old to come again; return the time from which on new ones can come."""
        if not self._seen:
            return self._begin
        since = max(self._seen.values()) - OVERLAP
        if self._begin is not None:
            since = max(since, self._begin)
        self._seen = {key: at for key, at in self._seen.items() if at >= since}
        return since


def run_tail(api: Api, number: int, *, as_json: bool, **filters: Any) -> None:
    """Print the `number` latest events, and then each new one, until Ctrl-C."""
    tail = EventTail(api, **filters)
    try:
        _print(tail.begin()[-number:] if number else [], as_json)
        is_away = False
        while True:
            time.sleep(INTERVAL)
            try:
                _print(tail.new(), as_json)
            except ApiUnavailable as error:
                if not is_away:
                    err.print(f"[yellow]{escape(str(error))} Trying again.[/yellow]")
                is_away = True
                continue
            is_away = False
            if tail.has_skipped:
                err.print("[yellow]Some events are left out: more come than can be shown.[/yellow]")
    except KeyboardInterrupt:
        return


def _print(events: list[Json], as_json: bool) -> None:
    for event in events:
        if as_json:
            typer.echo(json.dumps(event))
        else:
            out.print(
                f"[dim]{event['accepted_at']}[/dim]  {escape(event['id'])}  {escape(event['type'])}"
                f"  [dim]{escape(event['tenant'])}[/dim]"
            )


def _key(event: Json) -> tuple[str, str]:
    return event["tenant"], event["id"]


def _accepted_at(event: Json) -> datetime:
    return datetime.fromisoformat(event["accepted_at"])
