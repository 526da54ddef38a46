"""The stream of events for pages: a browser sends the cookie of its session, and cannot send a key."""

from collections.abc import AsyncIterable

from fastapi import APIRouter, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.access import needs
from api.filters import SubscriptionDep
from api.state import state_of
from dashboard.routes import PageRoute

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/live", response_class=EventSourceResponse, dependencies=[needs("events:read")])
async def follow_events(request: Request, stream: SubscriptionDep) -> AsyncIterable[ServerSentEvent]:
    """Stream what changes, as `GET /v1/events/stream` does."""
    async for message in state_of(request).feed.messages(stream):
        yield message
