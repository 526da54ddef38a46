"""Sends notifications to services such as Slack with Apprise, under `hookkeeper.egress.guard`."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Self

from hookkeeper import outcomes
from hookkeeper.content.apprise_services import BadService, ServiceNotAllowed, load, scheme_of, service_of
from hookkeeper.content.notifications import RenderedNotification
from hookkeeper.content.service_texts import inert
from hookkeeper.egress.addresses import Networks
from hookkeeper.egress.scrubbing import scrub
from hookkeeper.limits.tenant_limit import TenantLimit
from hookkeeper.outcomes import Verdict
from hookkeeper.times import utc_now

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

    from hookkeeper.egress.guarded_requests import PluginCall

MAX_THREADS = 32
"""Notifications sent concurrently; one tenant gets at most half of the threads."""
THREAD_TIMEOUT = 20.0
"""Seconds to wait for a thread. Together with the longest timeout of a webhook, less than the minute of an activity."""
MAX_SCRUBBED = 8 * 1024
"""Bytes of the response that are searched for secrets."""
MAX_TEXT = 1024
"""Bytes of the messages of Apprise and the service that are kept."""


class AppriseBusy(RuntimeError):
    """No thread became free in time. It does not count as an attempt."""


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """The result of one notification or one call of an HTTP API."""

    verdict: Verdict
    status_code: int | None = None
    """Status of the latest response."""
    error: str | None = None
    """`http_<status>`, a code of `hookkeeper.egress.errors.error_code`, or one of:

    `not_accepted`: a 2xx response with an error in it
    `not_sent`: Apprise made no request
    `empty`: the notification has neither title nor body
    `bad_service`: the URL is invalid
    `service_not_allowed`: the operator does not allow the service, or the plugin attempted a forbidden operation
    """
    text: str = ""
    """Messages of Apprise and the service, without secrets of the URL."""
    retry_after: float | None = None
    started_at: datetime = field(default_factory=utc_now)
    duration_ms: float = 0.0
    connect_ms: float | None = None
    """As in `hookkeeper.egress.http.HttpAnswer`, and of HTTP APIs only; so are the next two."""
    first_byte_ms: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those of the response that are kept, without secrets."""


class AppriseSender:
    """Sends to the services that the operator allows, at allowed addresses."""

    def __init__(
        self,
        schemes: Collection[str],
        allowed: Networks,
        *,
        transport: "Callable[[], HTTPAdapter] | None" = None,
        require_https: bool = False,
    ) -> None:
        """`transport` makes the adapter that sends requests. `require_https` refuses plain HTTP."""
        self._require_https = require_https
        self._schemes = frozenset(schemes)
        self._allowed = allowed
        self._transport = transport
        self._is_loaded = False
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="services")
        self._slots = TenantLimit(MAX_THREADS)
        self._sending: set[asyncio.Future[ServiceAnswer]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    async def notify(self, notification: RenderedNotification, timeout: float, tenant: str = "") -> ServiceAnswer:
        """Send a notification. `timeout` (seconds) starts when a thread is free.

        Raises for internal errors only: AppriseBusy if no thread becomes free for this tenant.
        """
        if not self._is_loaded:
            await asyncio.get_running_loop().run_in_executor(self._threads, _load)
            self._is_loaded = True
        try:
            async with asyncio.timeout(THREAD_TIMEOUT):
                await self._slots.acquire(tenant)
        except TimeoutError:
            raise AppriseBusy(f"no thread was free within {THREAD_TIMEOUT:g} s") from None
        started_at, start = utc_now(), time.perf_counter()
        answer = await self._send_in_thread(notification, timeout, tenant)
        return replace(answer, started_at=started_at, duration_ms=(time.perf_counter() - start) * 1000)

    async def close(self) -> None:
        for sending in self._sending:
            sending.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _send_in_thread(self, notification: RenderedNotification, timeout: float, tenant: str) -> ServiceAnswer:
        """Send in a thread. A thread cannot be killed, so it holds the tenant's slot until it ends."""
        from hookkeeper.egress.guarded_requests import PluginCall

        call = PluginCall(self._allowed, self._transport, timeout)
        call.require_https = self._require_https
        sending = asyncio.get_running_loop().run_in_executor(self._threads, self._send, call, notification)
        self._sending.add(sending)
        sending.add_done_callback(partial(self._sent, tenant))
        try:
            done, _ = await asyncio.wait((sending,), timeout=timeout)
            if done:
                return sending.result()
            return ServiceAnswer("failed", call.response.status_code if call.response else None, "timeout")
        finally:
            if not sending.done():
                call.end()

    def _sent(self, tenant: str, sending: "asyncio.Future[ServiceAnswer]") -> None:
        self._sending.discard(sending)
        self._slots.release(tenant)
        if not sending.cancelled():
            sending.exception()  # marks it as retrieved: its caller may have timed out

    def _send(self, call: "PluginCall", notification: RenderedNotification) -> ServiceAnswer:
        """Send in this thread."""
        title, body = notification.title.strip(), notification.body.strip()
        if not (title or body):
            return ServiceAnswer("rejected", error="empty", text="the notification has neither title nor body")
        with call.watch():
            try:
                service = service_of(notification.service, self._schemes)
            except BadService as exc:
                error = "service_not_allowed" if isinstance(exc, ServiceNotAllowed) else "bad_service"
                return ServiceAnswer("rejected", error=error, text=str(exc))
            scheme = scheme_of(notification.service)
            accepted = service.send(inert(title, scheme), inert(body, scheme))
        if call.internal_error:
            raise call.internal_error
        return _answer(call, accepted, notification.service)


def _load() -> None:
    """Load Apprise and `requests`, which take 0.2 s and some MB: not at import, as few installations use them.

    Can run in two threads.
    """
    from hookkeeper.egress import guarded_requests

    guarded_requests.install()
    load()


def _answer(call: "PluginCall", accepted: bool, url: str) -> ServiceAnswer:
    response = call.response
    body = outcomes.excerpt(response.body, MAX_SCRUBBED) if response else ""
    messages = "\n".join((*call.messages, body)).strip()
    text = outcomes.excerpt(scrub(messages, url).encode(), MAX_TEXT)
    if accepted and response:
        return ServiceAnswer("succeeded", response.status_code, text=text)
    if call.refused:
        return ServiceAnswer("rejected", error="service_not_allowed", text=f"Apprise may not {call.refused}")
    if response is None:  # Apprise returns `True` even if it sent nothing
        return ServiceAnswer("rejected", error="not_sent", text=text or "Apprise sent no request for this notification")
    if response.error == "forbidden_address":
        return ServiceAnswer("forbidden_address", error=response.error, text=text)
    is_success = response.status_code in range(200, 300)
    error = response.error or ("not_accepted" if is_success else f"http_{response.status_code}")
    return ServiceAnswer("failed", response.status_code, error, text, response.retry_after)
