"""Receive webhooks in FastAPI: the route puts events in a queue, and a task of the app processes them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI
from pydantic import BaseModel

from hookkeeper_client.fastapi import webhook
from hookkeeper_client.receiving import Event, Receiver


class Order(BaseModel):
    order: int


receiver = Receiver(os.environ["WEBHOOK_SECRET"])
jobs: asyncio.Queue[Event[Order]] = asyncio.Queue()  # in production, a table of your database


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    worker = asyncio.create_task(work())
    yield
    await jobs.join()  # finish accepted jobs before exiting
    worker.cancel()


app = FastAPI(lifespan=lifespan)


@app.post("/hook", status_code=202)
async def hook(event: Annotated[Event[Order], Depends(webhook(receiver, Order))]) -> str:
    await jobs.put(event)
    return "accepted"


async def work() -> None:
    """Process the jobs in order. Slow work belongs here."""
    while True:
        event = await jobs.get()
        print(f"{event.id}  {event.type}  order {event.data.order}", flush=True)
        jobs.task_done()


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "9000")), access_log=False)
