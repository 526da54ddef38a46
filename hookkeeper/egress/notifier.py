"""Sends notifications to a service such as Slack, or to any HTTP API."""

import httpx

from hookkeeper.content.http_calls import RenderedHttpCall
from hookkeeper.content.notifications import RenderedNotification
from hookkeeper.egress import http
from hookkeeper.egress.apprise_sender import AppriseSender, ServiceAnswer
from hookkeeper.egress.response_headers import shown_headers
from hookkeeper.egress.scrubbing import MARGIN, scrubbed_excerpt
from hookkeeper.outcomes import MAX_HEADERS
from hookkeeper.version import USER_AGENT


class Notifier:
    """Sends both kinds of notifications."""

    def __init__(self, services: AppriseSender, client: httpx.AsyncClient) -> None:
        self._services = services
        self._http = client

    async def send(
        self,
        notification: RenderedNotification | RenderedHttpCall,
        timeout: float,
        keep: int,
        *,
        keep_headers: int = MAX_HEADERS,
        tenant: str = "",
        waited: float = 0.0,
    ) -> ServiceAnswer:
        """Send within `timeout` seconds; keep `keep` bytes of the response and `keep_headers` of an HTTP API's headers.

        Raises for internal errors only. `waited`: seconds already waited for slots of the tenant.
        """
        if isinstance(notification, RenderedNotification):
            return await self._services.notify(notification, timeout, tenant)
        answer = await http.send(
            self._http,
            notification.method,
            notification.url,
            body=notification.body,
            headers=notification.headers | {"user-agent": USER_AGENT},
            timeout=timeout,
            keep=keep + MARGIN,
            tenant=tenant,
            waited=waited,
        )
        return ServiceAnswer(
            # A 410 of another API does not disable the webhook.
            verdict="rejected" if answer.verdict == "gone" else answer.verdict,
            started_at=answer.started_at,
            duration_ms=answer.duration_ms,
            connect_ms=answer.connect_ms,
            first_byte_ms=answer.first_byte_ms,
            headers=shown_headers(answer.all_headers, keep_headers, notification.url, notification.headers, path=True),
            status_code=answer.status_code,
            error=answer.error,
            # Many receivers repeat the path of an unknown URL.
            text=scrubbed_excerpt(answer.body, keep, notification.url, notification.headers, path=True),
            retry_after=answer.retry_after,
        )
