"""Notifications in a few words, for the command line."""

from typing import Any


def read(text: str) -> dict[str, Any]:
    """The address of a service, such as pagerduty://KEY, another URL that gets the event, or a notification as JSON."""
    from hookkeeper.content.services import is_address

    if text.startswith(("http://", "https://")) and not is_address(text):
        return {"http": {"url": text}}
    return {"service": text}


def write(item: dict[str, Any]) -> str:
    """Describe a notification by its service, or by its host: the rest of the URL is masked."""
    from hookkeeper.content.headers import MASK

    if call := item.get("http"):
        return f"{call['method']} {call['url'].removesuffix(f'/{MASK}')}"
    return str(item["service"]).partition("://")[0]
