"""Sends notifications to a service such as Slack, or to any HTTP API."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from hookkeeper.content import services
from hookkeeper.content.notifications import RenderedHttpCall, RenderedNotification
from hookkeeper.egress import http
from hookkeeper.egress.scrubbing import MARGIN, scrubbed_excerpt, shown_headers
from hookkeeper.messages import outcomes
from hookkeeper.messages.outcomes import MAX_HEADERS, Verdict
from hookkeeper.version import USER_AGENT

_RETRY_AFTER = re.compile(rb'"retry_after"\s*:\s*([0-9.]{1,20})')
"""In the body of Telegram's responses, and of Discord's."""


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """The result of one notification, without secrets of its request."""

    verdict: Verdict
    status_code: int | None
    error: str | None
    """As in `hookkeeper.egress.http.HttpAnswer`, or `not_accepted`: a 2xx response of a service with an error in it."""
    text: str
    retry_after: float | None
    started_at: datetime
    duration_ms: float
    connect_ms: float | None
    first_byte_ms: float | None
    headers: Mapping[str, str] = field(default_factory=dict)


class Notifier:
    """Sends both kinds of notifications."""

    def __init__(self, client: httpx.AsyncClient) -> None:
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
        """Send within `timeout` seconds; keep `keep` bytes of the response and `keep_headers` of its headers.

        Raises for internal errors only. `waited`: seconds already waited for slots of the tenant.
        """
        service = notification.service if isinstance(notification, RenderedNotification) else None
        call = notification.call() if isinstance(notification, RenderedNotification) else notification
        answer = await http.send(
            self._http,
            call.method,
            call.url,
            body=call.body,
            headers=call.headers | {"user-agent": USER_AGENT},
            timeout=timeout,
            keep=keep + MARGIN,
            tenant=tenant,
            waited=waited,
        )
        verdict, error, retry_after = answer.verdict, answer.error, answer.retry_after
        secrets = call.headers
        if service is not None:
            secrets = secrets | services.secrets_of(service)
            if error is None and not services.is_accepted(service, answer.body):
                verdict, error = "failed", "not_accepted"
            if retry_after is None and (seconds := _RETRY_AFTER.search(answer.body)):
                retry_after = outcomes.parse_retry_after(seconds[1].decode(), datetime.now(UTC))
        return ServiceAnswer(
            # A 410 of another API does not disable the webhook.
            verdict="rejected" if verdict == "gone" else verdict,
            status_code=answer.status_code,
            error=error,
            # Many receivers repeat the path of an unknown URL.
            text=scrubbed_excerpt(answer.body, keep, call.url, secrets, path=True),
            retry_after=retry_after,
            started_at=answer.started_at,
            duration_ms=answer.duration_ms,
            connect_ms=answer.connect_ms,
            first_byte_ms=answer.first_byte_ms,
            headers=shown_headers(answer.all_headers, keep_headers, call.url, secrets, path=True),
        )
