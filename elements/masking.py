"""What may be read back of notifications: their URLs and header values are secrets.

Somebody who changes one field sends the others back as they were shown, masks and all. So a mask is replaced by the
secret that it stood for, if there can be no doubt which one that is: a wrong guess would tell a stranger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from elements.headers import MASK
from elements.http_calls import NO_HOST, HttpCall
from elements.schemes import scheme_of

if TYPE_CHECKING:
    from elements.notifications import Notification


def masked(notification: Notification) -> Notification:
    """Give what may be read back: `slack://********`, `https://host/********`, and names of headers."""
    if notification.http:
        call = notification.http
        changed = call.model_copy(update={"url": _masked_url(call), "headers": masked_headers(call.headers)})
        return notification.model_copy(update={"http": changed})
    return notification.model_copy(update={"service": _masked_service(notification)})


def masked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value if _is_open(name) else MASK for name, value in headers.items()}


def unmasked(given: Sequence[Notification], known: Sequence[Notification]) -> tuple[Notification, ...]:
    """Put the known secrets where somebody sends back the masks that they were shown.

    Raises ValueError for a mask with no secret behind it, or with one of several.
    """
    pairs = _pairs(given, known)
    return tuple(
        _restored(index, notification, known[pairs[index]] if index in pairs else None)
        for index, notification in enumerate(given)
    )


def _pairs(given: Sequence[Notification], known: Sequence[Notification]) -> dict[int, int]:
    """Find what each is a changed form of, by position in the two: first among those that look the same, then
    among those that go to the same place. Where the numbers differ, only what is the same secret anyway counts.
    """
    pairs: dict[int, int] = {}
    for form in (_whole, _place):
        rest = [index for index in range(len(given)) if index not in pairs]
        left = [index for index in range(len(known)) if index not in pairs.values()]
        for look in {form(given[index]) for index in rest}:
            mine = _of(look, form, given, rest)
            theirs = _of(look, form, known, left)
            if len(mine) == len(theirs):
                pairs.update(zip(mine, theirs, strict=True))
    for index in range(len(given)):
        theirs = _of(_place(given[index]), _place, known, range(len(known)))
        if index not in pairs and len({_secrets(known[other]) for other in theirs}) == 1:
            pairs[index] = theirs[0]
    return pairs


def _of(
    look: str, form: Callable[[Notification], str], items: Sequence[Notification], among: Sequence[int]
) -> list[int]:
    return [index for index in among if form(items[index]) == look]


def _restored(index: int, given: Notification, known: Notification | None) -> Notification:
    if given.http:
        return given.model_copy(update={"http": _restored_call(index, given.http, known.http if known else None)})
    if given.service != _masked_service(given):
        return given
    if known is None:
        raise _nothing_behind(index, "service")
    return given.model_copy(update={"service": known.service})


def _restored_call(index: int, given: HttpCall, known: HttpCall | None) -> HttpCall:
    hidden = {name for name, value in given.headers.items() if value == MASK}
    url_hidden = given.url == _masked_url(given)
    if url_hidden and known is None:
        raise _nothing_behind(index, "http.url")
    url = known.url if url_hidden and known else given.url
    secrets = {name.lower(): value for name, value in known.headers.items()} if known and _same_host(url, known) else {}
    for name in sorted(hidden):
        if name.lower() not in secrets:
            raise _nothing_behind(index, f"http.headers.{name}")
    headers = {name: secrets[name.lower()] if name in hidden else value for name, value in given.headers.items()}
    return given.model_copy(update={"url": url, "headers": headers})


def _same_host(url: str, known: HttpCall) -> bool:
    """Tell whether a secret header may go along: where a template makes the host, only to the very same URL."""
    return url == known.url or known.host is not None


def _nothing_behind(index: int, field: str) -> ValueError:
    return ValueError(
        f"{index}.{field} has the value that hides a secret, and behind it is none, or one of several: give it whole"
    )


def _whole(notification: Notification) -> str:
    return masked(notification).model_dump_json()


def _place(notification: Notification) -> str:
    return _masked_url(notification.http) if notification.http else _masked_service(notification)


def _secrets(notification: Notification) -> str:
    return notification.model_dump_json(include={"service": True, "http": {"url", "headers"}})


def _masked_service(notification: Notification) -> str:
    return f"{scheme_of(notification.service or '')}://{MASK}"


def _masked_url(call: HttpCall) -> str:
    if call.host:
        return f"{call.host}/{MASK}"
    return NO_HOST[call.url.lower().startswith("http://")]


def _is_open(name: str) -> bool:
    """A content-type is no secret, and decides how the body is written."""
    return name.lower() == "content-type"
