"""Shared parts of both clients: descriptions of operations, calls, and the rules for repeating a call.

Errors:

    HookkeeperError
    ├── ApiError     the API refused the request
    └── Unreachable  there was no answer, or the answer is not from Hookkeeper
"""

import os
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, ValidatorFunctionWrapHandler, field_validator
from pydantic_core import to_json

if TYPE_CHECKING:
    from hookkeeper_client.client import AsyncClient, AsyncItems, Client, Items

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8080"
WAITS = (0.5, 2.0, 5.0)
"""Seconds before each repetition, unless the answer's `Retry-After` is longer."""
MAX_WAIT = 60.0
REPEATED_STATUSES = frozenset({429, 502, 503, 504})
IDEMPOTENT_METHODS = frozenset({"GET", "PATCH", "PUT"})
"""DELETE is not one of them: after a lost answer, a repetition would be answered with 404."""
HEADERS = frozenset({"if_match", "last_event_id"})
"""Arguments that are sent as headers."""
KINDS_WITH_DATA = frozenset({"event", "request"})
STREAM_TIMEOUT = 45.0
"""Seconds; an idle stream sends a comment every 15."""


class HookkeeperError(Exception):
    """A call failed. `event_id` names an event that may have been accepted: post it again with this `id`."""

    def __init__(self, text: str, event_id: str | None = None) -> None:
        super().__init__(text)
        self.event_id = event_id


class ApiError(HookkeeperError):
    """The API refused the request. `errors` has a pair of path and text for each invalid field. `schedule_id` names a
    schedule that may have been created in spite of the error.
    """

    def __init__(self, response: httpx.Response, event_id: str | None = None) -> None:
        try:
            problem = response.json()
            self.type, self.title, self.detail = problem["type"], problem["title"], problem["detail"]
            self.errors = [(str(error["path"]), str(error["detail"])) for error in problem.get("errors", ())]
            self.schedule_id: str | None = problem.get("schedule_id")
        except (ValueError, TypeError, KeyError):  # the answer of a proxy
            self.type, self.title, self.detail = "about:blank", response.reason_phrase, ""
            self.errors, self.schedule_id = [], None
        self.status = response.status_code
        lines = [f"{self.status} {self.title}: {self.detail}", *(f"{path}: {text}" for path, text in self.errors)]
        super().__init__("\n  ".join(lines), response.headers.get("hookkeeper-event-id") or event_id)


class Unreachable(HookkeeperError):
    """There was no answer, or the answer is not from Hookkeeper."""


class Model(BaseModel):
    """Part of an answer. It keeps unknown fields and values, which a newer API may add."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    @field_validator("*", mode="wrap")
    @classmethod
    def _keep_new_values(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            if all(each["type"] == "literal_error" for each in error.errors(include_url=False)):
                return value
            raise


class Page(Model, Generic[T]):
    """One page of a list. `total` is None unless the call has `total=True`."""

    items: list[T]
    next_cursor: str | None = None
    total: int | None = None


@dataclass(frozen=True)
class Message(Generic[T]):
    """A message of a stream. `kind` is `ready` (the stream is up to date), `event` or `request` (in `data`), `reset`
    (some changes were not sent: read the list) or `unavailable` (the stream continues later).
    """

    kind: str
    data: T | None
    id: str
    """A new stream with this `last_event_id` continues after this message."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and the type of its answer."""

    method: str
    path: str
    answer: TypeAdapter[T]
    query: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    has_id: bool = False
    """Whether the body has the event's id, so that the call can be repeated."""

    @property
    def event_id(self) -> str | None:
        return (self.body or {}).get("id") if self.has_id else None

    def options(self) -> dict[str, Any]:
        """Return what httpx needs besides method and path."""
        query = {name: _text(value) for name, value in self.query.items() if value is not None}
        if self.body is None:
            return {"params": query, "headers": self.headers}
        headers = self.headers | {"content-type": "application/json"}
        return {"params": query, "headers": headers, "content": to_json(self.body)}

    def named(self, outcome: "Outcome") -> Self:
        """Return the call with the event's id from the answer, if the answer has one."""
        if not isinstance(outcome, httpx.Response) or self.has_id or self.body is None:
            return self
        event_id = outcome.headers.get("hookkeeper-event-id")
        return replace(self, body={**self.body, "id": event_id}, has_id=True) if event_id else self

    def wait(self, outcome: "Outcome", waits: list[float]) -> float | None:
        """Return the seconds before the next repetition, taken from `waits`, or None if there is none."""
        if isinstance(outcome, httpx.Response):
            was_refused, asked = outcome.status_code == 429, outcome.headers.get("retry-after", "")
            may_help = outcome.status_code in REPEATED_STATUSES
        else:
            was_refused, asked = isinstance(outcome, (httpx.ConnectError, httpx.ConnectTimeout)), ""
            may_help = True
        if not waits or not may_help or not (was_refused or self.has_id or self.method in IDEMPOTENT_METHODS):
            return None
        return max(waits.pop(0), min(float(asked) if asked.isdecimal() else 0.0, MAX_WAIT))

    def result(self, outcome: "Outcome") -> T:
        """Return the result. Raises `HookkeeperError`."""
        if not isinstance(outcome, httpx.Response):
            raise Unreachable(f"{self.method} {self.path}: {outcome!r}", self.event_id) from outcome
        if not outcome.is_success:
            raise ApiError(outcome, self.event_id)
        return self.read(outcome.content or b"null", str(outcome.url))

    def read(self, content: bytes | str, url: str) -> T:
        """Read the JSON of an answer. Raises `Unreachable`."""
        try:
            return self.answer.validate_json(content)
        except ValidationError as error:
            raise Unreachable(f"the answer of {url} is not from Hookkeeper", self.event_id) from error


Outcome = httpx.Response | httpx.TransportError


class Operation(Generic[P, T]):
    """A method of both clients: a descriptor that makes a call from its arguments.

    Positional arguments belong to the path, declared keyword arguments to query and headers, all others to the body.
    """

    def __init__(self, verb: str, path: str, own_id: bool, function: Callable[..., Any]) -> None:
        self.verb, self.path, self.own_id, self.function = verb, path, own_id, function
        self.in_path = function.__code__.co_varnames[1 : function.__code__.co_argcount]
        self.declared = frozenset(function.__kwdefaults__ or ())
        self.has_body = "body" in function.__annotations__

    @cached_property
    def answer(self) -> TypeAdapter[T]:
        return TypeAdapter(self.function.__annotations__["return"])

    def made_by(self, make: Callable[[Call[T]], Any]) -> Callable[P, Any]:
        """Return the method of a client, which makes the call."""
        return wraps(self.function)(lambda *args, **given: make(self.call(*args, **given)))

    def call(self, *args: Any, **given: Any) -> Call[T]:
        if len(args) != len(self.in_path):
            raise TypeError(f"{self.function.__name__} takes {', '.join(self.in_path) or 'no positional arguments'}")
        if wrong := [value for value in args if value in ("", ".", "..")]:
            raise ValueError(f"{wrong[0]!r} is no id")
        path = self.path.format(**{name: quote(value, safe="") for name, value in zip(self.in_path, args, strict=True)})
        query = {name: given.pop(name) for name in tuple(given) if name in self.declared}
        headers = {name.replace("_", "-"): query.pop(name) for name in HEADERS & query.keys()}
        if given and not self.has_body:
            raise TypeError(f"{self.function.__name__} has no argument {min(given)}")
        body = given if self.has_body else None
        if self.own_id and body is not None:
            body = {"events": [_with_id(event) for event in body["events"]]} if "events" in body else _with_id(body)
        headers = {name: value for name, value in headers.items() if value is not None}
        return Call(self.verb, path, self.answer, query, headers, body, has_id=self.own_id)


class Route(Operation[P, T]):
    """An operation with one answer."""

    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else self.made_by(client.execute)


class Pages(Operation[P, T]):
    """An operation that answers with a page."""

    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, "Items[T]"]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, "AsyncItems[T]"]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else self.made_by(client.items)


class Stream(Operation[P, T]):
    """An operation that answers with a stream of messages."""

    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, Iterator[Message[T]]]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, AsyncIterator[Message[T]]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else self.made_by(client.follow)


def route(verb: str, path: str, own_id: bool = False) -> Callable[[Callable[Concatenate[Any, P], T]], Route[P, T]]:
    return lambda function: Route(verb, path, own_id, function)


def pages(verb: str, path: str) -> Callable[[Callable[Concatenate[Any, P], Page[T]]], Pages[P, T]]:
    return lambda function: Pages(verb, path, False, function)


def stream(verb: str, path: str) -> Callable[[Callable[Concatenate[Any, P], T]], Stream[P, T]]:
    return lambda function: Stream(verb, path, False, function)


class Lines(Generic[T]):
    """Reads the lines of a stream of server-sent events, across its connections."""

    def __init__(self, call: Call[T], waits: Sequence[float]) -> None:
        self._call, self._waits = call, waits
        self._left, self._has_begun = list(waits), False
        self._fields: dict[str, str] = {}
        self._last_id = call.headers.get("last-event-id", "")

    def options(self, timeout: httpx.Timeout) -> dict[str, Any]:
        """Return what httpx needs to connect and continue after the last message."""
        self._fields = {}
        headers = {"last-event-id": self._last_id} if self._last_id else {}
        options = replace(self._call, headers=headers).options()
        return options | {"timeout": httpx.Timeout(**{**timeout.as_dict(), "read": STREAM_TIMEOUT})}

    def wait(self, outcome: Outcome) -> float:
        """Return the seconds before the next connection. Raises `HookkeeperError` if another one would not help."""
        if isinstance(outcome, httpx.Response) and outcome.is_success:  # streams end regularly
            return next(iter(self._waits), WAITS[-1])
        if self._has_begun and not self._left:
            self._left = list(self._waits[-1:])
        if (wait := self._call.wait(outcome, self._left)) is None:
            self._call.result(outcome)
        return wait or 0.0

    def message(self, line: str) -> Message[T] | None:
        """Read a line. Return the message that it completes, if any."""
        if line:
            name, _, value = line.partition(": ")
            self._fields[name] = value
            return None
        fields, self._fields = self._fields, {}
        self._last_id = fields.get("id", self._last_id)
        if "data" not in fields:
            return None
        self._left, self._has_begun = list(self._waits), True
        kind = fields.get("event", "message")
        data = self._call.read(fields["data"], self._call.path) if kind in KINDS_WITH_DATA else None
        return Message(kind, data, self._last_id)


def settings(url: str | None, key: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of httpx's clients. Variables are the defaults of URL and key. Raises ValueError."""
    url = (url or os.environ.get("HOOKKEEPER_URL") or DEFAULT_URL).rstrip("/").removesuffix("/v1")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no URL of an API: it must start with http:// or https://")
    key = key or os.environ.get("HOOKKEEPER_API_KEY")
    if not key:
        raise ValueError("give a key, or set HOOKKEEPER_API_KEY")
    if not (key.isascii() and key.isprintable() and " " not in key):  # httpx would repeat it in its error
        raise ValueError("the key contains invalid characters, such as a space or a line break at its end")
    headers = httpx.Headers(options.get("headers"))
    headers["authorization"] = f"Bearer {key}"
    return {"timeout": 30, **options, "base_url": url, "headers": headers}


def _with_id(event: dict[str, Any]) -> dict[str, Any]:
    return event if event.get("id") else {**event, "id": f"evt_{secrets.token_hex(12)}"}


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
