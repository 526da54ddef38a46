"""An aiohttp connector that checks each address."""

import asyncio
import socket
import ssl
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any, cast
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.tracing import Trace

from hookkeeper.egress import proxy
from hookkeeper.egress.addresses import EVERYWHERE, Networks, check_connection
from hookkeeper.egress.request_state import RequestState, current_request
from hookkeeper.egress.resolver import Lookups, Resolver
from hookkeeper.egress.response_reader import ResponseReader
from hookkeeper.limits.tenant_limit import TenantLimit

KEEPALIVE_TIMEOUT = 4.0
"""Seconds. Less than the 5 of Node, uvicorn and Apache, so that the client closes first."""


class Connector(aiohttp.TCPConnector):
    """Records whether a connection is reused, and drops one on which the peer has sent unsolicited data.

    With an egress proxy, it connects to the proxy only, at any address.
    """

    def __init__(
        self,
        allowed: Networks,
        tls: ssl.SSLContext,
        egress_proxy: proxy.Proxy | None,
        lookups: Lookups,
        handshakes: TenantLimit | None = None,
    ) -> None:
        self._resolver = Resolver(EVERYWHERE if egress_proxy else allowed, lookups)
        super().__init__(
            limit=0,
            ssl=tls,
            resolver=self._resolver,
            use_dns_cache=False,  # tenants with the same host name would share a slot; c-ares has a cache
            socket_factory=None if egress_proxy else partial(_socket, allowed),
            keepalive_timeout=KEEPALIVE_TIMEOUT,
        )
        self._factory = cast("partial[ResponseHandler]", partial(ResponseReader, loop=self._loop))
        self._allowed = allowed
        self._egress_proxy = egress_proxy
        self._handshakes = handshakes
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        state = current_request.get() or RequestState()
        state.trusted = self._allowed.trust(req.url.host or "")
        while True:
            start, waited = time.perf_counter(), state.waited
            try:
                connection = await self._connect(state, req, traces, timeout)
            finally:
                state.connecting = time.perf_counter() - start - (state.waited - waited)
            reader = connection.protocol
            assert isinstance(reader, ResponseReader)
            state.reused = reader in self._used
            # aiohttp would treat data received on an idle connection as the response to this request.
            if not (state.reused and (state.fresh or reader.should_close)):
                break
            connection.close()
        if state.reused:
            state.connecting = None
        state.connected_at = time.perf_counter()
        self._used.add(reader)
        reader.begin()
        state.reader = reader
        return connection

    async def _connect(
        self, state: RequestState, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        if self._egress_proxy is None:
            return await super().connect(req, traces, timeout)
        state.awaits_proxy = True
        with proxy.errors_translated():
            connection = await super().connect(req, traces, timeout)
        state.awaits_proxy = False
        return connection

    async def _create_direct_connection(self, *args: Any, **kwargs: Any) -> tuple[asyncio.Transport, ResponseHandler]:
        """Note that the egress proxy is connected; its tunnel comes next."""
        connection = await super()._create_direct_connection(*args, **kwargs)
        if state := current_request.get():
            state.awaits_proxy = False
        return connection

    async def _wrap_create_connection(self, *args: Any, **kwargs: Any) -> tuple[asyncio.Transport, ResponseHandler]:
        """Connect, with a handshake slot if the connection uses TLS."""
        async with self._handshake_slot() if kwargs.get("ssl") else nullcontext():
            return await super()._wrap_create_connection(*args, **kwargs)

    async def _start_tls_connection(self, *args: Any, **kwargs: Any) -> tuple[asyncio.BaseTransport, ResponseHandler]:
        """Start TLS in the tunnel of an egress proxy, with a handshake slot."""
        async with self._handshake_slot():
            return await super()._start_tls_connection(*args, **kwargs)

    def _handshake_slot(self) -> AbstractAsyncContextManager[None]:
        if self._handshakes is None:
            return nullcontext()
        return (current_request.get() or RequestState()).slot_in(self._handshakes, "TLS handshakes under way")

    async def end(self) -> None:
        """Close all connections and the resolver."""
        await self.close()
        await self._resolver.close()


def _socket(allowed: Networks, info: AddrInfoType) -> socket.socket:
    """Create the socket for a checked address: aiohttp connects to exactly this address, without a second lookup."""
    family, kind, protocol, _, address = info
    state = current_request.get()
    check_connection(str(address[0]), int(address[1]), allowed, trusted=state is not None and state.trusted)
    return socket.socket(family, kind, protocol)
