"""Masks the secrets of notifications, their URLs and header values, and resolves the masks.

A client that changes one field sends the other fields back as it read them, with their masks. A mask is replaced by
the secret that it stood for only if one secret can be meant: a wrong guess would send a secret to the wrong host.
"""

from collections.abc import Callable, Mapping, Sequence

from hookkeeper.content import services
from hookkeeper.content.headers import MASK, masked_values
from hookkeeper.content.notifications import NO_HOST, HttpCall, Notification

Items = Mapping[int, Notification]
"""Some notifications of a list, by their positions in it."""


def masked(notification: Notification) -> Notification:
    """Return the notification with its secrets masked: `slack://********`, `https://host/********`, header values."""
    if notification.http:
        call = notification.http
        changed = call.model_copy(update={"url": _masked_url(call), "headers": masked_values(call.headers)})
        return notification.model_copy(update={"http": changed})
    return notification.model_copy(update={"service": _masked_service(notification)})


def unmasked(given: Sequence[Notification], known: Sequence[Notification]) -> tuple[Notification, ...]:
    """Replace masks by the known secrets.

    Raises ValueError for a mask with no secret behind it, or with one of several.
    """
    pairs: dict[int, int] = {}
    mine, theirs = dict(enumerate(given)), dict(enumerate(known))
    for destination in sorted({*map(_destination, given)} & {*map(_destination, known)}):
        pairs |= _pairs(_of(destination, _destination, mine), _of(destination, _destination, theirs))
    return tuple(
        _restored(index, notification, known[pairs[index]] if index in pairs else None)
        for index, notification in enumerate(given)
    )


def _pairs(mine: Items, theirs: Items) -> dict[int, int]:
    """Pair each given notification with the known one that it stands for; all have the same destination.

    Unchanged notifications are paired by their masked form. If a text has changed, the pairs by order must agree with
    the pairs by masked form: renaming `ops` and `sales` to `sales` and `sales team` must not swap their secrets.
    """
    if _hide_the_same(theirs):
        return dict.fromkeys(mine, next(iter(theirs)))
    pairs: dict[int, int] = {}
    for form in map(_whole, mine.values()):
        pairs |= _pairs_of_a_form(_of(form, _whole, mine), _of(form, _whole, theirs))
    changed = [index for index in mine if index not in pairs and _hiding_field(mine[index])]
    if not changed:
        return pairs
    pairs = _pairs_in_order(mine, theirs)
    if not pairs:
        raise _one_of_several(changed[0], str(_hiding_field(mine[changed[0]])))
    return pairs


def _pairs_of_a_form(mine: Items, theirs: Items) -> dict[int, int]:
    if len(mine) <= len(theirs) and _hide_the_same(theirs):
        return dict.fromkeys(mine, next(iter(theirs)))
    return _pairs_in_order(mine, theirs)


def _pairs_in_order(mine: Items, theirs: Items) -> dict[int, int]:
    """Pair them in order. Return no pairs if the counts differ, or if one of them is the known form of another."""
    if len(mine) != len(theirs):
        return {}
    pairs = dict(zip(mine, theirs, strict=True))
    for form_of in (_whole, _secrets):
        known = {*map(form_of, theirs.values())}
        if any(form_of(mine[i]) in known and form_of(mine[i]) != form_of(theirs[j]) for i, j in pairs.items()):
            return {}
    return pairs


def _of(form: str, form_of: Callable[[Notification], str], items: Items) -> Items:
    return {index: item for index, item in items.items() if form_of(item) == form}


def _hide_the_same(items: Items) -> bool:
    return len({*map(_secrets, items.values())}) == 1


def _hiding_field(notification: Notification) -> str | None:
    """Return the first field whose value is a mask."""
    if not notification.http:
        return "service" if notification.service == _masked_service(notification) else None
    if notification.http.url == _masked_url(notification.http):
        return "http.url"
    hidden = sorted(name for name, value in notification.http.headers.items() if value == MASK)
    return f"http.headers.{hidden[0]}" if hidden else None


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
    """Return whether a secret header may be kept. If a template renders the host, the URL must be the same."""
    return url == known.url or known.host is not None


def _nothing_behind(index: int, field: str) -> ValueError:
    return ValueError(
        f"{index}.{field} has the mask of a secret as its value, but no secret is stored: send the full value"
    )


def _one_of_several(index: int, field: str) -> ValueError:
    return ValueError(
        f"{index}.{field} has the mask of a secret as its value, and several secrets could be meant: send the full"
        " value, or change texts in one request and add, move or remove entries in another"
    )


def _whole(notification: Notification) -> str:
    return masked(notification).model_dump_json()


def _destination(notification: Notification) -> str:
    return _masked_url(notification.http) if notification.http else _masked_service(notification)


def _secrets(notification: Notification) -> str:
    return notification.model_dump_json(include={"service": True, "http": {"url", "headers"}})


def _masked_service(notification: Notification) -> str:
    return services.masked(notification.service or "")


def _masked_url(call: HttpCall) -> str:
    if call.host:
        return f"{call.host}/{MASK}"
    return NO_HOST[call.url.lower().startswith("http://")]
