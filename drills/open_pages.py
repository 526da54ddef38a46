"""Open pages of the dashboard: each holds its stream and loads itself again, as with `dashboard/static/pages.js`."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from html import unescape

import httpx

from cli.console import Failed

PATHS = ("/events", "/")
"""Pages that have a stream; half of the open pages show each."""
LOAD_TIMEOUT = 10.0
STREAM_GAP = 1.0
"""Seconds between two loads that the stream has caused, at least."""
STREAM_REST = 60.0
"""Seconds between two loads while the stream says nothing, and until a refused stream is tried again."""
MAX_PAUSE = 30.0
"""Seconds between two loads that fail."""
NO_RESPONSE = "0"


@dataclass
class PageCounts:
    """The requests of open pages, and their answers."""

    number: int = 0
    loads: Counter[str] = field(default_factory=Counter)
    """Loads by the status of the response."""
    streams: Counter[str] = field(default_factory=Counter)
    """Opened streams by the status of the response."""
    messages: int = 0
    """Messages of all streams."""

    @property
    def were_live(self) -> bool:
        return bool(self.loads["200"] and self.messages)


@asynccontextmanager
async def session(url: str, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """Log in with a key. Raises Failed."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=LOAD_TIMEOUT, limits=limits) as http:
        proof = re.search(r'name="proof" value="(\w+)"', (await http.get("/login")).text)
        form = {"key": key, "proof": proof[1] if proof else "", "next": "/"}
        answer = await http.post("/login", data=form)
        if answer.status_code != 303:
            raise Failed(f"the login was answered with {answer.status_code}")
        yield http


@asynccontextmanager
async def open_pages(http: httpx.AsyncClient, number: int) -> AsyncIterator[PageCounts]:
    """Keep this many pages of a session open until the block ends."""
    counts = PageCounts(number)
    pages = [OpenPage(http, PATHS[n % len(PATHS)], counts) for n in range(number)]
    tasks = [asyncio.create_task(page.keep_open()) for page in pages]
    try:
        yield counts
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()


class OpenPage:
    """One page that is seen all the time."""

    def __init__(self, http: httpx.AsyncClient, path: str, counts: PageCounts) -> None:
        self._http = http
        self._path = path
        self._counts = counts
        self._seconds = 1.0
        """Between two loads without a stream, as the page says."""
        self._stream_path = ""
        self._is_live = False
        self._has_news = asyncio.Event()
        self._failures = 0
        self._loaded_at = 0.0
        self._kind = self._last_id = ""
        self._reconnect_after = 3.0

    async def keep_open(self) -> None:
        """Load the page, then follow what changes until cancelled."""
        while not await self._load():
            await asyncio.sleep(self._pause())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._load_again())
            tasks.create_task(self._follow())

    async def _load_again(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._has_news.wait()
            await asyncio.sleep(self._loaded_at + STREAM_GAP - _now())
            self._has_news.clear()
            if not await self._load():
                self._has_news.clear()

    def _pause(self) -> float:
        """Return the seconds until the next load without news."""
        if self._failures:
            return min(self._seconds * 2.0 ** min(self._failures, 5), MAX_PAUSE)
        return STREAM_REST if self._is_live else self._seconds

    async def _load(self) -> bool:
        """Load the page. Return whether it has what it shows."""
        status, has = NO_RESPONSE, None
        with suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(LOAD_TIMEOUT):
                answer = await self._http.get(self._path, headers={"accept": "text/html"})
            status = str(answer.status_code)
            has = re.search(r'<section id="live" data-live="(\d+)" data-stream="([^"]+)"', answer.text)
        self._counts.loads[status] += 1
        self._loaded_at = _now()
        if status != "200" or has is None:
            self._failures += 1
            return False
        self._failures, self._seconds, self._stream_path = 0, float(has[1]), unescape(has[2])
        return True

    async def _follow(self) -> None:
        """Hold the stream; after an end connect again, and after a refusal begin anew later."""
        while True:
            status = await self._read_stream()
            self._is_live = False
            self._has_news.set()
            if status in ("200", NO_RESPONSE):
                await asyncio.sleep(self._reconnect_after)
            else:
                self._last_id = ""
                await asyncio.sleep(STREAM_REST)

    async def _read_stream(self) -> str:
        """Read a stream until it ends; return the status of the response."""
        headers = {"accept": "text/event-stream"} | ({"last-event-id": self._last_id} if self._last_id else {})
        timeout = httpx.Timeout(LOAD_TIMEOUT, read=None)
        status = NO_RESPONSE
        try:
            async with self._http.stream("GET", self._stream_path, headers=headers, timeout=timeout) as answer:
                status = str(answer.status_code)
                self._counts.streams[status] += 1
                if status == "200":
                    async for line in answer.aiter_lines():
                        self._read_line(line)
        except httpx.TransportError:
            self._counts.streams[NO_RESPONSE] += status == NO_RESPONSE
        return status

    def _read_line(self, line: str) -> None:
        """Read a line as the HTML Standard says, "Server-sent events". An empty one ends a message."""
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._kind = value
        elif name == "id":
            self._last_id = value
        elif name == "retry":
            self._reconnect_after = int(value) / 1000
        elif not line and self._kind:
            self._counts.messages += 1
            self._is_live = self._kind != "unavailable"
            self._kind = ""
            self._has_news.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
