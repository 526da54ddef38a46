"""Accept events, one by one and in batches."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from api import views
from api.access import GuardedBatchRoute, GuardedRoute, needs
from api.deps import EventEntry, EventEntryDep, event_entry
from api.errors import as_event_problem, as_problem, from_validation
from api.problems import EVENT_ID_HEADER, KEYED, NAMES_EVENT, Problem, ServiceUnavailable, document, responses
from api.schemas.events import AcceptedEvent, EventBatch, EventBatchItem, EventBatchResult
from hookkeeper import metrics
from hookkeeper.services.errors import NotAllowed
from hookkeeper.services.events.ingest import PlaceInBatch
from hookkeeper.services.events.new_event import NewEvent, OwnEventId, new_event_id

IDEMPOTENCY_KEY = "idempotency-key"
IdempotencyKey = Annotated[OwnEventId | None, Header(description="The event's id, if the body has none")]
IF_MATCH = "if-match"
IfMatch = Annotated[Literal["*"] | None, Header(description="`*`: answer 412 to an event that was not accepted before")]
MISSING = {"type": "missing", "loc": ("body",), "msg": "Field required"}
MAX_CONCURRENT_EVENTS = 100
"""Events of a batch that are accepted at the same time. They fill two shared runs."""


class _Headers(BaseModel):
    key: OwnEventId | None = Field(alias=IDEMPOTENCY_KEY)
    if_match: Literal["*"] | None = Field(alias=IF_MATCH)


class PostEventRoute(GuardedRoute):
    """Reads the parameters of `post_event` itself. FastAPI needs a tenth of the API's CPU for it; it still reads what
    the endpoint declares, for the OpenAPI document.
    """

    may_change = False

    def endpoint_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def handle(request: Request) -> Response:
            body = await request.json() if await request.body() else None
            entry = await event_entry(request)
            event, headers = _parameters(body, request.headers)
            return await post_event(event, entry, headers.key, headers.if_match)

        return handle


def _parameters(body: Any, given: Mapping[str, str]) -> tuple[NewEvent, _Headers]:
    """Return event and headers. Raises `RequestValidationError` with the errors of both, as FastAPI does."""
    if body is None:
        raise RequestValidationError([MISSING])
    errors: list[Any] = []
    try:
        headers = _Headers.model_validate({name: given.get(name) for name in (IDEMPOTENCY_KEY, IF_MATCH)})
    except ValidationError as error:
        errors += [{**found, "loc": ("header", *found["loc"])} for found in error.errors()]
    try:
        event = NewEvent.model_validate(body)
    except ValidationError as error:
        errors += [{**found, "loc": ("body", *found["loc"])} for found in error.errors()]
    if errors:
        raise RequestValidationError(errors)
    return event, headers


router = APIRouter(prefix="/v1/events", tags=["events"], route_class=GuardedRoute, responses=KEYED)


async def post_event(
    event: NewEvent, entry: EventEntryDep, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None
) -> Response:
    """Accept an event and start delivering it.

    202 is sent once the event is committed in the registry, with all that starts its run. Posting the same id with the
    same content again returns the existing event (200, `duplicate: true`); with other content it is refused (409). An
    event that no webhook gets is accepted too, with the status `no_webhook` and a `note`.

    After a 503, the event may or may not have been accepted. The response contains its id, even if it was generated, in
    `event_id` of the problem and in the header `Hookkeeper-Event-Id`. Post the event again with that `id`.
    """
    if event.id is None and idempotency_key:
        event = event.model_copy(update={"id": idempotency_key})
    started = await entry.accept(event, only_known=if_match is not None)
    accepted = views.accepted(started, entry.links)
    if accepted.note and accepted.status == "no_webhook" and (others := await entry.others(accepted.tenant)):
        accepted.note += f" Tenants with webhooks: {', '.join(others)}."
    return Response(
        accepted.model_dump_json(),
        status_code=200 if started.duplicate else 202,
        headers={EVENT_ID_HEADER: started.state.id},
        media_type="application/json",
    )


router.add_api_route(
    "",
    post_event,
    methods=["POST"],
    status_code=202,
    response_model=AcceptedEvent,
    responses={
        200: {"model": AcceptedEvent, "description": "The event was accepted before", "headers": NAMES_EVENT},
        202: {"headers": NAMES_EVENT},
        **{status: answer | {"headers": NAMES_EVENT} for status, answer in responses(409, 410, 412, 503).items()},
    },
    dependencies=[needs("events:write")],
    route_class_override=PostEventRoute,
)


async def post_batch(batch: EventBatch, entry: EventEntryDep, if_match: IfMatch = None) -> EventBatchResult:
    """Accept up to 1,000 events. The response has one item for each event, in the same order; each is accepted or
    refused independently of the others.

    Events are accepted concurrently, but ordered webhooks receive them in the order of the batch.
    """
    return EventBatchResult(items=await BatchIngest(entry, batch.events, only_known=if_match is not None).accept())


router.add_api_route(
    "/batch",
    post_batch,
    methods=["POST"],
    status_code=207,
    dependencies=[needs("events:write")],
    route_class_override=GuardedBatchRoute,
)


class BatchIngest:
    """One for each batch."""

    def __init__(self, entry: EventEntry, events: Sequence[Any], *, only_known: bool = False) -> None:
        self._caller, self._ingest, self._links = entry
        self._events = events
        self._only_known = only_known
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_EVENTS)
        self._earlier = _EarlierEvents(len(events))
        self._outage: Exception | None = None

    async def accept(self) -> list[EventBatchItem]:
        """Accept all events; return their answers in order."""
        async with asyncio.TaskGroup() as group:
            accepting = [group.create_task(self._accept_at(n, event)) for n, event in enumerate(self._events)]
        return [task.result() for task in accepting]

    async def _accept_at(self, position: int, raw: Any) -> EventBatchItem:
        try:
            async with self._slots:
                place = PlaceInBatch(self._earlier.before(position), partial(self._earlier.end, position))
                return await self._accept(raw, place)
        finally:
            self._earlier.end(position)

    async def _accept(self, raw: Any, place: PlaceInBatch) -> EventBatchItem:
        """Accept one event.

        After an outage, later events are not tried, since each would wait as long. They get the same answer, with
        their own ids.
        """
        try:
            event = self._caller.with_tenant(NewEvent.model_validate(raw))
        except ValidationError as error:
            return _refused(from_validation(error.errors(), NewEvent))
        except NotAllowed as error:
            return _refused(as_problem(error))
        event_id = event.id or new_event_id()
        try:
            if self._outage:
                raise self._outage
            started = await self._ingest.accept(event, event_id, place, only_known=self._only_known)
        except Exception as error:  # noqa: BLE001 - `as_event_problem` logs what is a bug
            problem = as_event_problem(error, event_id)
            if problem.status_code == ServiceUnavailable.status:
                self._outage = self._outage or error
            return _refused(problem)
        accepted = views.accepted(started, self._links)
        return EventBatchItem(status=200 if started.duplicate else 202, event=accepted)


class _EarlierEvents:
    """Tells the events of a batch when all before them have their places in the order, or need none.

    Each would otherwise wait for up to 999 others.
    """

    def __init__(self, size: int) -> None:
        self._ended = [False] * size
        self._first_open = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}

    def before(self, position: int) -> asyncio.Future[None]:
        """Return a future that is done when all events before this position have their places."""
        earlier = self._waiting[position] = asyncio.get_running_loop().create_future()
        self._tell()
        return earlier

    def end(self, position: int) -> None:
        self._ended[position] = True
        while self._first_open < len(self._ended) and self._ended[self._first_open]:
            self._first_open += 1
        self._tell()

    def _tell(self) -> None:
        if (earlier := self._waiting.get(self._first_open)) and not earlier.done():
            earlier.set_result(None)


def _refused(problem: Problem) -> EventBatchItem:
    metrics.count_refusal(problem.kind)
    return EventBatchItem(status=problem.status_code, problem=document(problem))
