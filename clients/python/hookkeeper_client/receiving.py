"""Receive webhooks: verify the signature, drop duplicates, answer at once, and call functions by event type.

A `Receiver` knows no framework. The modules `fastapi`, `flask` and `django` connect it to a route.
"""

import hmac
import logging
import re
import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from fnmatch import fnmatchcase
from inspect import iscoroutinefunction
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

D = TypeVar("D")
Handler = Callable[[Any], Any]
log = logging.getLogger("hookkeeper_client")

MIN_BYTES = 24
"""Of a key `whsec_…` (Standard Webhooks 1.0.0, "Signature scheme"): a short one would let others sign."""
TOLERANCE = 300
"""Seconds that the timestamp of a request may differ from this clock."""
MAX_SIGNATURES, MAX_HEADER = 10, 2048
"""Of a request, and characters of a header. There are two signatures while a key is being replaced."""
REMEMBERED = 30 * 86400
"""Seconds for which an id is remembered. Hookkeeper can deliver an event again for this long by default."""

MAX_BODY = 1024 * 1024
"""Bytes; the signature can be verified only after the whole body was read."""
MAX_THREADS = 4
MAX_OPEN = 1000
"""Accepted events that wait for a handler. Further ones are answered with 503."""


class WrongSignature(Exception):
    """The request is not signed with the key, was changed, or is too old."""


class Refused(Exception):
    """The request is answered with `status` and this text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Event(BaseModel, Generic[D]):
    """The event in a request. Structured CloudEvents have the same fields, except that `timestamp` is `time`."""

    model_config = ConfigDict(extra="allow")

    id: str
    type: str
    timestamp: datetime = Field(validation_alias=AliasChoices("timestamp", "time"))
    data: D


class Store(Protocol):
    """Remembers ids. Of several calls with the same id, exactly one returns True."""

    def add(self, id: str, seconds: int) -> bool:
        """Remember an id for this long. Return whether it is new."""

    def remove(self, id: str) -> None:
        """Forget an id, because its event could not be put."""


class MemoryStore:
    """Remembers ids in this process, `maximum` at most."""

    def __init__(self, maximum: int = 100_000) -> None:
        self._ends: OrderedDict[str, float] = OrderedDict()
        self._maximum, self._lock = maximum, Lock()

    def add(self, id: str, seconds: int) -> bool:
        now = time.monotonic()
        with self._lock:
            if self._ends.get(id, 0.0) > now:
                return False
            self._ends[id] = now + seconds
            self._ends.move_to_end(id)
            if len(self._ends) > self._maximum:
                self._ends.popitem(last=False)
            return True

    def remove(self, id: str) -> None:
        with self._lock:
            self._ends.pop(id, None)


def verify(secrets: str | Sequence[str], body: bytes, headers: Mapping[str, str]) -> None:
    """Check that a request was signed with one of the keys. Raises `WrongSignature`, and ValueError for a bad key.

    A key `whsec_…` verifies `v1` signatures. A key `whpk_…` verifies `v1a`, and needs the extra `ed25519`. Give both
    keys while one is being replaced (Standard Webhooks 1.0.0, "Signature scheme").
    """
    given = {name.lower(): value for name, value in headers.items()}
    id_, at, text = (given.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not re.fullmatch(r"[0-9]{1,12}", at) or abs(time.time() - int(at)) > TOLERANCE:
        raise WrongSignature("webhook-timestamp is missing, or too far from this clock")
    if max(len(id_), len(text)) > MAX_HEADER or len(signatures := text.split()) > MAX_SIGNATURES:
        raise WrongSignature("webhook-id or webhook-signature is too long")
    signed = f"{id_}.{at}.".encode(errors="surrogatepass") + body
    keys = [_key(secret) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    if not any(_has_signed(key, signed, signatures) for key in keys):
        raise WrongSignature("no signature was made with this key")


def _key(secret: str) -> "bytes | Ed25519PublicKey":
    """Decode a key. Raises ValueError."""
    kind, _, encoded = secret.partition("_")
    with suppress(ValueError):
        key = b64decode(encoded, validate=True)
        if kind == "whpk":
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

            return Ed25519PublicKey.from_public_bytes(key)
        if kind == "whsec" and len(key) >= MIN_BYTES:
            return key
    raise ValueError("give the signing key of the webhook: whsec_…, or whpk_…")


def _has_signed(key: "bytes | Ed25519PublicKey", signed: bytes, signatures: Sequence[str]) -> bool:
    """Return whether one of the signatures is of this key. Anybody can send many: an HMAC is computed once."""
    if isinstance(key, bytes):
        expected = hmac.digest(key, signed, "sha256")
        return any(hmac.compare_digest(signature, expected) for signature in _of_scheme("v1", signatures))

    from cryptography.exceptions import InvalidSignature

    for signature in _of_scheme("v1a", signatures):
        with suppress(InvalidSignature):
            key.verify(signature, signed)
            return True
    return False


def _of_scheme(scheme: str, signatures: Sequence[str]) -> Iterator[bytes]:
    for each in signatures:
        kind, _, text = each.partition(",")
        if kind == scheme:
            with suppress(ValueError):
                yield b64decode(text, validate=True)


class Receiver:
    """Receives webhooks.

    By default, threads of this process call the handlers after the answer, and events that are not handled when the
    process ends are lost. To lose none, give `put`, a function that adds an event to a durable queue before the answer.
    If it fails, the request fails too, and Hookkeeper retries it. The worker of the queue calls `handle`.
    """

    def __init__(
        self,
        *secrets: str,
        store: Store | None = None,
        put: Callable[[Event[Any]], Any] | None = None,
        remembered: int = REMEMBERED,
    ) -> None:
        for secret in secrets or ("",):
            _key(secret)
        self._secrets, self._remembered = secrets, remembered
        self._store = store or MemoryStore()
        self._handlers: list[tuple[str, TypeAdapter[Any], Callable[[Any], Any]]] = []
        self._put = put or self._start
        self._threads = ThreadPoolExecutor(MAX_THREADS, "hookkeeper-receiver")
        self._free = BoundedSemaphore(MAX_OPEN)

    def on(self, pattern: str, data: Any = Any) -> Callable[[Handler], Handler]:
        """Register a handler for event types that match a pattern, such as `order.*`, with the type of their data."""

        def register(handler: Handler) -> Handler:
            if iscoroutinefunction(handler):
                raise TypeError(f"{handler.__name__} is async, but threads call handlers")
            self._handlers.append((pattern, TypeAdapter(Event[data]), handler))
            return handler

        return register

    def receive(self, body: bytes, headers: Mapping[str, str], data: Any = Any) -> Event[Any] | None:
        """Receive a request. Return its event with this type of data, or None for a duplicate. Raises `Refused`."""
        try:
            verify(self._secrets, body, headers)
        except WrongSignature as error:
            raise Refused(400, "wrong signature") from error
        try:
            event: Event[Any] = Event[data].model_validate_json(body)
            self._typed(event)
        except ValidationError as error:
            raise Refused(422, "the event does not have the expected form") from error
        if not self._store.add(event.id, self._remembered):
            return None
        try:
            self._put(event)
        except BaseException:
            self.forget(event)
            raise
        return event

    def forget(self, event: Event[Any]) -> None:
        """Forget an event that could not be put, so that it can come again."""
        self._store.remove(event.id)

    def handle(self, event: Event[Any]) -> None:
        """Call the handlers of an event."""
        for handler, typed in self._typed(event):
            handler(typed)

    def close(self) -> None:
        """Wait until all accepted events have been handled."""
        self._threads.shutdown()

    def _typed(self, event: Event[Any]) -> list[tuple[Handler, Event[Any]]]:
        fields = event.model_dump()
        return [
            (handler, adapter.validate_python(fields))
            for pattern, adapter, handler in self._handlers
            if fnmatchcase(event.type, pattern)
        ]

    def _start(self, event: Event[Any]) -> None:
        if not self._handlers:
            return
        if not self._free.acquire(blocking=False):
            raise Refused(503, "too many events wait")
        self._threads.submit(self._handle_and_log, event)

    def _handle_and_log(self, event: Event[Any]) -> None:
        try:
            self.handle(event)
        except Exception:
            log.exception("a handler failed for event %s, which was accepted", event.id)
        finally:
            self._free.release()
