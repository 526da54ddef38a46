"""A FastAPI dependency that receives webhooks.

receiver = Receiver("whsec_…")

@app.post("/hook", status_code=202)
async def hook(event: Annotated[Event, Depends(webhook(receiver))]) -> None:
    await orders.put(event)
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

from anyio import CancelScope
from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from hookkeeper_client.receiving import MAX_BODY, Event, Receiver, Refused


def webhook(receiver: Receiver, data: Any = Any) -> Callable[[Request], AsyncIterator[Event[Any]]]:
    """Return a dependency whose value is the event, with this type of data. A duplicate is answered without the route.

    If the route fails or is cancelled, the event is forgotten, so that it can come again.
    """

    async def new_event(request: Request) -> AsyncIterator[Event[Any]]:
        body = await _read(request)
        try:
            event = await run_in_threadpool(receiver.receive, body, request.headers, data)
        except Refused as error:
            raise HTTPException(error.status, str(error)) from error
        if event is None:
            raise HTTPException(202, "duplicate")
        try:
            yield event
        except BaseException:
            with CancelScope(shield=True):
                await run_in_threadpool(receiver.forget, event)
            raise

    return new_event


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, "too large")
    return bytes(body)
