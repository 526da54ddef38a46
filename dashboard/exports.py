"""Lists as files: CSV for spreadsheets, and JSON with what the API has.

They are read page by page while they are sent, and bounded. A file that ends early says so in its last line.
"""

import csv
import io
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from api import views
from api.access import needs
from api.deps import AnyTenant, AuditDep, CallerDep, LinksDep, SearchesDep, StoreDep
from api.errors import EXPECTED
from api.filters import DataQuery, DeliverySearch, EventSearch, WebhookSearch
from api.limits import slot_now
from api.state import state_of
from dashboard.rendering import SECURE_HEADERS
from dashboard.routes import PageRoute
from hookkeeper.services.caller import Scope
from hookkeeper.services.webhooks.webhooks import names_of
from hookkeeper.times import rfc3339

router = APIRouter(include_in_schema=False, route_class=PageRoute)
MAX_ROWS = 10_000
MAX_SECONDS = 30.0
ROWS_AT_ONCE = 100
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Spreadsheets run a cell that begins with one of these (OWASP, "CSV Injection"), in some languages also with the first
four in full width. An apostrophe makes it a text."""
MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
EVENT = (
    *("id", "tenant", "type", "status", "accepted_at", "finished_at", "needs_attention", "acknowledged.at"),
    *("webhooks", "latest.webhook_id", "latest.webhook_name", "latest.status", "latest.reason"),
    *("latest.attempts", "latest.status_code", "latest.error", "latest.next_attempt_at"),
)
DELIVERY = (
    *("event_id", "id", "tenant", "type", "channel", "status", "reason", "attempts", "status_code", "error"),
    *("next_attempt_at", "accepted_at", "finished_at"),
)
WEBHOOK = (
    *("id", "tenant", "name", "url", "events", "enabled", "paused_at", "health.status", "health.failing_since"),
    *("health.failures", "health.last_success_at", "created_at", "updated_at"),
)
AUDIT = ("id", "at", "key_id", "key_name", "action", "object_id", "tenant", "detail")
"""The columns of each list in CSV: paths in its items."""
Kind = Literal["csv", "json"]
Item = dict[str, Any]
"""As the API has it."""
Page = tuple[list[Item], str | None]
Read = Callable[[str | None], Awaitable[Page]]
"""Reads the page after a cursor."""
log = structlog.get_logger("hookkeeper.dashboard")


class Format(NamedTuple):
    """How a file is written: its beginning, some rows, and its end, which says why there are no more rows."""

    begin: str
    rows: Callable[[list[Item], bool], str]
    """Takes whether they are the first ones."""
    end: Callable[[str | None], str]


async def _slot(request: Request, caller: CallerDep) -> AsyncIterator[None]:
    """Hold a slot of the tenant until the file is sent. Raises RateLimited."""
    refusal = "Other lists are being exported. Try again when they are complete."
    with slot_now(state_of(request).exports, caller.tenant or "", refusal, 5, "exports"):
        yield


def _needs(scope: Scope) -> list[Any]:
    return [needs(scope), Depends(_slot)]


@router.get("/events/export.{kind}", dependencies=_needs("events:read"))
async def export_events(
    kind: Kind,
    store: StoreDep,
    searches: SearchesDep,
    links: LinksDep,
    caller: CallerDep,
    search: EventSearch,
    q: DataQuery = None,
) -> Response:
    """Export the events that a filter matches."""
    search, terms = await searches.resolve(search, q)

    async def read(cursor: str | None) -> Page:
        found = await searches.page(search, terms, ROWS_AT_ONCE, cursor)
        names = await names_of(store, caller, found.webhooks)
        return [views.event_summary(row, links, names).model_dump(mode="json") for row in found.rows], found.next_cursor

    return await _export("events", kind, EVENT, read)


@router.get("/webhooks/export.{kind}", dependencies=_needs("webhooks:read"))
async def export_webhooks(kind: Kind, store: StoreDep, search: WebhookSearch) -> Response:
    """Export webhooks, with secrets masked."""

    async def read(cursor: str | None) -> Page:
        found, end = await store.webhooks.page(**search._asdict(), limit=ROWS_AT_ONCE, cursor=cursor)
        return [views.webhook(row).model_dump(mode="json") for row in found], end

    return await _export("webhooks", kind, WEBHOOK, read)


@router.get("/webhooks/{webhook_id}/deliveries/export.{kind}", dependencies=_needs("events:read"))
async def export_deliveries(kind: Kind, store: StoreDep, links: LinksDep, search: DeliverySearch) -> Response:
    """Export the deliveries of a webhook that a filter matches."""

    async def read(cursor: str | None) -> Page:
        found, end = await store.index.deliveries(search, ROWS_AT_ONCE, cursor)
        return [views.delivery(row, links).model_dump(mode="json") for row in found], end

    return await _export("deliveries", kind, DELIVERY, read)


@router.get("/audit/export.{kind}", dependencies=_needs("admin"))
async def export_audit_log(kind: Kind, audit: AuditDep, tenant: AnyTenant) -> Response:
    """Export the audit log."""

    async def read(cursor: str | None) -> Page:
        found, end = await audit.page(tenant=tenant, since=None, until=None, limit=ROWS_AT_ONCE, cursor=cursor)
        return [{name: getattr(entry, name) for name in AUDIT} | {"at": rfc3339(entry.at)} for entry in found], end

    return await _export("audit-log", kind, AUDIT, read)


async def _export(name: str, kind: Kind, columns: Sequence[str], read: Read) -> Response:
    """Send a list as a file. Errors of the first page are answered as those of a page are."""
    written = _csv(columns) if kind == "csv" else JSON
    headers = SECURE_HEADERS | {"content-disposition": f'attachment; filename="{name}.{kind}"'}
    first = await read(None)
    return StreamingResponse(_parts(written, first, read), media_type=MEDIA_TYPES[kind], headers=headers)


async def _parts(written: Format, page: Page, read: Read) -> AsyncIterator[str]:
    items, cursor = page
    until, count, cut = time.monotonic() + MAX_SECONDS, 0, None
    yield written.begin
    while True:
        items = items[: MAX_ROWS - count]
        yield written.rows(items, count == 0)
        count += len(items)
        if cursor is None:
            break
        if count >= MAX_ROWS or time.monotonic() >= until:
            cut = f"The list goes on after these {count} rows. Narrow the filter to get the others."
            break
        try:
            items, cursor = await read(cursor)
        except EXPECTED as error:
            log.warning("export cut off", rows=count, error=str(error))
            cut = f"The list could not be read further than these {count} rows. Try again."
            break
    yield written.end(cut)


def _csv(columns: Sequence[str]) -> Format:
    return Format(
        _lines([columns]),
        lambda rows, _: _lines([_cell(_value_at(row, path)) for path in columns] for row in rows),
        lambda cut: _lines([[cut]]) if cut else "",
    )


def _write_json(rows: list[Item], is_first: bool) -> str:
    texts = [json.dumps(row, ensure_ascii=False) for row in rows]
    return ("" if is_first or not texts else ",\n") + ",\n".join(texts)


JSON = Format('{"items": [\n', _write_json, lambda cut: f'\n], "cut_off": {json.dumps(cut)}}}\n')


def _lines(rows: Iterable[Sequence[str]]) -> str:
    file = io.StringIO()
    csv.writer(file).writerows(rows)  # RFC 4180
    return file.getvalue()


def _value_at(row: Any, path: str) -> Any:
    for name in path.split("."):
        row = row.get(name) if isinstance(row, dict) else None
    return row


def _cell(value: Any) -> str:
    """Write a value for a spreadsheet, where a text is never a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = " ".join(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA) else text
