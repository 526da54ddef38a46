"""Run one part of Hookkeeper in this process until it is told to stop."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import uvicorn

import logs
import worker
from api.app import serving_app
from registry.store import Store
from settings import Settings
from workflows.connection import connect, prepare_namespace


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, then give Temporal's threads a moment: without it a short process can abort at its exit."""

    async def and_settle() -> None:
        try:
            await work
        finally:
            await asyncio.sleep(0.05)  # sdk-python #300, see docs/temporal.md

    asyncio.run(and_settle())


def stop_event() -> asyncio.Event:
    """Give an event that Ctrl-C and SIGTERM set."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def serve_api(settings: Settings) -> None:
    """Serve the API; uvicorn handles the signals and ends what is under way."""
    logs.configure(settings.log_format)
    config = uvicorn.Config(
        serving_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    run(uvicorn.Server(config).serve())


def serve_worker(settings: Settings) -> None:
    """Work until told to stop, then finish the attempts that are under way."""
    logs.configure(settings.log_format)

    async def serve() -> None:
        stop = stop_event()
        store = Store.connect(settings.database_url)
        try:
            await worker.serve(await connect(), store, settings, stop)
        finally:
            await store.close()

    run(serve())


def migrate(settings: Settings) -> None:
    """Bring the registry's schema up to date, and the namespace's search attributes and retention."""
    logs.configure(settings.log_format)

    async def prepare() -> None:
        store = Store.connect(settings.database_url)
        try:
            await store.migrate()
        finally:
            await store.close()
        await prepare_namespace(await connect(), settings.retention)

    run(prepare())
