"""Hands requests to an address of the API to a program on this machine, and reports the program's answers.

The answers become the outcomes of the attempts.
"""

import asyncio
import json
import threading
import time
from dataclasses import dataclass, replace
from itertools import count

import aiohttp
from yarl import URL

from cli.client.api import Api, ApiUnavailable, present
from cli.client.signatures import signed_headers
from cli.console import Failed, Json, err, print_failure

RECONNECT_AFTER = 1.0
"""Seconds before a stream that has ended is opened again."""
TIMEOUT = aiohttp.ClientTimeout(30)
"""Seconds in which the program must answer: the longest timeout of a webhook."""
MAX_ANSWER = 4096
"""Characters of an answer that are reported. An attempt keeps as many."""
DISABLE_AFTER = 3600.0
"""Seconds of failures that disable a webhook which a killed command has left behind."""
UNREACHABLE = 502
WAITING = "Waiting for deliveries."


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A delivery and the program's answer."""

    number: int
    event_id: str
    type: str
    headers: dict[str, str]
    body: str
    status: int
    answer: str
    retry_after: str | None
    duration_ms: float
    note: str = ""
    """Why the answer is not the outcome of an attempt; empty if it is."""

    @property
    def failed(self) -> bool:
        return not 200 <= self.status < 300


class Forwarder:
    """An address, its webhook, and a thread that reads the stream of requests."""

    def __init__(self, api: Api, target: URL, webhook: Json) -> None:
        """Create the address and the webhook. Raises `Failed`."""
        self.api, self.target = api, target
        self.shown_target = without_secrets(target)
        address = api.call("POST", "forwards", tenant=webhook.get("tenant"))
        defaults = {"name": f"listen → {self.shown_target}"[:100], "disable_after": DISABLE_AFTER}
        self.webhook = api.call("POST", "webhooks", body=defaults | webhook | {"url": address["url"]})
        self.news: asyncio.Queue[Forwarded | str | Failed] = asyncio.Queue()
        """Deliveries, texts about the connection, and the failure that ends the stream."""
        self._token = address["token"]
        connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver())  # resolves names as the system does
        self._http = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT)
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_loop = asyncio.get_running_loop().call_soon_threadsafe
        threading.Thread(target=self._take, daemon=True).start()

    async def next(self) -> Forwarded | str:
        """Wait for a delivery or a text about the connection. Raises `Failed` if the stream has ended for good."""
        news = await self.news.get()
        if isinstance(news, Failed):
            raise news
        return news

    def again(self, earlier: Forwarded) -> None:
        """Sign a delivery anew and send it to the program again. This is no attempt of the event."""
        signed = signed_headers(self.webhook["secret"], earlier.event_id, earlier.body.encode())
        self._start(earlier.headers | signed, earlier.body)

    async def aclose(self) -> None:
        """Cancel open requests and delete the webhook. Print how to delete it if that fails."""
        for task in self._tasks:
            task.cancel()
        await self._http.close()
        try:
            self.api.call("DELETE", "webhooks", self.webhook["id"])
        except Failed as failure:
            print_failure(failure)
            err.print(f"The webhook still exists. Delete it: `hookkeeper webhooks delete {self.webhook['id']}`.")

    def _take(self) -> None:
        """Take requests until the process ends. Connect again if the API restarts or the connection is lost."""
        is_away = False
        while True:
            try:
                for kind, data, _ in self.api.stream("forwards", self._token, last_id=""):
                    if kind == "ready":
                        self._in_loop(self.news.put_nowait, self._resume() if is_away else WAITING)
                    is_away = False
                    if kind == "request":
                        self._in_loop(self._start, data["headers"], data["body"], data["id"])
            except ApiUnavailable as error:
                if not is_away:
                    self._in_loop(self.news.put_nowait, f"{error} Trying again.")
                is_away = True
            except Failed as failure:
                self._in_loop(self.news.put_nowait, failure)
                return
            time.sleep(RECONNECT_AFTER)

    def _resume(self) -> str:
        """Enable the webhook again, in case failures have disabled it. Raises `Failed` if it was deleted."""
        self.api.call("PATCH", "webhooks", self.webhook["id"], body={"enabled": True})
        return "Connected again."

    def _start(self, headers: dict[str, str], body: str, id_: str | None = None) -> None:
        """Start to forward a request. Without an id, its answer is not reported. The API limits open requests."""
        task = asyncio.create_task(self._forward(next(self._numbers), headers, body, id_))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, number: int, headers: dict[str, str], body: str, id_: str | None) -> None:
        forwarded = await self._send(number, headers, body)
        note = await self._report(id_, forwarded) if id_ else "sent again: no attempt"
        self.news.put_nowait(replace(forwarded, note=note))

    async def _report(self, id_: str, given: Forwarded) -> str:
        """Report the answer to a request. Return why that failed, or an empty text."""
        url = f"{self.api.url}/v1/forwards/{self._token}"
        answer = present(id=id_, status=given.status, body=given.answer, retry_after=given.retry_after)
        try:
            async with self._http.patch(url, json=answer, headers=self.api.headers) as reported:
                if reported.status == 404:
                    return "too late: the attempt has ended"
                return "" if reported.ok else f"not reported: {reported.status} {reported.reason}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"not reported: {_reason(error)}"

    async def _send(self, number: int, headers: dict[str, str], body: str) -> Forwarded:
        start, retry_after = time.perf_counter(), None
        try:
            async with self._http.post(
                self.target, data=body.encode(), headers=headers, allow_redirects=False
            ) as response:
                answer = await response.text(errors="replace")
                status, retry_after = response.status, response.headers.get("retry-after")
        except TimeoutError:
            status, answer = UNREACHABLE, f"{self.shown_target} has not answered in {TIMEOUT.total:.0f} s"
        except aiohttp.ClientError as error:
            status, answer = UNREACHABLE, f"cannot reach {self.shown_target}: {_reason(error)}"
        return Forwarded(
            number=number,
            event_id=headers.get("webhook-id", ""),
            type=_type_of(body),
            headers=headers,
            body=body,
            status=status,
            answer=answer[:MAX_ANSWER],
            retry_after=retry_after,
            duration_ms=(time.perf_counter() - start) * 1000,
        )


def without_secrets(target: URL) -> str:
    """Return a URL without user, password, query and fragment, so that it can be shown and stored."""
    return str(target.with_user(None).with_query(None).with_fragment(None))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _type_of(body: str) -> str:
    """Return the event type in a body; empty if a template has made a body without one."""
    try:
        return str(json.loads(body)["type"])
    except (ValueError, LookupError, TypeError):
        return ""
