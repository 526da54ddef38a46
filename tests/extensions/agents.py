"""An agent: the official client of the MCP server, over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import uvicorn

from instances import Instance

if TYPE_CHECKING:
    from mcp import Client


@asynccontextmanager
async def agent(instance: Instance, key: str, mode: str = "auto") -> AsyncIterator["Client"]:
    """Return the official client, connected with this key."""
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    server = uvicorn.Server(uvicorn.Config(instance.app, port=0, log_config=None, ws="none", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"
    try:
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}) as http,
            Client(streamable_http_client(url, http_client=http), mode=mode) as client,
        ):
            yield client
    finally:
        server.should_exit = True
        await serving


async def ask(client: "Client", tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)  # type: ignore[union-attr]
