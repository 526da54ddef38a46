"""Forward deliveries to a command line: create an address, stream its requests, answer them."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.sse import EventSourceResponse

from api.access import GuardedRoute, needs
from api.authenticator import with_scope
from api.deps import AddressToken, CallerDep, SettingsDep, Tenant
from api.extensions import Extension
from api.problems import KEYED, responses
from api.requests import StrictRoute
from api.state import ApiState, state_of
from extensions.forwarding.addresses import ForwardAnswer, ForwardRequest, Forwards, Stream
from hookkeeper.services.fields import ResponseModel, with_examples

MAX_BODY, MAX_ANSWER_BYTES = 2 * 1024 * 1024, 32 * 1024
"""Bytes of a request, which is the size of the largest rendered payload, and of the JSON of an answer."""
TOKEN = "QPzD6v0xH5Lh1kVb6k7Qy2v5l0a8c3FjbWU"  # noqa: S105  # an example
STREAMED = {
    "examples": {
        "messages": {
            "value": "event: ready\ndata: {}\nretry: 1000\n\nevent: request\n"
            'data: {"id":"0123456789abcdef0123456789abcdef","headers":{"webhook-id":"evt_1",…},"body":"{…}"}\n\n'
        }
    }
}


class AnswerRoute(GuardedRoute):
    max_body_bytes = MAX_ANSWER_BYTES  # whatever the size of an event is
    may_change = False


class AddressRoute(StrictRoute):
    max_body_bytes = MAX_BODY


ADDRESS = "/v1/forwards"
router = APIRouter(prefix=ADDRESS, tags=["webhooks"], route_class=GuardedRoute, responses=KEYED)
answer_router = APIRouter(prefix=ADDRESS, tags=["webhooks"], route_class=AnswerRoute, responses=KEYED)
address_router = APIRouter(prefix=ADDRESS, include_in_schema=False, route_class=AddressRoute)
"""The addresses, which need no key. An address and its stream have the same path, so that a balancer can send both to
the same process."""


class ForwardAddress(ResponseModel):
    """An address whose requests a command line takes."""

    model_config = with_examples({"token": TOKEN, "url": f"https://hooks.example/v1/forwards/{TOKEN}"})

    token: str
    url: str
    """For the `url` of a webhook. It is secret: requests to it need no key."""


def forwards_of(state: ApiState) -> Forwards:
    """Return the streams of this process."""
    if Forwards not in state.kept:
        made = Forwards(state.cursor_key, state.authenticator, state.store.tenants, state.feed.limit)
        state.kept[Forwards] = made
        state.at_end(made.close)
    forwards: Forwards = state.kept[Forwards]
    return forwards


async def _stream(request: Request, token: AddressToken, caller: CallerDep) -> AsyncIterator[Stream]:
    with_scope(caller, frozenset({"events:read"}))
    forwards = forwards_of(state_of(request))
    await forwards.check(token, caller)
    with forwards.stream(token, caller) as stream:
        yield stream


@router.post("", status_code=201, responses=responses(410), dependencies=[needs("webhooks:write")])
async def create_forward(request: Request, tenant: Tenant, caller: CallerDep, settings: SettingsDep) -> ForwardAddress:
    """Make an address for a webhook whose receiver has no public address, as `hookkeeper forward` does.

    It is not stored. Requests to it are answered with 503 while no stream is open, and with 404 when it has ended: with
    the key that made it, or with its tenant.
    """
    token = await forwards_of(state_of(request)).new(tenant, caller)
    return ForwardAddress(token=token, url=f"{settings.public_url}{ADDRESS}/{token}")


@router.get(
    "/{token}",
    response_class=EventSourceResponse,
    responses={
        200: {"description": "Server-sent events", "content": {"text/event-stream": STREAMED}},
        **responses(404),
    },
    dependencies=[needs("webhooks:write")],
)
async def stream_forwards(
    request: Request, token: AddressToken, caller: CallerDep, stream: Annotated[Stream, Depends(_stream)]
) -> AsyncIterable[ForwardRequest]:
    """Take the requests to an address, as server-sent events. It needs the scope `events:read` too.

    - `ready`: the stream has begun.
    - `request`: a delivery, with `id`, `headers` and `body`. Answer it with `PATCH` within the webhook's `timeout`.

    A new stream ends an older one of the same address.
    """
    async for message in forwards_of(state_of(request)).messages(token, stream, caller):
        yield message  # type: ignore[misc]  # the annotation is the schema of its data


@answer_router.patch("/{token}", status_code=204, responses=responses(404), dependencies=[needs("webhooks:write")])
async def answer_forward(request: Request, token: AddressToken, answer: ForwardAnswer, caller: CallerDep) -> None:
    """Answer a request that the stream has handed out. The answer becomes the outcome of the attempt."""
    forwards = forwards_of(state_of(request))
    await forwards.check(token, caller)
    forwards.answer(token, answer)


@address_router.post("/{token}")
async def receive_forward(request: Request, token: AddressToken) -> Response:
    """Hand a delivery to the command line, and answer as its receiver did."""
    forwards = forwards_of(state_of(request))
    tenant = await forwards.tenant_of(token)
    with forwards.place(tenant):
        body = b"".join([chunk async for chunk in request.stream()])
        await forwards.count(tenant, len(body))
        answer = await forwards.deliver(token, request.headers, body)
    headers = {"x-content-type-options": "nosniff"}
    if answer.retry_after:
        headers["retry-after"] = answer.retry_after
    if answer.status in (204, 205, 304):
        return Response(status_code=answer.status, headers=headers)
    return PlainTextResponse(answer.body, answer.status, headers)


EXTENSION = Extension(
    routers=(router, answer_router, address_router),
    keyless=frozenset({f"{ADDRESS}/{{token}}"}),
    untraced=(f"{ADDRESS}/",),
)
