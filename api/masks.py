"""Secrets are masked when a webhook is read back; who sends the mask back means the secret that is there already."""

from typing import Any

from api.errors import Invalid
from elements import headers, notifications
from elements.on_failure import OnFailure
from registry.models import Webhook


def unmasked(given: dict[str, Any], known: Webhook | None = None) -> dict[str, Any]:
    """Give those of the fields that can hold masks, with the known secrets in their places.

    Raises `Invalid` for a mask with nothing known behind it.
    """
    restored: dict[str, Any] = {}
    if "headers" in given:
        restored["headers"] = _try("headers", headers.unmasked, given["headers"], known.headers if known else {})
    if "notifications" in given:
        ours = known.notifications if known else ()
        restored["notifications"] = _try("notifications", notifications.unmasked, given["notifications"], ours)
    if given.get("on_failure"):
        told: OnFailure = given["on_failure"]
        ours = known.on_failure.notifications if known and known.on_failure else ()
        notes = _try("on_failure.notifications", notifications.unmasked, told.notifications, ours)
        restored["on_failure"] = told.model_copy(update={"notifications": notes})
    return restored


def _try(path: str, restore: Any, given: Any, known: Any) -> Any:
    try:
        return restore(given, known)
    except ValueError as error:
        raise Invalid.field(path, str(error)) from None
