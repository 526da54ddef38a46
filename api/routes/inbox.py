"""The address of an inbox: it takes requests without a key."""

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from api.inboxes import MAX_BODY, PathToken, ReceivedRequest
from api.requests import StrictRoute
from api.state import state_of
from hookkeeper.services.errors import NotFound
from hookkeeper.times import utc_now


class InboxRoute(StrictRoute):
    max_body_bytes = MAX_BODY


router = APIRouter(prefix="/inbox", include_in_schema=False, route_class=InboxRoute)


@router.post("/{token}")
async def receive(request: Request, token: PathToken) -> PlainTextResponse:
    """Keep a request and answer 200."""
    state = state_of(request)
    tenant = state.inboxes.tenant_of(token) if state.settings.inboxes else None
    if tenant is None:
        raise NotFound("There is no such inbox.")
    await state.inboxes.count(tenant)
    with state.inboxes.reading(tenant):
        body = b"".join([chunk async for chunk in request.stream()])
    state.inboxes.add(token, tenant, ReceivedRequest(utc_now(), dict(request.headers), body))
    return PlainTextResponse("ok")
