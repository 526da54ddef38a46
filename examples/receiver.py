"""Receive webhooks: verify the signature, drop what has come before, answer at once, work later."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from standardwebhooks import Webhook, WebhookVerificationError

MAX_BODY = 1024 * 1024  # bytes: anybody can post here, and the signature is known only at the end


class Inbox:
    """What has been received, and what is still to be done.

    In production both belong in your database, written before you answer: a unique column of ids, and a table of jobs.
    """

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.jobs: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    def put(self, webhook_id: str, event: Any) -> bool:
        """Take an event; false for one that has come before."""
        if webhook_id in self.ids:
            return False
        self.ids.add(webhook_id)
        self.jobs.put_nowait((webhook_id, event))
        return True

    async def work(self) -> None:
        """Do the jobs, one after the other. Here goes what takes time."""
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
        await inbox.jobs.join()  # what was answered with 202 is done before the end
        worker.cancel()

    app = FastAPI(lifespan=lifespan)

    @app.post("/hook", status_code=202)
    async def receive(request: Request) -> dict[str, str]:
        body = await read(request)  # the bytes as they came: JSON that is parsed and written again differs
        try:
            event = webhook.verify(body, dict(request.headers))
        except (WebhookVerificationError, ValueError) as error:
            raise HTTPException(400, "the signature does not fit") from error
        is_new = inbox.put(request.headers["webhook-id"], event)
        return {"status": "accepted" if is_new else "duplicate"}

    @app.post("/notes", status_code=204)
    async def note(request: Request) -> None:
        """Stand in for Slack, for those who have none. Notifications are not signed."""
        print(f"note  {(await read(request)).decode(errors='replace')}", flush=True)

    return app


async def read(request: Request) -> bytes:
    """Read a body that is not too large."""
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
