"""What came of a test event, for the page of its webhook."""

from typing import NamedTuple

from api import views
from api.schemas.events import DeliveryView
from hookkeeper.content.json_text import readable
from hookkeeper.links import LinkBuilder
from hookkeeper.registry.models import Webhook
from hookkeeper.services.caller import Caller
from hookkeeper.temporal.error_translation import Unavailable, UnknownEvent
from hookkeeper.temporal.gateway import Gateway

MAX_DATA_IN_FORM = 16 * 1024
"""Characters of an event's data that the form for the next test has."""


class Answer(NamedTuple):
    """A test event and its deliveries. Without deliveries, `text` says why."""

    event_id: str
    text: str = ""
    status: str = ""
    type: str = ""
    data: str = ""
    deliveries: tuple[DeliveryView, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether a receiver has not answered yet."""
        return any(not delivery.attempts and delivery.status == "pending" for delivery in self.deliveries)


async def read_answer(
    event_id: str, webhook: Webhook, gateway: Gateway, links: LinkBuilder, caller: Caller
) -> Answer | None:
    """Return what came of a test event; None if there is none of this id."""
    if "events:read" not in caller.scopes:
        return Answer(event_id, "The test event was accepted.")
    try:
        snapshot = await gateway.read(webhook.tenant, event_id)
    except UnknownEvent:
        return None
    except Unavailable:
        return Answer(event_id, "The test event was accepted. Its deliveries cannot be read now.")
    event = views.event(snapshot, links)
    data = readable(snapshot.event.data, MAX_DATA_IN_FORM + 1)  # no more than is shown
    return Answer(
        event_id,
        status=event.status,
        type=event.type,
        data=data if len(data) <= MAX_DATA_IN_FORM else "",
        deliveries=tuple(delivery for delivery in event.deliveries if delivery.webhook_id == webhook.id),
    )
