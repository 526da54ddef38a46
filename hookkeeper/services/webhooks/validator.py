"""Check the parts of a webhook that a JSON Schema cannot check: addresses, templates, filters, services, TLS.

Templates and filters are parsed in the sandbox, since parsing one can cost more than a request may. Templates are also
rendered with the examples of the types that the webhook names.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from hookkeeper.addresses import parse_networks
from hookkeeper.content import filters, payload, tls
from hookkeeper.content.context import OutgoingEvent, WebhookContext, context_of
from hookkeeper.content.errors import ContentError
from hookkeeper.content.headers import MASK, check_total
from hookkeeper.content.notifications import OnFailure
from hookkeeper.content.sizes import MAX_HEADER_BYTES
from hookkeeper.content.templates import EXAMPLE_EVENT_ID, EXAMPLE_WEBHOOK_ID
from hookkeeper.content.urls import UrlRules, check_reachable, check_scheme
from hookkeeper.kind import Items, load
from hookkeeper.kinds import LISTS
from hookkeeper.policy import OrderKey
from hookkeeper.registry.catalogue import Catalogue
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.webhooks.targets import lists_of
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.services.errors import BadField, Invalid
from hookkeeper.services.fields import EVENT_TYPE
from hookkeeper.settings import Settings
from hookkeeper.times import utc_now

Check = Callable[[], Awaitable[Any]]
MAX_EXAMPLES = 3
"""Types whose example a webhook is rendered with."""
EXAMPLES_TIMEOUT = 5.0
"""Seconds. What has not been rendered by then is accepted."""


class WebhookValidator:
    """Checks the elements of webhooks."""

    def __init__(self, sandbox: Sandbox, settings: Settings, catalogue: Catalogue, tenant: str = "") -> None:
        self._children = sandbox
        self._sandbox = sandbox.for_(tenant)
        self._settings = settings
        self._catalogue = catalogue
        self._tenant = tenant
        self._networks = parse_networks(settings.allowed_networks)

    def for_(self, tenant: str) -> "WebhookValidator":
        """Return a validator that uses the tenant's share of the sandbox."""
        return WebhookValidator(self._children, self._settings, self._catalogue, tenant)

    async def check(self, given: dict[str, Any], known: Webhook | None = None) -> None:
        """Raise Invalid, which names each bad field of a webhook, or of changes to the `known` one."""
        whole = _after_change(given, known)
        self._check_address_count(given, whole)
        bad = await self._faults(given)
        for path, check in self._checks(given):
            try:
                await check()
            except ValueError as error:  # `hookkeeper.content.errors.ContentError` is one
                bad.append(BadField(path=path, detail=str(error)))
        if not bad:
            with suppress(TimeoutError):
                async with asyncio.timeout(EXAMPLES_TIMEOUT):
                    bad = [error async for error in self._errors_with_examples(given, whole)]
        if bad:
            raise Invalid("The webhook is invalid: see errors.", bad)

    def _check_address_count(self, given: dict[str, Any], whole: dict[str, Any]) -> None:
        """Refuse more addresses than a webhook may have, before any of them is read."""
        if not given.get("emails") and not given.get("on_failure"):
            return
        alerts: OnFailure | None = whole["on_failure"]
        count = sum(email.address_count for email in (*whole["emails"], *(alerts.emails if alerts else ())))
        most = self._settings.max_addresses_per_webhook
        if count > most:
            detail = f"the emails have {count} addresses in total, including on_failure; the maximum is {most}"
            raise Invalid.field("emails" if given.get("emails") else "on_failure.emails", detail)

    async def _faults(self, given: dict[str, Any]) -> list[BadField]:
        rules = UrlRules(self._settings.require_https, self._networks)
        return [
            BadField(path=f"{path}.{field}", detail=detail)
            for path, items, item in _items(given)
            if items.faults
            for field, detail in await asyncio.to_thread(load(items.faults), item, rules)
        ]

    async def _errors_with_examples(self, given: dict[str, Any], whole: dict[str, Any]) -> AsyncIterator[BadField]:
        """Render what is given with the example of each type that the webhook names, if its filter matches it."""
        elements: list[tuple[str, Callable[..., Any], Any]] = []
        if given.get("payload"):
            elements.append(("payload", payload.body_of, given["payload"]))
        elements += [(path, load(items.render), item) for path, items, item in _own_items(given)]
        if not elements:
            return
        about = WebhookContext(whole["id"], whole["name"], whole["metadata"])
        async for event in self._examples(whole):
            for path, render, element in elements:
                try:
                    await self._sandbox.call(render, element, context_of(event, about), self._settings.render_limits)
                except ContentError as error:
                    yield BadField(path=path, detail=f"{error}; this happens for the example of {event.type}")

    async def _examples(self, whole: dict[str, Any]) -> AsyncIterator[OutgoingEvent]:
        filter_ = whole["filter"]
        named = [pattern for pattern in whole["events"] if re.fullmatch(EVENT_TYPE, pattern)]
        for type_ in named[:MAX_EXAMPLES]:
            found = await self._catalogue.get(type_)
            if found and found.examples:
                event = OutgoingEvent(
                    EXAMPLE_EVENT_ID, type_, self._tenant, utc_now(), found.examples[0], whole["channels"]
                )
                if filter_ is None or await self._matches(filter_, event):
                    yield event

    async def _matches(self, filter_: str, event: OutgoingEvent) -> bool:
        try:
            return await self._sandbox.call(filters.matches, filter_, event.shown())
        except ContentError:
            return False

    def _checks(self, given: dict[str, Any]) -> Iterator[tuple[str, Check]]:
        if given.get("url"):
            yield "url", partial(self._check_scheme, given["url"])
            yield "url", partial(self._check_reachable, given["url"])
        if given.get("headers"):
            yield "headers", partial(self._check_header_bytes, given["headers"])
        if given.get("tls") and given["tls"].key != MASK:  # a preview leaves it masked
            yield "tls", partial(self._sandbox.call, tls.check, given["tls"], utc_now())
        if given.get("filter"):
            yield "filter", partial(self._sandbox.call, filters.check, given["filter"])
        if isinstance(order := given.get("ordered"), OrderKey):
            yield "ordered.key", partial(self._sandbox.call, filters.check_key, order.key)
        if given.get("payload"):
            yield "payload", partial(self._sandbox.call, payload.check, given["payload"])
        for path, items, item in _items(given):
            yield path, partial(self._sandbox.call, load(items.check), item)

    async def _check_header_bytes(self, headers: dict[str, str]) -> None:
        check_total(headers, MAX_HEADER_BYTES)

    async def _check_scheme(self, url: str) -> None:
        check_scheme(url, self._settings.require_https)

    async def _check_reachable(self, url: str) -> None:
        check_reachable(url, self._networks)


def _own_items(given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Items, Any]]:
    """Yield path, description and target of each target that is given, but the URL."""
    for kind, items in LISTS:
        yield from ((f"{prefix}{kind.field}.{n}", items, item) for n, item in enumerate(given.get(kind.field) or ()))


def _items(given: Mapping[str, Any]) -> Iterator[tuple[str, Items, Any]]:
    """Yield these, and the recipients of alerts."""
    yield from _own_items(given)
    yield from _own_items(dict(given.get("on_failure") or ()), "on_failure.")


def _after_change(given: dict[str, Any], known: Webhook | None) -> dict[str, Any]:
    """Return the fields of the webhook as they will be: those that are checked together."""
    if known is None:
        return {"id": EXAMPLE_WEBHOOK_ID, **given}
    kept = {name: getattr(known, name) for name in ("id", "name", "events", "channels", "filter", "on_failure")}
    return {**kept, **lists_of(known), "metadata": known.metadata_, **given}
