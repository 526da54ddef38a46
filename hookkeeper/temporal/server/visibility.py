"""Search runs in Temporal's visibility, newest first: it has no other order."""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from temporalio.client import Client, WorkflowExecution

from hookkeeper import temporal_names
from hookkeeper.asyncio_tasks import wait_for_all

MAX_CONCURRENT_READS = 10
"""Items of a page that are read at the same time."""
CHECKSUM_BYTES = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


class BadCursor(ValueError):
    """Not a cursor of this list."""


async def page(
    client: Client, query: str, limit: int, cursor: str | None
) -> tuple[list[WorkflowExecution], str | None]:
    """Return a page of runs, newest first, and the cursor of the next page. Raises `BadCursor` and `RPCError`."""
    runs = client.list_workflows(query, page_size=limit, next_page_token=decode_cursor(query, cursor))
    await runs.fetch_next_page()
    return list(runs.current_page or []), encode_cursor(query, runs.next_page_token)


async def read_all(items: Iterable[Item], read: Callable[[Item], Awaitable[Result]]) -> list[Result]:
    """Read each item of a page, `MAX_CONCURRENT_READS` at the same time."""
    slots = asyncio.Semaphore(MAX_CONCURRENT_READS)

    async def read_one(item: Item) -> Result:
        async with slots:
            return await read(item)

    return await wait_for_all(map(read_one, items))


def quoted(value: str) -> str:
    """Quote an id, an event type or a tenant; the API accepts none with a quote in it."""
    if "'" in value or "\\" in value:
        raise ValueError(f"not an id, a type or a tenant: {value!r}")
    return f"'{value}'"


def in_queue(task_queue: str) -> str:
    """Return the condition for runs of this installation: others in the namespace have other task queues."""
    return f"TaskQueue = {quoted(task_queue)}"


def with_tenant(tenant: str) -> str:
    """Return the condition for runs of this tenant, and for those that several tenants share."""
    return f"({temporal_names.TENANT} = {quoted(tenant)} OR {temporal_names.TENANT} IS NULL)"


def encode_cursor(query: str, token: bytes | None) -> str | None:
    """Return the server's page token with a checksum: the server may fail on a token that it did not make."""
    return base64.urlsafe_b64encode(_checksum(query, token) + token).decode() if token else None


def decode_cursor(query: str, cursor: str | None) -> bytes | None:
    """Return the server's page token; raise `BadCursor` if `encode_cursor` did not make the cursor for this query."""
    if cursor is None:
        return None
    try:
        decoded = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadCursor("this cursor is of no list") from error
    checksum, token = decoded[:CHECKSUM_BYTES], decoded[CHECKSUM_BYTES:]
    if checksum != _checksum(query, token):
        raise BadCursor("this cursor is of another list")
    return token


def _checksum(query: str, token: bytes) -> bytes:
    return hashlib.sha256(query.encode() + b"\0" + token).digest()[:CHECKSUM_BYTES]
