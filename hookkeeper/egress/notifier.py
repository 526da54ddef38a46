"""Sends notifications to a service such as Slack, or to any HTTP API."""

import httpx

from hookkeeper import outcomes
from hookkeeper.content.http_calls import RenderedHttpCall
from hookkeeper.content.notifications import RenderedNotification
from hookkeeper.egress import http
from hookkeeper.egress.scrubbing import MARGIN, scrub_request
from hookkeeper.egress.services import ServiceAnswer, Services
from hookkeeper.outcomes import Verdict
from hookkeeper.times import utc_now


class Notifier:
    """Sends both kinds of notifications."""

    def __init__(self, services: Services, client: httpx.AsyncClient, user_agent: str) -> None:
        self._services = services
        self._http = client
        self._user_agent = user_agent

    async def send(
        self,
        notification: RenderedNotification | RenderedHttpCall,
        timeout: float,
        keep: int,
        *,
        tenant: str = "",
        waited: float = 0.0,
    ) -> ServiceAnswer:
        """Send within `timeout` seconds and keep `keep` bytes of the response. Raises for internal errors only.

        `waited`: seconds already waited for slots of the tenant.
        """
        if isinstance(notification, RenderedNotification):
            return await self._services.notify(notification, timeout, tenant)
        answer = await http.send(
            self._http,
            notification.method,
            notification.url,
            body=notification.body,
            headers=notification.headers | {"user-agent": self._user_agent},
            timeout=timeout,
            keep=keep + MARGIN,
            tenant=tenant,
            waited=waited,
        )
        return ServiceAnswer(
            verdict=_verdict(answer),
            started_at=answer.started_at,
            duration_ms=answer.duration_ms,
            status_code=answer.status_code,
            error=answer.error,
            text=_response_text(notification, answer.body, keep),
            retry_after=outcomes.parse_retry_after(answer.headers.get("retry-after"), utc_now()),
        )


def _response_text(call: RenderedHttpCall, body: bytes, keep: int) -> str:
    """Return the response without the secrets of the call: many receivers repeat the path of an unknown URL."""
    text = outcomes.excerpt(body, keep + MARGIN)
    return outcomes.excerpt(scrub_request(text, call.url, call.headers, path=True).encode(), keep)


def _verdict(answer: http.HttpAnswer) -> Verdict:
    """Return the verdict as for a webhook, except that a 410 of another API does not disable the webhook."""
    verdict = outcomes.verdict_of(answer.status_code, answer.error)
    return "rejected" if verdict == "gone" else verdict
