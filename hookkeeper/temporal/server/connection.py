"""How this process reaches Temporal: address and credentials are Temporal's own settings, the converter is ours."""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import structlog
from temporalio.client import Client
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import Runtime
from temporalio.service import ConnectConfig, RPCError, RPCStatusCode, TLSConfig, _BridgeServiceClient

from hookkeeper.crypto.keyring import Keyring
from hookkeeper.egress.certificates import Certificates
from hookkeeper.temporal.server.data_converter import data_converter

log = structlog.get_logger("hookkeeper.temporal")
CLOSES = (
    "it closes the connection: it may expect TLS (TEMPORAL_TLS=true), or a client certificate that it knows"
    " (TEMPORAL_TLS_CLIENT_CERT_PATH)"
)
CAUSES = {
    "InvalidContentType": "it does not speak TLS, which TEMPORAL_TLS… and TEMPORAL_API_KEY turn on",
    "InvalidCertificate": "its certificate is not accepted",
    "stream closed because of a broken pipe": CLOSES,
    "without sending TLS close_notify": CLOSES,
    'Canceled, "connection closed"': CLOSES,
    "http2 error": "it is no Temporal server",
}
"""What parts of the SDK's messages mean."""
CONNECTION_ENDED = ("operation was canceled", "h2 protocol error: http2 error")
"""What the SDK calls it: docs/internals/temporal.md."""
MAX_PAUSE = 5.0
BUSY = frozenset(
    {
        RPCStatusCode.CANCELLED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.UNKNOWN,  # "transport error": the connection broke
    }
)
"""Statuses of a call that succeeds later."""
Result = TypeVar("Result")


class TemporalUnreachable(Exception):
    """Temporal did not answer within the time given."""


class _LateService(_BridgeServiceClient):
    """Until it is connected, each call ends at once, as one to an unavailable server. The SDK's lazy client would raise
    a RuntimeError, let one call wait for another, and serve no worker.
    """

    async def _connected_client(self) -> Any:
        if self._bridge_client is None:
            raise RPCError("this process has not connected to Temporal yet", RPCStatusCode.UNAVAILABLE, b"")
        return self._bridge_client

    async def connect_once(self) -> None:
        """Connect. Raises RuntimeError, and ValueError for an address that is none."""
        await super()._connected_client()

    async def _rpc_call(self, *args: Any, **options: Any) -> Any:
        """Make a call again that met the end of its connection: a server ends each after five minutes by default."""
        try:
            return await super()._rpc_call(*args, **options)
        except RPCError as error:
            if error.message not in CONNECTION_ENDED:
                raise
        return await super()._rpc_call(*args, **(options | {"retry": True}))


class LateClient(Client):
    """A client that can be used before it is connected, as `TEMPORAL_…` and its profiles say. With keys, payloads are
    encrypted.
    """

    def __init__(
        self, keyring: Keyring | None = None, runtime: Runtime | None = None, address: str | None = None
    ) -> None:
        """`runtime`: that of the SDK, if not its default. `address`: that of a server without TLS and keys, in place of
        these variables.
        """
        config = (
            ClientConfig.load_client_connect_config() if address is None else ClientConnectConfig(target_host=address)
        )
        given: dict[str, Any] = {"target_host": "127.0.0.1:7233", "namespace": "default", **config}
        namespace = given.pop("namespace")
        self._service = _LateService(ConnectConfig(**given, runtime=runtime))
        super().__init__(self._service, namespace=namespace, data_converter=data_converter(keyring))

    async def until_connected(self, timeout: float | None) -> None:
        """Try for `timeout` seconds; None is without end.

        Raises `TemporalUnreachable`, and ValueError for an address that is none.
        """
        loop, address = asyncio.get_running_loop(), self._service.config.target_host
        deadline = loop.time() + (math.inf if timeout is None else timeout)
        pause = 0.1
        while True:
            try:
                return await self._service.connect_once()
            except RuntimeError as error:
                reason = reason_of(str(error))
                if loop.time() + pause > deadline:
                    raise TemporalUnreachable(f"Temporal at {address} cannot be reached: {reason}") from error
                log.warning("waiting for Temporal", address=address, reason=reason, retry_in=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE)


def certificates_in(tls: TLSConfig | bool | None) -> Iterator[Certificates]:
    """Yield those that a client has read from `TEMPORAL_TLS_…`."""
    if isinstance(tls, TLSConfig):
        if tls.client_cert:
            yield Certificates("TEMPORAL_TLS_CLIENT_CERT", tls.client_cert)
        if tls.server_root_ca_cert:
            yield Certificates("TEMPORAL_TLS_SERVER_CA_CERT", tls.server_root_ca_cert, authorities=True)


async def while_away(call: Callable[[], Awaitable[Result]]) -> Result:
    """Make a call again for as long as Temporal is busy or away. Raises other `RPCError`s."""
    pause = 0.1
    while True:
        try:
            return await call()
        except RPCError as error:
            if error.status not in BUSY:
                raise
            log.warning("waiting for Temporal", reason=error.message, retry_in=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, MAX_PAUSE)


def reason_of(text: str) -> str:
    """Return the cause in a message of the SDK, which nests those of several libraries."""
    innermost: list[str] = re.findall(r'(?:message|error): "([^"]+)"', text)
    found = next((cause for part, cause in CAUSES.items() if part in text), None)
    if found is None:
        return innermost[-1] if innermost else text
    detail = re.search(r"InvalidCertificate\((.+?)\) }", text)
    return f"{found}: {detail[1]}" if detail else found
