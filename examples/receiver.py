"""Receive webhooks: verify the signature, drop duplicates, answer at once, process later."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from standardwebhooks import Webhook, WebhookVerificationError

MAX_BODY = 1024 * 1024  # bytes; the signature can be verified only after the whole body was read


class Inbox:
    """Received ids and open jobs.

    In production, store both in your database before answering: a unique column of ids, and a table of jobs.
    """

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.jobs: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    def put(self, webhook_id: str, event: Any) -> bool:
        """Add an event; return False for a duplicate."""
        if webhook_id in self.ids:
            return False
        self.ids.add(webhook_id)
        self.jobs.put_nowait((webhook_id, event))
        return True

    async def work(self) -> None:
        """Process the jobs in order. Slow work belongs here."""
        while True:
            webhook_id, event = await self.jobs.get()
            print(f"{webhook_id}  {event}", flush=True)
            self.jobs.task_done()


def create_app(secret: str) -> FastAPI:
    webhook, inbox = Webhook(secret), Inbox()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker = asyncio.create_task(inbox.work())
        yield
        await inbox.jobs.join()  # finish accepted jobs before exiting
        worker.cancel()

    app = FastAPI(lifespan=lifespan)

    @app.post("/hook", status_code=202)
    async def receive(request: Request) -> dict[str, str]:
        body = await read(request)  # the received bytes: parsing and serialising JSON again would change them
        try:
            event = webhook.verify(body, dict(request.headers))
        except (WebhookVerificationError, ValueError) as error:
            raise HTTPException(400, "wrong signature") from error
        is_new = inbox.put(request.headers["webhook-id"], event)
        return {"status": "accepted" if is_new else "duplicate"}

    @app.post("/notes", status_code=204)
    async def note(request: Request) -> None:
        """Take the place of Slack. Notifications are not signed."""
        print(f"notification  {(await read(request)).decode(errors='replace')}", flush=True)

    return app


async def read(request: Request) -> bytes:
    """Read a body of limited size."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, "too large")
    return bytes(body)


if __name__ == "__main__":
    key = os.environ.get("WEBHOOK_SECRET", "")
    if not key.startswith("whsec_"):
        sys.exit("Set WEBHOOK_SECRET to the signing key of the webhook: whsec_…")
    uvicorn.run(create_app(key), port=int(os.environ.get("PORT", "9000")), access_log=False)
