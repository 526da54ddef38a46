"""Throw-away receivers: addresses of the API itself that keep the latest requests, to see a first webhook arrive.

They are in the memory of the process. An address is proof of itself, so after a restart it is valid, and empty.
"""

import hmac
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from api.limits import slot_now
from hookkeeper.crypto.signing_keys import sign
from hookkeeper.crypto.tokens import AddressTokens
from hookkeeper.limits import TenantLimit
from hookkeeper.services.rate_limits import RateLimits
from hookkeeper.times import utc_now

MAX_BODY = 64 * 1024
"""Bytes of a request."""
MAX_REQUESTS = 20
MAX_BYTES = 256 * 1024
"""Bytes of the requests that an inbox keeps."""
MAX_INBOXES = 50
"""Inboxes of a process; the one without a request for longest is forgotten."""
MAX_PER_TENANT = 5
KEPT_FOR = timedelta(hours=1)
RATE = "20/second"
"""Requests to all inboxes of a tenant."""
MAX_CONCURRENT = 4
"""Bodies that are read at once for a tenant."""
TOLERANCE = timedelta(minutes=5)
"""By which a timestamp may be off (Standard Webhooks 1.0.0, "Verifying webhook authenticity")."""
MAX_TIMESTAMP_DIGITS = 12
SHOWN_HEADERS = ("content-", "webhook-", "accept", "user-agent", "host", "traceparent")
"""Beginnings of the names of headers whose values are shown; others can be secrets of a webhook."""
Signature = Literal["right", "wrong", "missing", "unknown"]
"""`unknown`: no webhook has the address of the inbox, so there is no key."""


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request to an inbox."""

    at: datetime
    headers: dict[str, str]
    body: bytes

    def signature(self, keys: Sequence[str]) -> Signature:
        """Return whether it was signed with one of these keys, at about the time when it came."""
        given = self.headers.get("webhook-signature", "").split()
        timestamp = self.headers.get("webhook-timestamp", "")
        if not given or not timestamp.isdecimal() or len(timestamp) > MAX_TIMESTAMP_DIGITS:
            return "missing"
        if not keys:
            return "unknown"
        if abs(self.at.timestamp() - int(timestamp)) > TOLERANCE.total_seconds():
            return "wrong"
        message_id = self.headers.get("webhook-id", "")
        made = sign(keys, message_id=message_id, timestamp=int(timestamp), body=self.body).split()
        return "right" if any(hmac.compare_digest(a.encode(), b.encode()) for a in given for b in made) else "wrong"

    def shown_headers(self) -> dict[str, str]:
        """Return the headers, with dots for values that can be secrets."""
        return {name: value if name.startswith(SHOWN_HEADERS) else "•••" for name, value in self.headers.items()}

    @property
    def size(self) -> int:
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers.items())


@dataclass(slots=True)
class _Inbox:
    tenant: str
    requests: deque[ReceivedRequest] = field(default_factory=lambda: deque(maxlen=MAX_REQUESTS))


class Inboxes:
    """The inboxes of a process."""

    def __init__(self, key: bytes) -> None:
        self.tokens = AddressTokens("inbox", key)
        self._inboxes: OrderedDict[str, _Inbox] = OrderedDict()
        """The one with the latest request is the last."""
        self._rates = RateLimits()
        self._reading = TenantLimit(per_tenant=MAX_CONCURRENT)

    async def count(self, tenant: str) -> None:
        """Count a request to one of a tenant's inboxes. Raises RateLimited."""
        await self._rates.count(tenant, RATE, f"The inboxes of a tenant take {RATE.replace('/', ' requests a ')}.")

    def reading(self, tenant: str) -> AbstractContextManager[None]:
        """Read a body while the block lasts. Raises RateLimited."""
        return slot_now(self._reading, tenant, "Too many requests to inboxes are being read.", 1)

    def add(self, token: str, tenant: str, request: ReceivedRequest) -> None:
        """Keep a request, in place of the oldest ones."""
        inbox = self._inboxes.setdefault(token, _Inbox(tenant))
        self._inboxes.move_to_end(token)
        inbox.requests.append(request)
        while sum(kept.size for kept in inbox.requests) > MAX_BYTES:
            inbox.requests.popleft()
        own = [known for known, other in self._inboxes.items() if other.tenant == tenant]
        if len(own) > MAX_PER_TENANT:
            del self._inboxes[own[0]]
        elif len(self._inboxes) > MAX_INBOXES:
            self._inboxes.popitem(last=False)

    def number_of(self, tenant: str) -> int:
        """Return how many inboxes of a tenant keep requests."""
        return sum(inbox.tenant == tenant for inbox in self._inboxes.values())

    def requests(self, token: str) -> list[ReceivedRequest]:
        """Return the requests of the last hour, newest first."""
        inbox = self._inboxes.get(token)
        since = utc_now() - KEPT_FOR
        while inbox and inbox.requests and inbox.requests[0].at < since:
            inbox.requests.popleft()
        return list(reversed(inbox.requests)) if inbox else []
