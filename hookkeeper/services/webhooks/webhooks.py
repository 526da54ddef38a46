"""Make and change webhooks, by rules that a JSON Schema cannot express: masks, targets, order, signing keys.

A webhook is read with masks in place of secrets, and a mask that is sent back means the known secret.
"""

import secrets
import string
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from hookkeeper.content import headers, masking, tls
from hookkeeper.content.notifications import OnFailure
from hookkeeper.content.templates import EXAMPLE_WEBHOOK_ID
from hookkeeper.crypto.signing_keys import Scheme, is_asymmetric, new_secret
from hookkeeper.ids import WEBHOOK_PREFIX, is_webhook_id
from hookkeeper.kind import load
from hookkeeper.kinds import LISTS
from hookkeeper.policy import OrderKey
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.events.rows import EventSnapshot
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.numbering import NONE, renumber
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.registry.tenants.tenants import MOVED
from hookkeeper.registry.webhooks.targets import items_of, lists_of
from hookkeeper.registry.webhooks.webhooks import ChangedMeanwhile
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.services.caller import Caller
from hookkeeper.services.errors import Invalid, NotFound, NotPossible, TenantSuspended
from hookkeeper.services.events.ingest import EventIngest
from hookkeeper.services.events.new_event import NewEvent
from hookkeeper.services.webhooks.preview import Preview, Previewer, SampleEvent
from hookkeeper.services.webhooks.targets import NEEDS_TARGET, has_target
from hookkeeper.services.webhooks.validator import WebhookValidator
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway

SIMILAR_AMONG = 100
"""The latest webhooks, among which a similar name is looked for."""
UNKNOWN_WEBHOOK = "There is no such webhook."
ID_DIGITS, ID_LENGTH = string.ascii_lowercase + string.digits, 12
"""Ids are short, of 62 random bits. A run lists some hundred of them in a search attribute of 2 KB."""
ROTATION_GRACE = 86_400
"""Seconds for which the previous signing key signs too."""
TENANT_DEFAULTS = frozenset({"retry", "on_failure", "alert_after", "signature_scheme"})
"""Fields that a webhook takes from its tenant, unless they are given."""
MAX_CHANGE_ATTEMPTS = 3
"""Checks of a change, where other requests change the webhook meanwhile; then ChangedMeanwhile."""


class WebhookService(NamedTuple):
    """What a caller does with webhooks. The audit log has each change."""

    caller: Caller
    store: Store
    gateway: Gateway
    ingest: EventIngest
    validator: WebhookValidator
    sandbox: Sandbox
    settings: Settings

    async def create(self, new: dict[str, Any], given: Collection[str], webhook_id: str | None = None) -> Webhook:
        """Register a webhook of all its fields, some of which were given, with this id if there is one. What was not
        given can have a default of the tenant.

        Raises Invalid, TenantSuspended for one that has moved, TooManyWebhooks, WebhookExists and UidTaken.
        """
        tenant = await self.store.tenants.get(new["tenant"])
        if tenant and tenant.reason == MOVED and tenant.suspended_at:
            raise TenantSuspended(tenant.id, "gets no new webhooks", MOVED)
        if tenant is None:
            await self.store.tenants.note(new["tenant"])
        defaults = {name: getattr(tenant, name) for name in TENANT_DEFAULTS.difference(given)} if tenant else {}
        new = new | {name: value for name, value in defaults.items() if value is not None}
        scheme = new["signature_scheme"] if "signature_scheme" in given or not new["secret"] else None
        webhook = await new_webhook(new, scheme, self.validator, webhook_id)
        if tenant and tenant.suspended_at:
            webhook.paused_at, webhook.suspended = webhook.created_at, True
        entry = self.caller.did("webhook.create", webhook.id, webhook.tenant, given)
        await self.store.webhooks.add(webhook, self.settings.max_webhooks_per_tenant, entry)
        return webhook

    async def change(self, webhook_id: str, changes: dict[str, Any]) -> Webhook:
        """Change fields. Raises NotFound, Invalid, UidTaken, ChangedMeanwhile.

        A check takes long enough for another request to change the row. Masks and checks are made again then.
        """
        for attempt in range(MAX_CHANGE_ATTEMPTS):
            known = require(await self.store.webhooks.get(webhook_id, self.caller.tenant))
            columns = await _checked(changes, known, self.validator)
            entry = self.caller.did("webhook.update", webhook_id, known.tenant, changes)
            try:
                changed = require(
                    await self.store.webhooks.update(
                        webhook_id, self.caller.tenant, columns, entry, checked_against=known
                    )
                )
                break
            except ChangedMeanwhile:
                if attempt == MAX_CHANGE_ATTEMPTS - 1:
                    raise
        if {"ordered", "order_policy"} & changes.keys():
            await self.gateway.lines.note_change(webhook_id, changed.ordered)
        if changes.get("enabled"):
            await release_held(self.gateway, changed)
        return changed

    async def delete(self, webhook: Webhook) -> None:
        entry = self.caller.did("webhook.delete", webhook.id, webhook.tenant)
        if not await self.store.webhooks.delete(webhook.id, self.caller.tenant, entry):
            raise NotFound(UNKNOWN_WEBHOOK)
        if webhook.ordered:
            await self.gateway.lines.note_change(webhook.id, None)

    async def pause(self, webhook: Webhook) -> Webhook:
        entry = self.caller.did("webhook.pause", webhook.id, webhook.tenant)
        return require(await self.store.webhooks.set_paused(webhook.id, self.caller.tenant, True, entry))

    async def resume(self, webhook: Webhook) -> Webhook:
        tenant = await self.store.tenants.get(webhook.tenant)
        if tenant and tenant.suspended_at:
            raise NotPossible("The tenant is suspended: its webhooks are resumed together with it.")
        entry = self.caller.did("webhook.resume", webhook.id, webhook.tenant)
        resumed = require(await self.store.webhooks.set_paused(webhook.id, self.caller.tenant, False, entry))
        await release_held(self.gateway, resumed)
        return resumed

    async def note_shown(self, webhook: Webhook) -> None:
        """Record that the caller has seen the signing key."""
        entry = self.caller.did("webhook.show-secret", webhook.id, webhook.tenant)
        await self.store.audit.keep_once(entry, webhook.updated_at)

    async def rotate_secret(
        self,
        webhook: Webhook,
        given: Collection[str],
        *,
        secret: str | None = None,
        grace: int = ROTATION_GRACE,
        end_previous: bool = False,
        keeps: int = 1,
    ) -> Webhook:
        """Set this signing key, or a new one of the same kind; up to `keeps` previous ones sign too. Raises
        PreviousKeySigns and ChangedMeanwhile.
        """
        if secret == webhook.secret:
            return webhook
        rotated = await self.store.webhooks.rotate_secret(
            webhook.id,
            self.caller.tenant,
            secret or new_secret("v1a" if is_asymmetric(webhook.secret) else "v1"),
            grace,
            self.caller.did("webhook.rotate-secret", webhook.id, webhook.tenant, given),
            replaces=webhook.secret,
            ends_previous=end_previous or grace == 0,
            keeps=keeps,
        )
        return require(rotated)

    async def send_test(self, webhook: Webhook, sample: SampleEvent, event_id: str) -> EventSnapshot:
        """Send an event to this webhook only. Raises what `EventIngest.accept_test` does."""
        filled = await sample.for_(webhook, self.store.catalogue)
        event = NewEvent(type=filled.type, data=filled.data, tenant=webhook.tenant, channels=filled.channels)
        return await self.ingest.accept_test(event, event_id, webhook)

    async def draft(self, fields: dict[str, Any]) -> Webhook:
        """Make a webhook that is not registered, for a preview. Raises Invalid."""
        await self.validator.for_(fields["tenant"]).check(fields)
        return unsaved(fields)

    async def preview(self, webhook: Webhook, sample: SampleEvent) -> Preview:
        """Make what the webhook would send."""
        filled = await sample.for_(webhook, self.store.catalogue)
        return await Previewer(self.sandbox, webhook, filled, self.settings.render_limits).preview()


def require(webhook: Webhook | None) -> Webhook:
    """Return the webhook; raise NotFound if there is none."""
    if webhook is None:
        raise NotFound(UNKNOWN_WEBHOOK)
    return webhook


async def names_of(store: Store, caller: Caller, ids: Iterable[str]) -> dict[str, str]:
    """Return what to call these webhooks, by id; nothing without the scope for it, or without the registry."""
    if "webhooks:read" not in caller.scopes:
        return {}
    try:
        return await store.webhooks.names(set(ids), caller.tenant)
    except RegistryUnavailable:
        return {}


async def webhook_named(store: Store, caller: Caller, name: str, tenant: str | None) -> str:
    """Return the id of the webhook with this id, uid or name, also of a deleted one with deliveries.

    Raises Invalid, with a similar name for a key that may know it.
    """
    if found := await store.webhooks.ids_named(name, tenant):
        if len(found) > 1:
            raise Invalid.field("webhook", f"is the name of several webhooks: {', '.join(found)}")
        return found[0]
    if is_webhook_id(name) and (await store.index.deliveries(Search(webhook=name, tenant=tenant), 1, None))[0]:
        return name
    names = await store.webhooks.latest_names(tenant, SIMILAR_AMONG) if "webhooks:read" in caller.scopes else {}
    close = get_close_matches(name, [*names, *names.values()], 1)
    hint = f": did you mean {close[0]}?" if close else ""
    raise Invalid.field("webhook", f"is no id, uid or name of a webhook{hint}")


async def new_webhook(
    given: dict[str, Any], scheme: Scheme | None, validator: WebhookValidator, webhook_id: str | None = None
) -> Webhook:
    """Make a webhook of all its fields as the API names them. Raises Invalid.

    `scheme` is the kind of its signing key, if the caller chose one. Without an id, it gets a new one.
    """
    tenant, secret = given["tenant"], given["secret"]
    given = given | unmasked(given)
    await validator.for_(tenant).check(given)
    if secret and scheme and is_asymmetric(secret) != (scheme == "v1a"):
        raise Invalid.field("secret", f"is not a key for signature scheme {scheme}")
    return unsaved(given, webhook_id or _new_id(), secret or new_secret(scheme or "v1"))


def unsaved(given: dict[str, Any], webhook_id: str = EXAMPLE_WEBHOOK_ID, secret: str = "") -> Webhook:
    """Make a webhook, of fields as the API names them, that is in no registry."""
    columns = {name: value for name, value in _columns(given).items() if name not in ("secret", "signature_scheme")}
    return Webhook(id=webhook_id, secret=secret, **columns)


async def release_held(gateway: Gateway, webhook: Webhook) -> None:
    """Release the held deliveries of a webhook, unless it is still disabled or paused. Raises Unavailable.

    The change is already in the registry. After a 503, the client repeats the request, which changes nothing there and
    releases again.
    """
    if webhook.enabled and webhook.paused_at is None:
        await gateway.releases.start(webhook.tenant, webhook.id)


async def _checked(given: dict[str, Any], known: Webhook, validator: WebhookValidator) -> dict[str, Any]:
    """Return the changes as columns of the registry, with the known secrets behind their masks."""
    given = given | unmasked(given, known)
    if not has_target({"url": known.url, **lists_of(known), **given}):
        raise Invalid(f"{NEEDS_TARGET.capitalize()}.")
    await validator.for_(known.tenant).check(given, known)
    return _columns(given, known)


def _columns(given: dict[str, Any], known: Webhook | None = None) -> dict[str, Any]:
    columns = dict(given)
    if "metadata" in columns:
        columns["metadata_"] = columns.pop("metadata")
    if "url" in columns:
        columns["url"] = columns["url"] or ""
    lists = {kind: columns.pop(kind.field) for kind, _ in LISTS if kind.field in columns}
    if lists:
        before = known.targets if known else {}
        numbered = {kind.name: renumber(items, before.get(kind.name, NONE)) for kind, items in lists.items()}
        columns["targets"] = {name: each for name, each in {**before, **numbered}.items() if each.used}
    if "ordered" in columns or "order_policy" in columns:
        columns["ordered"], columns["order_key"] = _order(given, known)
        columns.pop("order_policy", None)
    return columns


def _order(given: dict[str, Any], known: Webhook | None) -> tuple[str | None, str | None]:
    """Return policy and key of `ordered` and `order_policy`; what is not given does not change."""
    before, key = (known.ordered, known.order_key) if known else (None, None)
    ordered, policy = given.get("ordered", before is not None), given.get("order_policy")
    if "ordered" in given:
        key = ordered.key if isinstance(ordered, OrderKey) else None
    if ordered:
        return policy or before or "block", key
    if policy == "skip":
        raise Invalid.field("order_policy", "requires ordered to be true")
    return None, None


def webhook_id_of(mac: str) -> str:
    """Make the id of a webhook from a MAC in hexadecimal digits: always the same, and not for a client to choose.

    With an id of its choice, a tenant could get what the open events of another's deleted webhook still send.
    """
    number, digits = int(mac, 16), ""
    for _ in range(ID_LENGTH):
        number, digit = divmod(number, len(ID_DIGITS))
        digits += ID_DIGITS[digit]
    return f"{WEBHOOK_PREFIX}{digits}"


def _new_id() -> str:
    return WEBHOOK_PREFIX + "".join(secrets.choice(ID_DIGITS) for _ in range(ID_LENGTH))


def unmasked(given: dict[str, Any], known: Webhook | None = None) -> dict[str, Any]:
    """Return the fields that can hold masks, with each mask replaced by the known secret.

    Raises Invalid for a mask without a known secret.
    """
    restored: dict[str, Any] = {}
    secret = _headers_for(given, known)
    if "headers" in given:
        restored["headers"] = _try("headers", headers.unmasked, given["headers"], secret)
    if given.get("tls"):
        restored["tls"] = _try("tls", tls.unmasked, given["tls"], known.tls if known else None)
    for kind, items in LISTS:
        if items.unmasked and kind.field in given:
            ours = items_of(known, kind) if known else ()
            restored[kind.field] = _try(kind.field, load(items.unmasked), given[kind.field], ours)
    if given.get("on_failure"):
        restored["on_failure"] = unmasked_alerts(given["on_failure"], known.on_failure if known else None)
    return restored


def masked_alerts(alerts: OnFailure | None) -> OnFailure | None:
    """Return alerts with masks in place of secrets."""
    if alerts is None:
        return None
    return alerts.model_copy(update={"notifications": tuple(map(masking.masked, alerts.notifications))})


def unmasked_alerts(alerts: OnFailure, known: OnFailure | None) -> OnFailure:
    """Return alerts with the known secrets in place of masks. Raises Invalid for a mask without one."""
    ours = known.notifications if known else ()
    notes = _try("on_failure.notifications", masking.unmasked, alerts.notifications, ours)
    return alerts.model_copy(update={"notifications": notes})


def _headers_for(given: dict[str, Any], known: Webhook | None) -> dict[str, str]:
    """Return the known headers, which are secrets of the host that they are sent to.

    Raises Invalid if they would go to another host and the request does not set them.
    """
    if known is None or not known.headers:
        return {}
    if _host(given.get("url", known.url)) == _host(known.url):
        return known.headers
    if "headers" not in given:
        raise Invalid.field(
            "headers", "are secrets of the previous host: to change the host of the url, send the headers again"
        )
    return {}


def _host(url: str | None) -> tuple[str, str | None, int | None] | None:
    parts = urlsplit(url) if url else None
    return (parts.scheme, parts.hostname, parts.port) if parts else None


def _try(path: str, restore: Any, given: Any, known: Any) -> Any:
    try:
        return restore(given, known)
    except ValueError as error:
        raise Invalid.field(path, str(error)) from None
