"""The stream of events: what changes, as it happens."""

from collections.abc import AsyncIterable

from fastapi import APIRouter, Request
from fastapi.sse import EventSourceResponse

from api.access import GuardedRoute, needs
from api.filters import SubscriptionDep
from api.problems import KEYED
from api.schemas.events import EventChange
from api.state import state_of

EXAMPLE = {
    "examples": {
        "messages": {
            "value": "event: ready\ndata: {}\nid: 3q2-7wAAAAAAAAAAAAAAAA\nretry: 3000\n\n"
            'event: event\ndata: {"id":"order-4711","type":"order.paid",…}\nid: 4u3-8wAAAAAAAAAAAAAAAA\n\n'
        }
    }
}
router = APIRouter(prefix="/v1/events", tags=["events"], route_class=GuardedRoute, responses=KEYED)


@router.get(
    "/stream",
    response_class=EventSourceResponse,
    responses={200: {"description": "Server-sent events", "content": {"text/event-stream": EXAMPLE}}},
    dependencies=[needs("events:read")],
)
async def stream_events(request: Request, stream: SubscriptionDep) -> AsyncIterable[EventChange]:
    """Follow new events and the outcomes of attempts, as server-sent events, about a second behind.

    - `ready`: the stream has begun, or goes on after `unavailable`. What was accepted before is in `GET /v1/events`.
    - `event`: an event was accepted, or has changed. `data` is an `EventChange`: the event as it is now, and those of
      its deliveries that have changed. Changes within a second are one message.
    - `reset`: more has changed than can be sent, or the stream was resumed too late. Read the list again.
    - `unavailable`: the registry is unavailable. The stream goes on when it is back.

    The filters are those of the list; `webhook` and `delivery_status` have to be met by one delivery that has changed.

    A stream ends after 15 minutes, when its key is revoked, when the process stops, and when its reader is too slow.
    Connect again with the last `id` in `Last-Event-ID`, as browsers do: no message is left out or repeated. The log of
    changes has the last minutes; after a `reset`, read the list.
    """
    async for message in state_of(request).feed.messages(stream):
        yield message  # type: ignore[misc]  # the annotation is the schema of its data
