"""Restore secrets behind masks. A webhook is read with masks, and a mask that is sent back means the known secret."""

from typing import Any
from urllib.parse import urlsplit

from hookkeeper.content import headers, masking, tls
from hookkeeper.content.notifications import OnFailure
from hookkeeper.registry.models import Webhook
from hookkeeper.services.errors import Invalid


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
    if "notifications" in given:
        ours = known.notifications if known else ()
        restored["notifications"] = _try("notifications", masking.unmasked, given["notifications"], ours)
    if given.get("on_failure"):
        alerts: OnFailure = given["on_failure"]
        ours = known.on_failure.notifications if known and known.on_failure else ()
        notes = _try("on_failure.notifications", masking.unmasked, alerts.notifications, ours)
        restored["on_failure"] = alerts.model_copy(update={"notifications": notes})
    return restored


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
