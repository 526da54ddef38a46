"""Forward requests to a command line on a machine without a public address, which answers them.

The command line opens a stream for an address of the API. An address proves itself (`AddressTokens`), so it outlasts
the process; it ends with the key that made it, and with its tenant. Everything else is in the memory of the process
that has the stream: others answer with 503, and Temporal retries the delivery.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

from fastapi.sse import ServerSentEvent
from pydantic import Field

from api.authenticator import Authenticator
from api.limits import slot_now
from api.problems import ServiceUnavailable, Unauthorized
from hookkeeper.crypto.tokens import AddressTokens
from hookkeeper.limits import TenantLimit
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.tenants.tenants import Tenants
from hookkeeper.services.caller import Caller
from hookkeeper.services.errors import NotFound
from hookkeeper.services.fields import RequestModel, ResponseModel, with_examples
from hookkeeper.services.rate_limits import RateLimits
from hookkeeper.tenant_limits import GETS_429, Rate, Slots

WAITING = Slots("Deliveries that wait for the answer of a", "API process", GETS_429, 64, 16)
"""Each holds its body and a connection."""
REQUESTS = Rate("Requests to the addresses of command lines", "API process", GETS_429, "200/second")
COUNTED_BYTES = 64 * 1024
"""Bytes of a body that count as one more request, because a body becomes JSON on the event loop. This allows six of the
largest bodies a second.
"""
MAX_WAIT = 30.0
"""Seconds, the longest timeout of a webhook."""
MAX_ANSWER = 4096
"""Characters of an answer's body, as many as an attempt keeps."""
CHECK_INTERVAL = 5.0
"""Seconds between two checks of the key of a stream."""
RECONNECT_AFTER = 1000
"""Milliseconds."""
NOT_FORWARDED = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "via", "forwarded"}
)
"""Headers of the connection to this API, as are those that begin with `x-forwarded-`."""
Stream = asyncio.Queue[str | None]
"""The ids of requests for a command line. None ends it."""


class ForwardRequest(ResponseModel):
    """A request to an address. Answer it with its `id`."""

    model_config = with_examples(
        {"id": "0123456789abcdef0123456789abcdef", "headers": {"webhook-id": "evt_1"}, "body": '{"id": "evt_1"}'}
    )

    id: str
    headers: dict[str, str]
    """The headers, without those of the connection to this API."""
    body: str


class ForwardAnswer(RequestModel):
    """The answer of the receiver behind the command line. It becomes the outcome of the attempt."""

    model_config = with_examples({"id": "0123456789abcdef0123456789abcdef", "status": 200, "body": "ok"})

    id: str = Field(pattern="^[0-9a-f]{32}$")
    """The id of the request."""
    status: int = Field(ge=200, le=599, strict=True)
    """The status; 502 if the command line could not reach the receiver."""
    body: str = Field("", max_length=MAX_ANSWER)
    """The start of the body."""
    retry_after: str | None = Field(None, max_length=100, pattern="^[ -~]*$")
    """The header `Retry-After`."""


@dataclass(frozen=True, slots=True)
class _Request:
    """A request that waits. Its body is kept only while it waits, also if the command line does not read it."""

    message: ServerSentEvent
    answer: asyncio.Future[ForwardAnswer]


class Forwards:
    """The streams of this process, and the requests that wait for answers."""

    def __init__(self, key: bytes, authenticator: Authenticator, tenants: Tenants, streams: TenantLimit) -> None:
        """`streams` limits open streams, together with those of events."""
        self._tokens = AddressTokens("forward", key)
        self._authenticator = authenticator
        self._tenants = tenants
        self._limit = streams
        self._waiting = WAITING.limit()
        self._rates = RateLimits()
        self._streams: dict[str, Stream] = {}
        """By token."""
        self._requests: dict[tuple[str, str], _Request] = {}
        """By token and id."""
        self._is_closed = False

    async def new(self, tenant: str, caller: Caller) -> str:
        """Make the token of a new address."""
        await self._tenants.note(tenant)
        return self._tokens.new(f"{tenant} {caller.key_id} {await self._age_of(tenant)}")

    async def tenant_of(self, token: str) -> str:
        """Return whose address it is. Raises NotFound, also if its tenant was deleted or its key has ended."""
        owner = self._tokens.owner_of(token) or ""
        with suppress(ValueError, Unauthorized):
            tenant, key_id, age = owner.split(" ")
            await self._authenticator.check_maker(key_id)
            if age == await self._age_of(tenant):
                return tenant
        raise NotFound("There is no such address.")

    async def _age_of(self, tenant: str) -> str:
        """Return what tells a tenant from a deleted one with its id; an empty text if there is none."""
        known = await self._tenants.get(tenant)
        return f"{known.created_at.timestamp():f}" if known else ""

    async def check(self, token: str, caller: Caller) -> None:
        """Raise NotFound unless the token is valid, and the caller may serve its tenant."""
        if caller.tenant not in (None, await self.tenant_of(token)):
            raise NotFound("There is no such address.")

    @contextmanager
    def stream(self, token: str, caller: Caller) -> Iterator[Stream]:
        """Take the requests to an address until the block ends. Raises RateLimited and ServiceUnavailable.

        A newer stream takes the place of an older one, whose connection may be lost without notice.
        """
        if self._is_closed:
            raise ServiceUnavailable("This process is stopping: connect again.", headers={"retry-after": "1"})
        with slot_now(self._limit, caller.tenant or "", "Too many streams are open.", 10, "streams"):
            self._end(token)
            stream = self._streams[token] = Stream()
            try:
                yield stream
            finally:
                if self._streams.get(token) is stream:
                    del self._streams[token]

    async def messages(self, token: str, stream: Stream, caller: Caller) -> AsyncIterator[ServerSentEvent]:
        """Yield the requests of a stream until another one replaces it, or its key has ended."""
        yield ServerSentEvent(event="ready", data={}, retry=RECONNECT_AFTER)
        loop = asyncio.get_running_loop()
        check_at = loop.time() + CHECK_INTERVAL
        while True:
            try:
                async with asyncio.timeout_at(check_at):
                    id_ = await stream.get()
            except TimeoutError:
                with suppress(RegistryUnavailable):  # it is checked when the registry is back
                    if await self._authenticator.has_ended(caller):
                        return
                check_at = loop.time() + CHECK_INTERVAL
                continue
            if id_ is None:
                return
            if waiting := self._requests.get((token, id_)):
                yield waiting.message

    def place(self, tenant: str) -> AbstractContextManager[None]:
        """Count a request of a tenant as waiting while the block lasts. Raises RateLimited."""
        return slot_now(self._waiting, tenant, "Too many requests wait for answers.", 1, "forwards")

    async def count(self, tenant: str, size: int) -> None:
        """Count a request with a body of this size. Raises RateLimited."""
        await self._rates.count(
            tenant, REQUESTS.rate, "Too many requests are forwarded for this tenant.", cost=1 + size // COUNTED_BYTES
        )

    async def deliver(self, token: str, headers: Mapping[str, str], body: bytes) -> ForwardAnswer:
        """Hand a request to the stream of its address, and wait for the answer. Raises ServiceUnavailable."""
        stream = self._streams.get(token)
        if stream is None:
            raise ServiceUnavailable("No command line is connected to this address.", headers={"retry-after": "1"})
        id_ = secrets.token_hex(16)
        answer: asyncio.Future[ForwardAnswer] = asyncio.get_running_loop().create_future()
        sent = ForwardRequest(id=id_, headers=_forwarded(headers), body=body.decode(errors="replace"))
        in_ascii = json.dumps(sent.model_dump())  # libraries end a line at some other characters
        self._requests[token, id_] = _Request(ServerSentEvent(event="request", raw_data=in_ascii), answer)
        stream.put_nowait(id_)
        try:
            async with asyncio.timeout(MAX_WAIT):
                return await answer
        except TimeoutError:
            raise ServiceUnavailable("The command line has not answered in time.") from None
        finally:
            del self._requests[token, id_]

    def answer(self, token: str, given: ForwardAnswer) -> None:
        """Answer a request. Raises NotFound if it no longer waits."""
        waiting = self._requests.get((token, given.id))
        if waiting is None or waiting.answer.done():
            raise NotFound("The request no longer waits for an answer.")
        waiting.answer.set_result(given)

    def close(self) -> None:
        """End all streams and waiting requests, and accept no more: a server that stops would wait for them."""
        self._is_closed = True
        for token in [*self._streams]:
            self._end(token)
        for waiting in self._requests.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(
                    ServiceUnavailable("This process is stopping.", headers={"retry-after": "1"})
                )

    def _end(self, token: str) -> None:
        """End the stream of an address, if it has one."""
        if stream := self._streams.pop(token, None):
            stream.put_nowait(None)


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name not in NOT_FORWARDED and not name.startswith("x-forwarded-")
    }
