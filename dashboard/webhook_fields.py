"""The fields of a webhook as the texts of a form, and back.

A field of the form has the path that the API names in errors: `emails.0.to`. Secrets are masked in the form as in the
answers of the API, and a mask that comes back means the known secret.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from api.schemas.webhooks import WebhookFields, WebhookView
from dashboard.form_codecs import (
    CHECK,
    COUNT,
    DURATION,
    DURATIONS,
    HEADERS,
    JSON,
    LINE,
    LINES,
    MAX_NAME_SHOWN,
    METADATA,
    NUMBER,
    PATTERNS,
    TEXT,
    Codec,
    choice,
)
from hookkeeper.policy import OrderKey
from hookkeeper.services.errors import BadField, Invalid

TYPE = "types."
"""Begins the name of a checkbox of an event type."""
REMOVE = "remove"
"""The checkbox of an email or a notification that is to be removed."""
_STEP = re.compile(r"\.(\d{1,3})(?=\.|$)", re.ASCII)
_ITEM = re.compile(r"(?:on_failure\.)?(?:emails|notifications)\.\d{1,3}(?=\.)", re.ASCII)
_NAMED = re.compile(r"([\w.-]+): (.*)", re.DOTALL)


EMAIL = {
    "to": LINES,
    "cc": LINES,
    "bcc": LINES,
    "reply_to": LINE,
    "subject": LINE,
    "text": TEXT,
    "html": TEXT,
    "template_id": LINE,
    "template_data": JSON,
    "categories": LINES,
    "tracking": CHECK,
}
NOTIFICATION = {
    "service": LINE,
    "title": LINE,
    "body": TEXT,
    "http.method": choice("POST"),
    "http.url": LINE,
    "http.headers": HEADERS,
    "http.body": TEXT,
}
LISTS = {
    f"{prefix}{name}": fields
    for prefix in ("", "on_failure.")
    for name, fields in (("emails", EMAIL), ("notifications", NOTIFICATION))
}
FIELDS: dict[str, Codec] = {
    "name": LINE,
    "description": TEXT,
    "url": LINE,
    "events": PATTERNS,
    "filter": TEXT,
    "payload.format": choice("standard"),
    "payload.content_type": choice("application/json"),
    "payload.static": JSON,
    "payload.template": TEXT,
    "headers": HEADERS,
    "tls.ca": TEXT,
    "tls.certificate": TEXT,
    "tls.key": TEXT,
    "retry.schedule": DURATIONS,
    "retry.initial": DURATION,
    "retry.coefficient": NUMBER,
    "retry.maximum": DURATION,
    "retry.attempts": COUNT,
    "timeout": NUMBER,
    "rate_limit": NUMBER,
    "order": LINE,
    "order_key": TEXT,
    "disable_after": DURATION,
    "metadata": METADATA,
} | {f"{list_}.*.{name}": codec for list_, fields in LISTS.items() for name, codec in fields.items()}
"""The fields of the form. Whether a webhook is enabled is set elsewhere."""
GROUPS = {
    *("payload", "tls", "retry", "on_failure", *LISTS, *(f"{list_}.*" for list_ in LISTS)),
    *("tenant", "secret", "signature_scheme", "sample.type", "sample.data"),
}
"""What else can have an error: parts with several fields, and fields that are no part of a change."""
ALIASES = {
    "ordered": "order",
    "ordered.key": "order_key",
    "order_policy": "order",
    "type": "sample.type",
    "data": "sample.data",
}


ORDER = {"order", "order_key"}
"""The fields of the form that make `ordered` and `order_policy`."""


def read_fields(form: Mapping[str, str]) -> dict[str, Any]:
    """Read a form as the fields of the API; empty fields are left out. Raises Invalid, which names each bad field."""
    fields: dict[str, Any] = {}
    errors: list[BadField] = []
    for path, text in form.items():
        codec = FIELDS.get(_pattern(path))
        if codec is None or not text.strip():
            continue
        try:
            _put(fields, path.split("."), codec.read(text))
        except ValueError as error:
            errors.append(BadField(path=path, detail=str(error)))
    if errors:
        raise Invalid("The form is invalid: see errors.", errors)
    return _as_api(fields, [name.removeprefix(TYPE) for name in form if name.startswith(TYPE)])


def changed_fields(form: Mapping[str, str], known: WebhookView) -> dict[str, Any]:
    """Return the fields of the API whose texts differ from those of the webhook; an empty one has its default.

    The form is tidied. Raises Invalid.
    """
    before = texts_of(known)
    names = {
        path.partition(".")[0]
        for path in {*form, *before}
        if _pattern(path) in FIELDS and _text(form, path) != _text(before, path)
    }
    given = read_fields(
        {path: text for path, text in form.items() if path.partition(".")[0] in {*names, *ORDER, "events", TYPE[:-1]}}
    )
    if set(given.get("events", ["*"])) != set(known.events):
        names.add("events")
    else:
        names.discard("events")
    if names & ORDER:
        names = names - ORDER | {"ordered", "order_policy"}
    return {name: given.get(name, _default(name)) for name in sorted(names)}


def texts_of(webhook: WebhookView) -> dict[str, str]:
    """Write a webhook as the form has it."""
    values = webhook.model_dump(exclude_unset=True)
    values["order"] = webhook.order_policy if webhook.ordered else ""
    values["order_key"] = webhook.ordered.key if isinstance(webhook.ordered, OrderKey) else None
    return dict(_written("", values))


def tidied(form: Mapping[str, str], known: WebhookView | None = None) -> dict[str, str]:
    """Return the form without items that are removed or empty, and with exact texts where they are unchanged.

    Browsers change line ends, and drop them from a field of one line.
    """
    before = texts_of(known) if known else {}
    form = {path: _exact(path, text.replace("\r\n", "\n"), before.get(path)) for path, text in form.items()}
    for list_ in LISTS:
        form = _renumbered(form, list_)
    return form


def item_count(form: Mapping[str, str], list_: str) -> int:
    """Return how many items of a list a tidied form has."""
    return len({_number_in(path, list_) for path in form} - {None})


def errors_by_field(errors: Iterable[BadField]) -> dict[str, list[str]]:
    """Return errors by the field or the part of the form that they are about; those of none have an empty name.

    A part with a bad field is there too, so that the page can open it.
    """
    found: dict[str, list[str]] = {}
    for error in errors:
        field, detail = _placed(error)
        found.setdefault(field, []).append(detail)
        if item := _ITEM.match(field):
            found.setdefault(item[0], [])
    return found


def _placed(error: BadField) -> tuple[str, str]:
    """Return field and text of an error. Templates name their field in the text: `subject: unknown filter`."""
    if match := _NAMED.fullmatch(error.detail):
        path = match[1] if match[1].startswith(f"{error.path}.") else f"{error.path}.{match[1]}"
        if _pattern(field := _field_at(path)) in FIELDS:
            return field, match[2]
    field = _field_at(error.path)
    if not field:
        return "", f"{error.path}: {error.detail}" if error.path else error.detail
    if field == "metadata" and error.path != field:
        return field, f"{error.path.removeprefix('metadata.')[:MAX_NAME_SHOWN]}: {error.detail}"
    entry = re.match(r"\.(\d+)", error.path[len(field) :])
    return field, f"entry {int(entry[1]) + 1}: {error.detail}" if entry else error.detail


def _field_at(path: str) -> str:
    """Return the field or group of a path, which can name a part of it; empty if there is none."""
    path = ALIASES.get(path, path)
    while path and _pattern(path) not in FIELDS and _pattern(path) not in GROUPS:
        path = path.rpartition(".")[0]
    return path


def _pattern(path: str) -> str:
    """Return the path with `*` for the number of an item."""
    return _STEP.sub(".*", path, count=1)


def _put(fields: dict[str, Any], steps: list[str], value: Any) -> None:
    *outer, last = steps
    for step in outer:
        fields = fields.setdefault(step, {})
    fields[last] = value


def _as_api(fields: dict[str, Any], types: list[str]) -> dict[str, Any]:
    """Turn numbered items into lists, and the order of a webhook into its two fields."""
    for holder in (fields, fields.get("on_failure", {})):
        for name in {"emails", "notifications"} & holder.keys():
            holder[name] = [holder[name][number] for number in sorted(holder[name], key=int)]
    order, key = fields.pop("order", ""), fields.pop("order_key", "")
    if key and not order:
        raise Invalid.field("order_key", "requires an order")
    if order:
        fields |= {"ordered": {"key": key} if key else True, "order_policy": order}
    if types or "events" in fields:
        fields["events"] = list(dict.fromkeys([*fields.get("events", []), *types]))
    return fields


def _text(form: Mapping[str, str], path: str) -> str:
    """Return the text of a field; of one that has nothing but blanks, nothing."""
    text = form.get(path, "")
    return text if text.strip() else ""


def _default(name: str) -> Any:
    return WebhookFields.model_fields[name].get_default(call_default_factory=True)


def _written(prefix: str, values: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        if codec := FIELDS.get(_pattern(path)):
            if value is not None:
                yield path, codec.write(value)
        elif isinstance(value, dict):
            yield from _written(f"{path}.", value)
        elif path in LISTS:
            for number, item in enumerate(value):
                yield from _written(f"{path}.{number}.", item)


def _exact(path: str, text: str, before: str | None) -> str:
    if before is None:
        return text
    codec = FIELDS[_pattern(path)]
    shown = before.replace("\r\n", "\n") if codec.has_lines else before.replace("\r", "").replace("\n", "")
    return before if text == shown else text


def _renumbered(form: dict[str, str], list_: str) -> dict[str, str]:
    """Drop the removed and empty items of a list, and number the others."""
    numbers = sorted({number for path in form if (number := _number_in(path, list_)) is not None})
    kept = [number for number in numbers if _is_kept(form, f"{list_}.{number}.")]
    renumbered = {}
    for path, text in form.items():
        number = _number_in(path, list_)
        if number is None:
            renumbered[path] = text
        elif number in kept:
            rest = path.removeprefix(f"{list_}.").partition(".")[2]
            renumbered[f"{list_}.{kept.index(number)}.{rest}"] = text
    return renumbered


def _is_kept(form: Mapping[str, str], item: str) -> bool:
    is_removed = form.get(f"{item}{REMOVE}") == "true"
    return not is_removed and any(text.strip() for path, text in form.items() if path.startswith(item))


def _number_in(path: str, list_: str) -> int | None:
    """Return the number of the item that a field belongs to, if it is one of the list."""
    match = _STEP.match(path, len(list_)) if path.startswith(list_) else None
    return int(match[1]) if match else None
