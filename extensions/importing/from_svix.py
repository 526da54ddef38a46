"""Read a Svix server through its documented routes, and translate its objects to our requests.

Lists have pages of `data` with `iterator` and `done`. Headers and secret of an endpoint have routes of their own.
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cli.client.api import ApiUnavailable
from cli.console import Failed, Json
from extensions.importing.items import Item, fitted, signing_key, untranslated
from hookkeeper.content.headers import check_headers
from hookkeeper.content.text import API_KEY
from hookkeeper.services.fields import EVENT_ID, TENANT_PATTERN

WAITS = (1.0, 5.0, 15.0, 60.0)
"""Seconds before a request with one of these statuses, `FOR_NOW`, is repeated."""
FOR_NOW = frozenset({429, 502, 503, 504})
MAX_ITEMS = 100_000
"""Of a list. A server could send pages without end."""
TIMEOUT = 30.0
"""Seconds for which Svix waits for an answer."""
UID_PATTERN = f"(?!wh_){EVENT_ID}"
EVERYWHERE = frozenset({"id", "uid", "createdAt", "updatedAt"})
READ_OF_APPLICATIONS = EVERYWHERE | {"name", "metadata", "throttleRate", "rateLimit"}
READ_OF_EVENT_TYPES = EVERYWHERE | {"name", "description", "schemas", "archived"}
READ_OF_ENDPOINTS = EVERYWHERE | {
    *("url", "description", "disabled", "channels", "metadata", "version"),
    *("eventTypes", "filterTypes", "throttleRate", "rateLimit"),
}
"""Fields of answers. Servers before 1.99 say `filterTypes` alone, and before 1.90 `rateLimit` alone."""


class Svix:
    """A server and a token for it."""

    def __init__(self, url: str, token: str) -> None:
        import httpx

        if not url.startswith(("http://", "https://")):
            raise Failed(f"--url {url!r} is invalid: it must start with http:// or https://")
        if not API_KEY.fullmatch(token):
            raise Failed("--token contains invalid characters, such as a space or a line break at its end")
        base = url.rstrip("/").removesuffix("/api/v1")
        headers = {"authorization": f"Bearer {token}"}
        try:
            self._http = httpx.Client(base_url=f"{base}/api/v1", headers=headers, timeout=30)
        except httpx.InvalidURL as error:
            raise Failed(f"--url {url!r} is invalid: {error}") from error

    def items(self) -> Sequence[Iterable[Item]]:
        """Return event types, and the items of each application, which are read on iteration. Raises `Failed`."""
        types = list(self._all("event-type", include_archived="true", with_content="true"))
        applications = list(self._all("app"))
        return [*([event_type_of(each)] for each in types), *map(self._application, applications)]

    def _application(self, application: Json) -> Iterator[Item]:
        yield tenant_of(application)
        tenant, _ = id_of(application, TENANT_PATTERN)
        for endpoint in self._all(f"app/{application['id']}/endpoint"):
            path = f"app/{application['id']}/endpoint/{endpoint['id']}"
            headers, secret = self._get(f"{path}/headers"), self._get(f"{path}/secret")
            yield webhook_of(tenant, endpoint, headers, secret["key"])

    def _all(self, path: str, **query: str) -> Iterator[Json]:
        """Yield the items of a list, oldest first, page by page. Raises `Failed` if it has no end."""
        count, seen = 0, set()
        while count <= MAX_ITEMS:
            page = self._get(path, limit="100", order="ascending", **query)
            yield from page["data"]
            if page["done"] or not (iterator := page.get("iterator")):
                return
            if iterator in seen:
                raise Failed(f"{path} of {self._http.base_url} repeats its pages")
            seen.add(iterator)
            query["iterator"] = iterator
            count += len(page["data"]) or 1
        raise Failed(f"{path} of {self._http.base_url} has more than {MAX_ITEMS:,} items")

    def _get(self, path: str, **query: str) -> Any:
        """Return the JSON of a 200. Raises `Failed`."""
        import httpx

        for wait in (*WAITS, None):
            try:
                answer = self._http.get(path, params=query)
            except httpx.TransportError as error:
                raise ApiUnavailable(f"cannot reach {self._http.base_url} ({error})") from error
            if answer.status_code not in FOR_NOW or wait is None:
                break
            time.sleep(wait)
        if answer.status_code != 200:
            kind = ApiUnavailable if answer.status_code in FOR_NOW else Failed
            raise kind(f"{answer.url} answers {answer.status_code} {answer.reason_phrase}")
        try:
            return answer.json()
        except ValueError as error:
            raise Failed(f"{answer.url} is no answer of Svix: check --url") from error


def id_of(row: Json, pattern: str) -> tuple[str, list[str]]:
    """Return the uid, or else Svix's id, which callers can also use, and the losses."""
    uid, own = row.get("uid"), row["id"]
    if not uid or re.fullmatch(pattern, uid):
        return uid or own, []
    return own, [f"the uid {uid!r} cannot be kept, the id is {own}"]


def tenant_of(application: Json) -> Item:
    """Translate an application."""
    tenant, losses = id_of(application, TENANT_PATTERN)
    if rate := _throttle_rate(application):
        losses.append(
            f"throttleRate {rate}: deliveries of a tenant have no common limit, set rate_limit of its webhooks"
        )
    losses += untranslated(application, READ_OF_APPLICATIONS)
    fields = {"id": tenant, "name": application["name"], "metadata": application.get("metadata") or {}}
    return fitted("tenants", f"application {tenant}", fields, losses)


def event_type_of(event_type: Json) -> Item:
    """Translate an event type with the latest version of its schema."""
    versions: Json = event_type.get("schemas") or {}
    latest = max(versions, key=lambda version: [int(part) for part in re.findall(r"\d+", version)], default=None)
    schema, losses = versions[latest] if latest else None, []
    if others := sorted(versions.keys() - {latest}):
        losses.append(f"schemas: version {latest} is copied, without {', '.join(others)}")
    if schema and "$schema" in schema and "2020-12" not in str(schema["$schema"]):
        losses.append(f"schema: it is read as JSON Schema 2020-12 instead of {schema['$schema']}")
        schema = {name: value for name, value in schema.items() if name != "$schema"}
    examples = schema.get("examples") if schema else None
    losses += untranslated(event_type, READ_OF_EVENT_TYPES)
    fields = {
        "name": event_type["name"],
        "description": event_type.get("description") or "",
        "schema": schema,
        "examples": examples if isinstance(examples, list) else [],
        "archived": bool(event_type.get("archived")),
    }
    return fitted("event-types", f"event type {event_type['name']}", fields, losses)


def webhook_of(tenant: str, endpoint: Json, headers: Json, key: str) -> Item:
    """Translate an endpoint. `headers` is the answer about its headers, `key` its secret."""
    uid, losses = id_of(endpoint, UID_PATTERN)
    usable: dict[str, str] = {}
    for name, value in headers["headers"].items():
        try:
            usable |= check_headers({name: value})
        except ValueError as error:
            losses.append(f"headers: {error}")
    losses += [f"header {name}: Svix does not show its value, set it here" for name in headers["sensitive"]]
    losses += untranslated(endpoint, READ_OF_ENDPOINTS)
    secret, once, problem = signing_key(key)
    fields = {
        "tenant": tenant,
        "uid": uid,
        "url": endpoint["url"],
        "description": endpoint.get("description") or "",
        "events": endpoint.get("eventTypes") or endpoint.get("filterTypes") or ["*"],
        "channels": endpoint.get("channels") or [],
        "headers": usable,
        "rate_limit": _throttle_rate(endpoint),
        "enabled": not endpoint.get("disabled"),
        "metadata": endpoint.get("metadata") or {},
        "payload": {"format": "svix"},
        "timeout": TIMEOUT,
    } | secret
    hidden = tuple(headers["sensitive"])
    return fitted("webhooks", f"endpoint {uid} of {tenant}", fields, [*losses, *problem], once=once, hidden=hidden)


def _throttle_rate(row: Json) -> int | None:
    return row.get("throttleRate") or row.get("rateLimit") or None
