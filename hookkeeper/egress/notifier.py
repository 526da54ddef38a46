"""Sends notes: to a service such as Slack, or as a call of any HTTP API."""

import httpx

from hookkeeper import outcomes
from hookkeeper.content.notifications import Call, RenderedNotification
from hookkeeper.egress import http
from hookkeeper.egress.scrubbing import MARGIN, scrub_request
from hookkeeper.egress.services import ServiceAnswer, Services
from hookkeeper.outcomes import Verdict
from hookkeeper.times import utc_now


class Notifier:
    """One way out for both kinds."""

    def __init__(self, services: Services, client: httpx.AsyncClient, user_agent: str) -> None:
        self._services = services
        self._http = client
        self._user_agent = user_agent

    async def send(
        self, note: RenderedNotification | Call, timeout: float, keep: int, *, tenant: str = "", waited: float = 0.0
    ) -> ServiceAnswer:
        """Send within `timeout` (seconds), keep so many bytes of an answer; raises for our own faults only.

        The tenant is the one whose note it is; for `waited` seconds it has waited for that tenant's limits before.
        """
        if isinstance(note, RenderedNotification):
            return await self._services.notify(note, timeout, tenant)
        answer = await http.send(
            self._http,
            note.method,
            note.url,
            body=note.body,
            headers=note.headers | {"user-agent": self._user_agent},
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
            text=_said(note, answer.body, keep),
            retry_after=outcomes.parse_retry_after(answer.headers.get("retry-after"), utc_now()),
        )


def _said(note: Call, body: bytes, keep: int) -> str:
    """Give what the receiver said, without the secrets of the call: many repeat the path of a URL they do not know."""
    text = outcomes.excerpt(body, keep + MARGIN)
    return outcomes.excerpt(scrub_request(text, note.url, note.headers, path=True).encode(), keep)


def _verdict(answer: http.Answer) -> Verdict:
    """Judge as for a webhook; but a 410 of another API says nothing of the webhook, which stays on."""
    verdict = outcomes.verdict_of(answer.status_code, answer.error)
    return "rejected" if verdict == "gone" else verdict
