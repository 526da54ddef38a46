"""An API that stops."""

import asyncio
import json
import socket
from contextlib import closing

from sockets import connected, serving

from instances import KEY, Instance
from timeouts import WAIT_TIMEOUT

REQUEST = b"GET /healthz HTTP/1.1\r\nhost: api\r\n\r\n"


async def test_a_connection_that_was_accepted_at_the_last_moment_has_one_answer(instance: Instance) -> None:
    """Timeline: a client connects, the server stops before it knows the connection, the client sends a request.

    Such a connection took more and more requests while the server stopped, and the last one was answered with 500.
    """
    loop = asyncio.get_running_loop()
    async with serving(instance.app) as server:
        with closing(socket.create_connection(("127.0.0.1", server.port))) as client:
            client.setblocking(False)
            await asyncio.sleep(0)  # the loop accepts the connection
            await asyncio.sleep(0)  # and makes its transport
            stopping = asyncio.create_task(server.uvicorn.shutdown())
            await loop.sock_sendall(client, REQUEST)
            answer = await loop.sock_recv(client, 4096)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"\r\nconnection: close\r\n" in answer
            await stopping


async def test_a_request_that_takes_longer_than_the_grace_period_is_answered(instance: Instance) -> None:
    """Timeline: half a body, the server stops, the grace period ends. The client was told of an error of the server."""
    head = f"POST /v1/events HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {KEY}\r\ncontent-length: 99\r\n\r\n"
    async with serving(instance.app) as server, connected(server.port) as client:
        client.send(head.encode() + b"{")
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not server.uvicorn.server_state.tasks:
                await asyncio.sleep(0.01)
        server.uvicorn.config.timeout_graceful_shutdown = 0
        stopping = asyncio.create_task(server.uvicorn.shutdown())
        status, body = await client.answer()
        await stopping
    assert (status, json.loads(body)["title"]) == (503, "Service Unavailable")
