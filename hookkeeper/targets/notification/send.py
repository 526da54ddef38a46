"""An attempt at a notification: it goes to its service, or to an HTTP API."""

from hookkeeper.content.notifications import Notification, RenderedHttpCall, RenderedNotification
from hookkeeper.egress.notifier import Notifier
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.targets.sending import Clients, OpenAttempt


class NotificationSender:
    def __init__(self, clients: Clients) -> None:
        self._notifier = Notifier(clients.http)

    async def send(
        self,
        item: Notification,
        content: RenderedNotification | RenderedHttpCall,
        attempt: OpenAttempt,
        waited: float,
    ) -> Outcome:
        """Make the request."""
        answer = await self._notifier.send(
            content,
            attempt.timeout,
            attempt.excerpt_limit,
            keep_headers=attempt.headers_limit,
            tenant=attempt.event.tenant,
            waited=waited,
        )
        return attempt.outcome(answer, answer.text, item.target, response_headers=answer.headers)
