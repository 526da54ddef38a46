"""Read a Svix server through its documented routes, and translate its objects to our requests.

Lists have pages of `data` with `iterator` and `done`. Headers and secret of an endpoint have routes of their own.
"""

import re
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from hookkeeper.cli.client import ApiUnavailable
from hookkeeper.cli.console import Failed, Json
from hookkeeper.cli.imports import Item, Work, fitted, signing_key
from hookkeeper.content.headers import check_headers
from hookkeeper.content.text import API_KEY
from hookkeeper.services.fields import EVENT_ID, TENANT_PATTERN

WAITS = (1.0, 5.0, 15.0, 60.0)
"""Seconds before a request with one of these statuses, `FOR_NOW`, is repeated."""
FOR_NOW = frozenset({429, 502, 503, 504})


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

    def work(self) -> Sequence[Work]:
        """Return the work for each event type, and for each application with its endpoints. Raises `Failed`."""
        types = list(self._all("event-type", include_archived="true", with_content="true"))
        applications = list(self._all("app"))
        return [partial(iter, [event_type_of(each)]) for each in types] + [
            partial(self._application, each) for each in applications
        ]

    def _application(self, application: Json) -> Iterator[Item]:
        item = tenant_of(application)
        yield item
        tenant = application_id(application)
        for endpoint in self._all(f"app/{application['id']}/endpoint"):
            path = f"app/{application['id']}/endpoint/{endpoint['id']}"
            headers, secret = self._get(f"{path}/headers"), self._get(f"{path}/secret")
            yield webhook_of(tenant, endpoint, headers, secret["key"])

    def _all(self, path: str, **query: str) -> Iterator[Json]:
        """Yield the items of a list, oldest first, page by page."""
        iterator: dict[str, str] = {}
        while True:
            page = self._get(path, limit="100", order="ascending", **query, **iterator)
            yield from page["data"]
            if page["done"] or not page.get("iterator"):
                return
            iterator = {"iterator": page["iterator"]}

    def _get(self, path: str, **query: str) -> Any:
        """Return the JSON of a 200. Raises `Failed`."""
        import httpx

        for wait in (*WAITS, None):
            try:
                answer = self._http.get(path, params=query)
            except httpx.TransportError as error:
                raise ApiUnavailable(f"cannot reach {self._http.base_url} ({error})") from error
            if answer.status_code in FOR_NOW and wait is not None:
                time.sleep(wait)
                continue
            break
        if answer.status_code != 200:
            kind = ApiUnavailable if answer.status_code in FOR_NOW else Failed
            raise kind(f"{answer.url} answers {answer.status_code} {answer.reason_phrase}")
        try:
            return answer.json()
        except ValueError as error:
            raise Failed(f"{answer.url} is no answer of Svix: check --url") from error


def application_id(application: Json) -> str:
    """Return the id of the tenant: the uid, or else Svix's id, which callers can also use for the application."""
    uid = application.get("uid")
    return uid if uid and _fits(TENANT_PATTERN, uid) else application["id"]  # type: ignore[no-any-return]


def tenant_of(application: Json) -> Item:
    """Translate an application."""
    tenant, losses = application_id(application), []
    if application.get("uid") not in (None, tenant):
        losses.append(f"the uid {application['uid']!r} cannot be the id of a tenant: it becomes {tenant}")
    if rate := application.get("throttleRate"):
        losses.append(
            f"throttleRate {rate}: deliveries of a tenant have no common limit, set rate_limit of its webhooks"
        )
    fields = {"id": tenant, "name": application["name"], "metadata": application["metadata"]}
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
    losses += [
        f"{name}: event types have no counterpart"
        for name in ("deprecated", "featureFlag", "featureFlags", "groupName")
        if event_type.get(name)
    ]
    fields = {
        "name": event_type["name"],
        "description": event_type["description"],
        "schema": schema,
        "examples": examples if isinstance(examples, list) else [],
        "archived": bool(event_type.get("archived")),
    }
    return fitted("event-types", f"event type {event_type['name']}", fields, losses)


def webhook_of(tenant: str, endpoint: Json, headers: Json, key: str) -> Item:
    """Translate an endpoint. `headers` is the answer about its headers, `key` its secret."""
    uid, losses = endpoint.get("uid"), []
    if uid and not (_fits(EVENT_ID, uid) and not uid.startswith("wh_")):
        losses.append(f"the uid {uid!r} cannot be the uid of a webhook: it becomes {endpoint['id']}")
        uid = None
    usable: dict[str, str] = {}
    for name, value in headers["headers"].items():
        try:
            usable |= check_headers({name: value})
        except ValueError as error:
            losses.append(f"headers: {error}")
    losses += [f"header {name}: Svix does not show its value, set it here" for name in headers["sensitive"]]
    secret, once, problem = signing_key(key)
    fields = {
        "tenant": tenant,
        "uid": uid or endpoint["id"],
        "url": endpoint["url"],
        "description": endpoint["description"],
        "events": endpoint.get("eventTypes") or ["*"],
        "channels": endpoint.get("channels") or [],
        "headers": usable,
        "rate_limit": endpoint.get("throttleRate") or None,
        "enabled": not endpoint.get("disabled"),
        "metadata": endpoint["metadata"],
        "payload": {"format": "svix"},
    } | secret
    label = f"endpoint {uid or endpoint['id']} of {tenant}"
    return fitted("webhooks", label, fields, [*losses, *problem], once=once, hidden=tuple(headers["sensitive"]))


def _fits(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern[1:-1], text, re.ASCII) is not None
