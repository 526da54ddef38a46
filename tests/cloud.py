"""A frontend like Temporal Cloud's before a real server: what changes a namespace is refused, all else is passed on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from temporalio.client import Client

REFUSED = ("/temporal.api.operatorservice.v1.OperatorService/", "/UpdateNamespace")


class Frontend(grpc.GenericRpcHandler):
    """Passes bytes on, whatever they mean."""

    def __init__(self, behind: grpc.aio.Channel, api_key: str | None) -> None:
        self._behind = behind
        self.api_key = api_key
        """What each call has to have, if any."""
        self.refused: list[str] = []
        self.busy: list[str] = []
        """Methods whose next call each is answered as by a busy server."""
        self.silent: set[str] = set()
        """Methods that are carried out, and whose answers are lost."""
        self.denied: set[str] = set()
        """Methods that are carried out and then refused, as the second call after a lost answer."""
        self.after: dict[str, str] = {}
        """Methods that the server is too busy for once it has carried out another one: by that one's name."""

    def service(self, call: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        send: Any = self._behind.unary_unary(call.method)
        is_authorized = self.api_key is None or ("authorization", f"Bearer {self.api_key}") in call.invocation_metadata

        async def answer(request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
            if not is_authorized:
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Request unauthorized.")
            if any(each in call.method for each in REFUSED):
                self.refused.append(call.method.rpartition("/")[2])
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "Request unauthorized.")
            if (method := call.method.rpartition("/")[2]) in self.busy:
                self.busy.remove(method)
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")
            try:
                passed_on: bytes = await send(request, timeout=60)
            except grpc.aio.AioRpcError as error:
                details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
                trailing = (("grpc-status-details-bin", details),) if details else ()
                await context.abort(error.code(), error.details() or "", trailing)
            if method in self.silent:
                await asyncio.Event().wait()
            if method in self.denied:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no change")
            if method in self.after:
                self.busy += [self.after[method]] * 100
            return passed_on

        return grpc.unary_unary_rpc_method_handler(answer)


@asynccontextmanager
async def cloud(
    client: Client, *, tls: grpc.ServerCredentials | None = None, api_key: str | None = None
) -> AsyncIterator[tuple[str, Frontend]]:
    """Put such a frontend before the client's server, with TLS and an API key if they are given; give its address."""
    async with grpc.aio.insecure_channel(client.service_client.config.target_host) as behind:
        frontend = Frontend(behind, api_key)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((frontend,))
        port = server.add_secure_port("127.0.0.1:0", tls) if tls else server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}", frontend
        finally:
            await server.stop(grace=1)
