"""`python -m drills.proxy ADDRESS SERVER …`: a load balancer, which passes each connection on to the next server.

A server that does not listen is skipped.
"""

import asyncio
import itertools
import sys
from collections.abc import Sequence

from drills.relays import Relay, Streams
from hookkeeper.cli.processes import run, until_stopped


async def serve(address: str, servers: Sequence[str]) -> None:
    """Listen on an address, `host:port`, until the process is told to stop."""
    turns = itertools.cycle(servers)

    async def connect() -> Streams:
        for _ in servers[1:]:
            try:
                return await asyncio.open_connection(*_parts(next(turns)))
            except OSError:
                continue
        return await asyncio.open_connection(*_parts(next(turns)))

    relay = Relay(connect)
    async with await asyncio.start_server(relay.serve, *_parts(address), backlog=1024):
        async with until_stopped():
            await asyncio.Event().wait()
        await relay.close()


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    run(serve(sys.argv[1], sys.argv[2:]))
