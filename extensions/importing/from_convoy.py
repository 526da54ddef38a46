"""Translate saved answers of Convoy's API to our requests. Only `_rows` reads files.

Convoy has no export file. It documents the answers of `GET /api/v1/projects/{id}/endpoints`,
`…/subscriptions`, `…/subscriptions/{id}/filters` and `…/event-types`.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cli.client.options import read_json_file
from cli.console import Failed, Json
from extensions.importing.items import Item, fitted, signing_key
from hookkeeper.crypto.signing_keys import SYMMETRIC

KINDS = {
    "endpoint": "secrets",
    "subscription": "endpoint_metadata",
    "filter": "subscription_id",
    "event type": "json_schema",
}
"""Kinds of rows, and the field that only such a row has."""
FORM = "application/x-www-form-urlencoded"
FORM_OF_DATA = {"content_type": FORM, "template": "{{ event.data }}"}
"""The data alone, as the format `svix` has it in JSON."""
MAX_BACKOFF = 7200
"""Seconds between two attempts at most, in Convoy."""
DEFAULT_TIMEOUT = 10
"""Seconds, in Convoy."""
INSTEAD = {
    "alert_config": "on_failure",
    "slack_webhook_url": "on_failure",
    "support_email": "on_failure",
    "teams_webhook_url": "on_failure",
    "mtls_client_cert": "tls",
    "rate_limit_config": "rate_limit",
}
"""Fields that are not translated, because their forms differ or answers lack their secrets, and which field to set."""
SCOPES = ("body", "headers", "path", "query")


def items_of(files: Sequence[Path]) -> Sequence[Iterable[Item]]:
    """Return the items of the files, those of a tenant one after another. Raises `Failed`."""
    rows: dict[str, list[Json]] = {kind: [] for kind in KINDS}
    is_whole = dict.fromkeys(KINDS, True)
    for file in files:
        for kind, row, is_last in _rows(file):
            rows[kind].append(row)
            is_whole[kind] = is_last
    if cut := [kind for kind, whole in is_whole.items() if not whole]:
        raise Failed(f"the last page of kind {cut[0]!r} is missing: add its file after the other pages")
    endpoints = {row["uid"]: row for row in rows["endpoint"]}
    filters: dict[str, list[Json]] = {}
    for row in rows["filter"]:
        filters.setdefault(row["subscription_id"], []).append(row)
    items = [event_type_of(row) for row in rows["event type"] if row["name"] != "*"]  # it stands for all
    tenants = dict.fromkeys(map(tenant_id, rows["endpoint"]))
    items += [fitted("tenants", f"owner {tenant}", {"id": tenant}) for tenant in tenants]
    used = set()
    for row in rows["subscription"]:
        endpoint = endpoints.get((row.get("endpoint_metadata") or {}).get("uid", ""))
        used.add(endpoint and endpoint["uid"])
        items.append(webhook_of(row, endpoint, filters.get(row["uid"], ())))
    items += [
        Item("webhooks", f"endpoint {uid}", None, ("has no subscription: Convoy sends nothing to it",))
        for uid in endpoints
        if uid not in used
    ]
    items.sort(key=lambda item: (item.body or {}).get("tenant", ""))
    return [[item] for item in items]


def _rows(file: Path) -> Iterator[tuple[str, Json, bool]]:
    """Yield kind, row, and whether its page is the last one, for each row of an answer or a list of rows."""
    is_last = True
    match read_json_file(str(file), str(file)):
        case {"status": False, "message": message}:
            raise Failed(f"{file} is an error of Convoy: {message}")
        case {"data": {"content": list() as rows, "pagination": {"has_next_page": True}}}:
            is_last = False
        case {"data": {"content": list() | None as rows} | (list() | None as rows)} | (list() as rows):
            pass
        case _:
            raise Failed(f"{file} is no answer of Convoy with rows")
    for row in rows or ():
        kinds = [kind for kind, field in KINDS.items() if isinstance(row, dict) and field in row]
        if not kinds:
            raise Failed(f"{file} has a row that is no endpoint, subscription, filter or event type")
        yield kinds[0], row, is_last


def tenant_id(endpoint: Json) -> str:
    """Return the owner of an endpoint, or else its project."""
    return str(endpoint.get("owner_id") or endpoint["project_id"])


def event_type_of(row: Json) -> Item:
    """Translate an event type."""
    losses = [f"{name}: event types have no counterpart" for name in ("category", "deprecated_at") if row.get(name)]
    fields = {"name": row["name"], "description": row.get("description") or "", "schema": row["json_schema"] or None}
    return fitted("event-types", f"event type {row['name']}", fields, losses)


def webhook_of(row: Json, endpoint: Json | None, filters: Sequence[Json]) -> Item:
    """Translate a subscription, with its endpoint and the filters of its event types."""
    label, chosen = f"subscription {row['uid']}", row.get("filter_config") or {}
    if endpoint is None:
        return Item("webhooks", label, None, ("endpoint_metadata: no file has its endpoint",))
    if (row.get("source_metadata") or {}).get("uid"):
        return Item("webhooks", label, None, ("source_metadata: sources have no counterpart",))
    off = {each["event_type"] for each in filters if each.get("enabled_at", ...) is None}
    types = chosen.get("event_types") or ["*"]
    scopes = [scope for scope in SCOPES for each in (chosen.get("filter") or {}, *filters) if each.get(scope)]
    if scopes:
        reason = f"filter of {scopes[0]}: register the webhook with a filter in CEL and the secret of its endpoint"
        return Item("webhooks", label, None, (reason,))
    key, once, losses = _key_of(endpoint)
    headers, more = _headers_of(endpoint.get("authentication") or {})
    losses += more
    if not filters:  # Convoy makes one for each event type of a subscription
        losses.append("filters: no file has them, so the webhook may get more events than in Convoy")
    if row.get("function"):
        losses.append("function: not translated, set payload.template, then enable the webhook")
        once["enabled"] = False
    losses += [
        f"{name}: not copied, set {field}" for name, field in INSTEAD.items() if _is_set((endpoint | row).get(name))
    ]
    rate, seconds = endpoint.get("rate_limit") or 0, endpoint.get("rate_limit_duration") or 1
    fields = {
        "tenant": tenant_id(endpoint),
        "uid": row["uid"],
        "name": row.get("name") or endpoint.get("name") or "",
        "description": endpoint.get("description") or "",
        "url": endpoint["url"],
        "events": [name for name in types if name not in off],
        "headers": headers,
        "rate_limit": rate / seconds or None,
        "timeout": float(endpoint.get("http_timeout") or DEFAULT_TIMEOUT),
        "retry": _retry_of(row),
        "enabled": endpoint.get("status", "active") == "active",
        "payload": FORM_OF_DATA if endpoint.get("content_type") == FORM else {"format": "svix"},
    }
    return fitted("webhooks", f"{label} of {fields['tenant']}", fields | key, losses, once=once)


def _key_of(endpoint: Json) -> tuple[Json, Json, list[str]]:
    """Return what `signing_key` returns. The characters of Convoy's secret are the bytes of the key."""
    valid = [each["value"] for each in endpoint["secrets"] or () if not each.get("expires_at")]
    return signing_key(SYMMETRIC + b64encode((valid or [""])[-1].encode()).decode())


def _headers_of(authentication: Json) -> tuple[dict[str, str], list[str]]:
    kind, key = authentication.get("type"), authentication.get("api_key") or {}
    if kind == "api_key":
        return {key["header_name"]: key["header_value"]}, []
    return {}, [f"authentication: {kind} not copied, set a header"] if kind else []


def _retry_of(row: Json) -> Json | None:
    """Return the retry schedule; None means our default."""
    given = row.get("retry_config") or {}
    if row.get("delivery_mode") == "at_most_once":
        return {"schedule": []}
    if not given.get("duration") or not given.get("retry_count"):
        return None
    if given.get("type") == "exponential":
        first, attempts = given["duration"], given["retry_count"] + 1
        return {"initial": first, "coefficient": 2, "maximum": max(first, MAX_BACKOFF), "attempts": attempts}
    return {"schedule": [given["duration"]] * given["retry_count"]}


def _is_set(config: Any) -> bool:
    return any(config.values()) if isinstance(config, dict) else bool(config)
