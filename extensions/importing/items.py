"""Objects of another server, translated to requests of our API."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from cli.client.resources import load_model
from cli.console import Json

Kind = Literal["tenants", "event-types", "webhooks"]
"""Kinds of objects, as the paths of our API name them."""
KEYS: Mapping[Kind, str] = {"tenants": "id", "event-types": "name", "webhooks": "uid"}
"""The field by which an object is found again."""
MODELS: Mapping[Kind, str] = {
    "tenants": "tenants.tenants:NewTenant",
    "event-types": "catalogue.event_types:NewEventType",
    "webhooks": "webhooks.fields:NewWebhook",
}
ESSENTIAL = frozenset({"tenant", "url", "events", "channels", "filter", "payload", "secret"})
"""Fields that decide what a webhook sends, and where. If one cannot be translated, the webhook is not copied."""
NOTHING: Json = {}


class Item(NamedTuple):
    """An object of the source, translated to a request of our API."""

    path: Kind
    label: str
    """Its name in the output: `endpoint ep_… of acme`."""
    body: Json | None
    """None if the object cannot be translated; `losses` say why."""
    losses: tuple[str, ...] = ()
    """One text for each loss."""
    once: Json = NOTHING
    """Fields that are set when the object is added, and never changed afterwards."""
    hidden: tuple[str, ...] = ()
    """Names of headers whose values the source does not show. A value that was set here is kept."""


def fitted(path: Kind, label: str, fields: Json, losses: Iterable[str] = (), **others: Any) -> Item:
    """Make an item that our API accepts. Fields that its models refuse are left out, and become losses.

    The item has no body if an essential field is refused, or all entries of one.
    """
    from pydantic import ValidationError

    from hookkeeper.services.errors import Invalid

    model, fields, lost = load_model(MODELS[path]), dict(fields), list(losses)
    while True:
        try:
            valid = model.model_validate(fields)
        except ValidationError as error:
            where = error.errors()[0]["loc"]
            bad = Invalid.of(error.errors()).errors[0]
            lost.append(f"{_named(fields, where) or bad.path}: {bad.detail}")
            if not _left_out(fields, where, ESSENTIAL | {KEYS[path]}):
                return Item(path, label, None, tuple(lost))
        else:
            shown = valid.model_dump(mode="json", by_alias=True)
            return Item(path, label, {name: shown[name] for name in fields}, tuple(lost), **others)


def untranslated(row: Json, read: Collection[str]) -> list[str]:
    """Name the fields that are set and not read, as those of a later version of the source."""
    return [f"{name}: has no counterpart" for name, value in row.items() if value and name not in read]


def _named(fields: Json, where: tuple[int | str, ...]) -> str:
    """Name an entry of a list by its value: positions change when others are left out."""
    if len(where) == 2 and isinstance(entries := fields.get(str(where[0])), list):
        return f"{where[0]} {str(entries[int(where[1])])[:256]!r}"
    return ""


def _left_out(fields: Json, where: tuple[int | str, ...], essential: Collection[str]) -> bool:
    """Remove an entry of a field, or else the field. Return False if the rest must not be copied without it."""
    if not where or where[0] not in fields:
        return False
    name, *within = where
    value = fields[str(name)]
    if within and isinstance(value, dict | list) and name != "schema":
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        kept = [each for each in entries if each[0] != within[0]]
        fields[str(name)] = dict(kept) if isinstance(value, dict) else [each for _, each in kept]
        return bool(kept) or name not in essential
    del fields[str(name)]
    return name not in essential


def signing_key(key: str) -> tuple[Json, Json, list[str]]:
    """Return the field with the key, the fields that a webhook has once without it, and the losses.

    A webhook without its key is disabled, which holds its deliveries: the receiver does not have the new key yet.
    """
    from hookkeeper.crypto.signing_keys import ASYMMETRIC, PUBLIC, SYMMETRIC, check_secret

    todo = "give the receiver the new one and enable the webhook"
    if key.startswith(PUBLIC):
        once = {"signature_scheme": "v1a", "enabled": False}
        return {}, once, [f"secret: the source shows only its public key; {todo}"]
    secret = key if key.startswith((SYMMETRIC, ASYMMETRIC)) else SYMMETRIC + key
    try:
        check_secret(secret)
    except ValueError as error:
        return {}, {"enabled": False}, [f"secret: {error}; {todo}"]
    return {"secret": secret}, {}, []
