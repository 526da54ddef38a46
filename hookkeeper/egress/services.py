"""Sends notes to services such as Slack, by Apprise, which is guarded while it does (`hookkeeper.egress.guard`)."""

import asyncio
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self

from hookkeeper import outcomes
from hookkeeper.content.notifications import RenderedNotification
from hookkeeper.content.services import BadService, ServiceNotAllowed, load, service_of
from hookkeeper.egress.network import Networks
from hookkeeper.egress.scrubbing import scrub
from hookkeeper.limits.turns import Turns
from hookkeeper.outcomes import Verdict

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

    from hookkeeper.egress.guarded_requests import Call

THREADS = 32
"""Notes that are sent at once; one tenant's may take half of them (`hookkeeper.limits.turns`)."""
WAIT_SECONDS = 20.0
"""How long a note waits for a thread. With the longest timeout of a webhook, that is within an activity's minute."""
MAX_HEARD = 8 * 1024
"""Bytes of what the service says that are looked through for secrets."""
MAX_WORDS = 1024
"""Bytes of what Apprise and the service say that are kept."""


class ServicesBusy(RuntimeError):
    """No thread came free in time: not the service's fault, so that the note is tried again, and costs no attempt."""


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """What one note, or one call of an HTTP API, came to."""

    verdict: Verdict
    started_at: datetime
    duration_ms: float
    status_code: int | None = None
    """Of the service's latest answer."""
    error: str | None = None
    """`http_<status>`, what `hookkeeper.egress.http.error_code` says, or one of:

    `not_accepted`: the answer was a 2xx, and said no all the same
    `not_sent`: Apprise made no request of this note
    `empty`: the notification has neither title nor body
    `bad_service`: the URL cannot be read
    `service_not_allowed`: the operator allows no such service, or it wanted what no service may
    """
    text: str = ""
    """What Apprise and the service said, without the secrets of the URL."""
    retry_after: float | None = None


class _Finding(NamedTuple):
    """An answer without its times."""

    verdict: Verdict
    status_code: int | None = None
    error: str | None = None
    text: str = ""
    retry_after: float | None = None


class Services:
    """Sends by the services that the operator allows, to the addresses that may be reached."""

    def __init__(
        self,
        schemes: Collection[str],
        allowed: Networks,
        *,
        transport: "Callable[[], HTTPAdapter] | None" = None,
        require_https: bool = False,
    ) -> None:
        """`transport` makes what requests are sent by, in place of `requests`' own.

        `require_https` refuses plain HTTP.
        """
        from hookkeeper.egress import guarded_requests  # here, as the API, which never sends, imports this module, too

        guarded_requests.install()
        self._require_https = require_https
        self._schemes = frozenset(schemes)
        self._call = partial(guarded_requests.Call, allowed, transport)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="services")
        self._turns = Turns(THREADS)
        self._sending: set[asyncio.Future[_Finding]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    async def notify(self, note: RenderedNotification, timeout: float, tenant: str = "") -> ServiceAnswer:
        """Send a note within `timeout` seconds from when a thread is free, and tell what came of it.

        Raises for our own faults only: ServicesBusy where no thread comes free for this tenant.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._turns.take(tenant)
        except TimeoutError:
            raise ServicesBusy(f"no thread was free within {WAIT_SECONDS:g} s") from None
        started_at, start = datetime.now(UTC), time.perf_counter()
        finding = await self._found(note, timeout, tenant)
        return ServiceAnswer(
            verdict=finding.verdict,
            started_at=started_at,
            duration_ms=(time.perf_counter() - start) * 1000,
            status_code=finding.status_code,
            error=finding.error,
            text=finding.text,
            retry_after=finding.retry_after,
        )

    async def close(self) -> None:
        for sending in self._sending:
            sending.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _found(self, note: RenderedNotification, timeout: float, tenant: str) -> _Finding:
        """Send in a thread. It cannot be killed: it has the tenant's turn until it ends, whoever waits for it."""
        call = self._call(timeout)
        call.require_https = self._require_https
        sending = asyncio.get_running_loop().run_in_executor(self._threads, self._send, call, note)
        self._sending.add(sending)
        sending.add_done_callback(partial(self._sent, tenant))
        try:
            done, _ = await asyncio.wait((sending,), timeout=timeout)
            return sending.result() if done else _late(call)
        finally:
            if not sending.done():
                call.end()

    def _sent(self, tenant: str, sending: "asyncio.Future[_Finding]") -> None:
        self._sending.discard(sending)
        self._turns.give_back(tenant)
        if not sending.cancelled():
            sending.exception()  # nobody may be waiting for it any more

    def _send(self, call: "Call", note: RenderedNotification) -> _Finding:
        """Send in this thread."""
        load()
        title, body = note.title.strip(), note.body.strip()
        if not (title or body):
            return _Finding("rejected", error="empty", text="the notification has neither title nor body")
        with call.watch():
            try:
                service = service_of(note.service, self._schemes)
            except BadService as exc:
                error = "service_not_allowed" if isinstance(exc, ServiceNotAllowed) else "bad_service"
                return _Finding("rejected", error=error, text=str(exc))
            accepted = service.send(title, body)
        if call.fault:
            raise call.fault
        return _finding(call, accepted, note.service)


def _late(call: "Call") -> _Finding:
    return _Finding("failed", call.heard.status_code if call.heard else None, "timeout")


def _finding(call: "Call", accepted: bool, url: str) -> _Finding:
    heard = call.heard
    said = outcomes.excerpt(heard.body, MAX_HEARD) if heard else ""
    words = "\n".join((*call.reasons, said)).strip()
    text = outcomes.excerpt(scrub(words, url).encode(), MAX_WORDS)
    if accepted and heard:
        return _Finding("succeeded", heard.status_code, text=text)
    if call.refused:
        return _Finding("rejected", error="service_not_allowed", text=f"Apprise may not {call.refused}")
    if heard is None:  # Apprise returns `True` even if it sent nothing
        return _Finding("rejected", error="not_sent", text=text or "Apprise sent no request for this notification")
    if heard.error == "forbidden_address":
        return _Finding("forbidden_address", error=heard.error, text=text)
    error = heard.error or ("not_accepted" if heard.status_code in range(200, 300) else f"http_{heard.status_code}")
    return _Finding("failed", heard.status_code, error, text, heard.retry_after)
