"""The router in front of several cells: sends each request of `/v1` to the cell that has its tenant (decision 53).

It keeps nothing. A request names its tenant by its key, else in the body or the query. The keys of a tenant end in the
cell that it leaves. What the tenant reads and steers there is asked for with the admin key, on behalf of the tenant.
"""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import structlog
from cachetools import LRUCache, TTLCache
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.authenticator import FOR_TENANT, WITH_SCOPES
from api.errors import unavailable
from api.problems import (
    Forbidden,
    Malformed,
    Missing,
    Problem,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    as_response,
    document,
)
from api.requests import MAX_BATCH_BYTES, PARSED_ON_LOOP, StrictRequest
from api.strict_json import parse
from extensions.cells import cell_map
from extensions.cells.cell_map import BadCellMap, CellMap, Place
from hookkeeper import metrics
from hookkeeper.asyncio_tasks import in_background
from hookkeeper.limits import TenantLimit, TooManyWaiting
from hookkeeper.settings import MIB

CELL = "hookkeeper-cell"
"""The header by which a request chooses its cell."""
EVENTS, BATCH, CURRENT_KEY = "/v1/events", "/v1/events/batch", "/v1/keys/current"
TENANTS, APPLICATIONS = "/v1/tenants", "/api/v1/app"
NAMING_TENANT = re.compile(rf"(?:{TENANTS}|{APPLICATIONS}|/api/v1/auth/(?:app-portal|dashboard)-access)/([^/]+).*")
"""Paths that name their tenant."""
STAYING = re.compile(rf"/v1/(events|recoveries)/(?!stream$|batch$)[^/]+.*|{APPLICATIONS}/[^/]+/(attempt/)?msg/[^/]+.*")
"""Paths of objects that stay in the cell which made them."""
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
READS = frozenset({"GET", "HEAD"})
NOT_FORWARDED = frozenset(
    {b"host", b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect"}
    | {b"content-length", b"x-forwarded-for", b"x-forwarded-proto"}
    | {name.encode() for name in (CELL, FOR_TENANT, WITH_SCOPES)}
)
NOTHING: Mapping[str, str] = {}
IF_KNOWN = {"if-match": "*"}
"""The condition that an event was accepted before."""
NOT_RETURNED = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"date", b"server"})
TRUSTED = 5.0
"""Seconds for which a key is not looked up again: for this time, a revoked one still reaches cells."""
MAX_KEYS = 10_000
LOOK_INTERVAL = 1.0
"""Seconds after which the file of the map is looked at again."""
TIMEOUT = httpx.Timeout(60.0, connect=3.0)
"""Seconds. A stream has a message in each fifteen."""
PER_KEY, WAITING_PER_KEY = 50, 500
"""Requests of a key that are sent at once, and that wait."""
BATCHES, BATCHES_PER_KEY, PARSERS = 16, 4, 3
"""Batches in memory, and bodies that are parsed at the same time."""
log = structlog.get_logger("hookkeeper.router")


class KeyOwner(NamedTuple):
    """The digest of a key, its tenant, None for all tenants, and its scopes."""

    digest: str
    tenant: str | None
    scopes: tuple[str, ...]


class Cells:
    """A client of all cells, by the map as it is now."""

    def __init__(self, path: Path, http: httpx.AsyncClient) -> None:
        """Raises BadCellMap."""
        self._path = path
        self._http = http
        self.map: CellMap = cell_map.read(path)

    async def watch(self) -> None:
        """Read the map again whenever its file changes. A bad one is reported, and the previous one stays."""
        seen = None
        while True:
            try:
                found = await asyncio.to_thread(self._path.stat)
                if (changed := (found.st_mtime_ns, found.st_ino, found.st_size)) != seen:
                    self.map, seen = await asyncio.to_thread(cell_map.read, self._path), changed
            except (OSError, BadCellMap) as error:
                log.error("the map of cells is not read again", detail=str(error))
            await asyncio.sleep(LOOK_INTERVAL)

    async def send(
        self,
        cell: str,
        request: Request,
        body: bytes = b"",
        path: str = "",
        method: str = "",
        headers: Mapping[str, str] = NOTHING,
    ) -> httpx.Response:
        """Send a request on, or another one in its name, and return the answer once it begins. Raises a Problem.

        `headers` take the place of those with the same names.
        """
        if (known := self.map.cells.get(cell)) is None:
            raise Malformed(f"There is no cell {cell[:64]!r}. Cells are {', '.join(self.map.cells)}.")
        replaced = NOT_FORWARDED.union(name.encode() for name in headers)
        given = [(name, value) for name, value in request.headers.raw if name not in replaced]
        given.append((b"x-forwarded-for", (request.client.host if request.client else "").encode()))
        given.append((b"x-forwarded-proto", request.url.scheme.encode()))
        given += [(name.encode(), value.encode()) for name, value in headers.items()]
        target = path.encode() or request.scope["raw_path"] + b"?" + request.scope["query_string"]
        url = httpx.URL(known.url).copy_with(raw_path=target.rstrip(b"?"))
        try:
            sent = self._http.build_request(method or request.method, url, headers=given, content=body)
            answer = await self._http.send(sent, stream=True)
            metrics.ROUTED.labels(cell, f"{answer.status_code // 100}xx").inc()
            return answer
        except (httpx.TransportError, httpx.InvalidURL) as error:
            metrics.ROUTED.labels(cell, "none").inc()
            log.warning("a cell does not answer", cell=cell, error=repr(error))
            raise unavailable(f"Cell {cell} does not answer.") from None


class Keys:
    """Finds out whose the keys are, by asking the cells."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._known: TTLCache[str, KeyOwner | Problem] = TTLCache(MAX_KEYS, ttl=TRUSTED)
        self._found_in: LRUCache[str, str] = LRUCache(MAX_KEYS)
        self._asking: dict[str, asyncio.Task[KeyOwner]] = {}

    async def owner(self, request: Request) -> KeyOwner:
        """Return whose key the request has. Raises a Problem; Unauthorized if it is not valid where its tenant is."""
        digest = sha256(request.headers.get("authorization", "").encode()).hexdigest()
        if (known := self._known.get(digest)) is None:
            if (task := self._asking.get(digest)) is None:
                task = self._asking[digest] = asyncio.create_task(self._ask(digest, request))
                task.add_done_callback(lambda _: self._asking.pop(digest, None))
            return await asyncio.shield(task)
        if isinstance(known, Problem):
            raise known
        return known

    async def _ask(self, digest: str, request: Request) -> KeyOwner:
        first = self._found_in.get(digest, self._cells.map.default)
        asked = [first, *(name for name in self._cells.map.cells if name != first)]
        problem: Problem = Unauthorized("No cell knows this key.")
        while asked:
            cell = asked.pop(0)
            try:
                answer = await self._cells.send(cell, request, path=CURRENT_KEY, method="GET")
            except ServiceUnavailable as error:
                problem = error
                continue
            text = await _read(answer)
            if answer.status_code == 200:
                found = json.loads(text)
                tenant = found["tenant"]
                if tenant is None or self._cells.map.place(tenant).cell == cell:
                    self._found_in[digest] = cell
                    self._known[digest] = owner = KeyOwner(digest, tenant, tuple(found["scopes"]))
                    return owner
                asked = [self._cells.map.place(tenant).cell]
            elif answer.status_code == 401 and isinstance(problem, Unauthorized):
                problem = Unauthorized(json.loads(text)["detail"])
            elif answer.status_code == 429:
                retry = {"retry-after": answer.headers.get("retry-after", "1")}
                problem = TooManyRequests(json.loads(text)["detail"], headers=retry)
                if self._found_in.get(digest) == cell:  # elsewhere, it can be a key that has ended there
                    raise problem
            elif answer.status_code >= 500:
                problem = unavailable(f"Cell {cell} cannot look up the key.")
        if isinstance(problem, Unauthorized):
            self._known[digest] = problem
        raise problem


class Router:
    """One for the process."""

    def __init__(self, cells: Cells, admin_key: str) -> None:
        self._cells = cells
        self._admin_key = admin_key
        self._keys = Keys(cells)
        self._requests = TenantLimit(per_tenant=PER_KEY, max_waiting=WAITING_PER_KEY)
        self._batches = TenantLimit(BATCHES, per_tenant=BATCHES_PER_KEY)
        self._parsers = TenantLimit(PARSERS)

    async def handle(self, request: Request) -> Response:
        """Answer a request: with what a cell answers, or with a problem document."""
        try:
            path = request.url.path
            if not path.startswith(("/v1/", "/api/v1/")) or "/../" in f"{path}/":
                raise Missing(
                    "The router serves /v1 and /api/v1 only. The dashboard and /docs are at the address of each cell."
                )
            key = await self._keys.owner(request)
            async with (self._batches if path == BATCH else self._requests).slot(key.digest):
                return await self._route(request, key)
        except TooManyWaiting:
            return as_response(TooManyRequests("Too many requests of this key wait.", headers={"retry-after": "1"}))
        except Problem as problem:
            return as_response(problem)

    async def _route(self, given: Request, key: KeyOwner) -> Response:
        request = StrictRequest(given.scope, given.receive)
        request.limit = MAX_BATCH_BYTES if request.url.path == BATCH else MIB
        body, path = await request.body(), request.url.path
        if cell := request.headers.get(CELL):
            self._check_choice(cell, request, key)
            return _Streamed(await self._send(cell, request, body, key))
        if request.method == "POST" and path == BATCH:
            return await self._batch(request, body, key)
        place = self._cells.map.place(key.tenant or await self._tenant_of(request, body, key))
        if request.method == "POST" and path == EVENTS:
            return await self._event(request, body, key, place)
        if place.moving_to and request.method not in READS and not path.startswith(f"{EVENTS}/"):
            raise unavailable("The tenant is moved to another cell: nothing can be changed for a moment.")
        earlier = place.earlier() if STAYING.fullmatch(path) else []
        return await self._first(request, body, key, [place.cell, *earlier], 404)

    def _check_choice(self, cell: str, request: Request, key: KeyOwner) -> None:
        """Raise Forbidden if a tenant chooses a cell that it has never been in, or is to do more than read there."""
        if key.tenant is None:
            return
        place = self._cells.map.place(key.tenant)
        if request.method not in READS or cell not in (place.cell, *place.earlier()):
            raise Forbidden("With the key of a tenant, Hookkeeper-Cell is for reading, and for the cells that had it.")

    async def _send(
        self, cell: str, request: Request, body: bytes, key: KeyOwner, headers: Mapping[str, str] = NOTHING
    ) -> httpx.Response:
        """Send a request on: to a cell that its tenant has left, on behalf of the tenant."""
        if key.tenant is not None and self._cells.map.place(key.tenant).cell != cell:
            scopes = " ".join(key.scopes)
            own = {"authorization": f"Bearer {self._admin_key}", FOR_TENANT: key.tenant, WITH_SCOPES: scopes}
            headers = {**headers, **own}
        return await self._cells.send(cell, request, body, headers=headers)

    async def _tenant_of(self, request: Request, body: bytes, key: KeyOwner) -> str:
        """Return the tenant that path, body or query names. Raises Malformed."""
        path = request.url.path
        if named := NAMING_TENANT.fullmatch(path):
            return named[1]
        given = await self._parsed(body, key) if body else None
        name = {TENANTS: "id", APPLICATIONS: "uid"}.get(path, "tenant")
        tenant = (given.get(name) if isinstance(given, dict) else None) or request.query_params.get("tenant")
        if not isinstance(tenant, str):
            raise Malformed(
                "The key is one of all tenants, which are in several cells. Name one in the body or the query, or"
                f" choose a cell with the header Hookkeeper-Cell: {', '.join(self._cells.map.cells)}."
            )
        return tenant

    async def _event(self, request: Request, body: bytes, key: KeyOwner, place: Place) -> Response:
        """Send an event where its id was accepted before, else to the present cell."""
        cells = [place.cell]
        if earlier := place.earlier():
            event = await self._parsed(body, key)
            if request.headers.get("idempotency-key") or _id_of(event):
                cells = [*earlier, place.cell]
        return await self._first(request, body, key, cells, 412, IF_KNOWN)

    async def _first(
        self,
        request: Request,
        body: bytes,
        key: KeyOwner,
        cells: Sequence[str],
        passing: int,
        condition: Mapping[str, str] = NOTHING,
    ) -> Response:
        """Return the first answer that has another status than this, or that of the last cell, without condition."""
        for cell in cells[:-1]:
            answer = await self._send(cell, request, body, key, condition)
            if answer.status_code != passing:
                return _Streamed(answer)
            await _read(answer)
        return _Streamed(await self._send(cells[-1], request, body, key))

    async def _batch(self, request: Request, body: bytes, key: KeyOwner) -> Response:
        """Divide a batch among the cells of its events, and put their answers together."""
        given = await self._parsed(body, key, is_batch=True)
        events = given.get("events") if isinstance(given, dict) else None
        if not isinstance(events, list) or not events:
            cell = self._cells.map.place(key.tenant or "").cell
            return _Streamed(await self._cells.send(cell, request, body))  # which refuses it
        routes = [self._route_of(event, key) for event in events]
        if len({*map(tuple, routes)}) == 1 and len(routes[0]) == 1:
            return _Streamed(await self._send(routes[0][0], request, body, key))
        items: list[Any] = [None] * len(events)
        while groups := _next_groups(routes, items):
            sent = [self._part(request, events, key, *group) for group in groups.items()]
            for (_, numbers), answers in zip(groups.items(), await asyncio.gather(*sent), strict=True):
                for n, item in zip(numbers, answers, strict=True):
                    route = routes[n] = routes[n][1:]
                    if not (route and item["status"] == 412):
                        items[n] = item
        return JSONResponse({"items": items}, 207)

    def _route_of(self, event: Any, key: KeyOwner) -> list[str]:
        """Return the cells that may have accepted the event, and at the end the one that accepts it."""
        tenant = key.tenant or (event.get("tenant") if isinstance(event, dict) else None)
        if not isinstance(tenant, str):
            raise Malformed("The key is one of all tenants: each event of a batch has to name its tenant.")
        place = self._cells.map.place(tenant)
        return [*(place.earlier() if _id_of(event) else ()), place.cell]

    async def _part(
        self, request: Request, events: list[Any], key: KeyOwner, to: tuple[str, bool], numbers: list[int]
    ) -> list[dict[str, Any]]:
        """Send some of the events to a cell; return an item for each."""
        cell, only_known = to
        body = await asyncio.to_thread(json.dumps, {"events": [events[n] for n in numbers]}, ensure_ascii=False)
        try:
            answer = await self._send(cell, request, body.encode(), key, IF_KNOWN if only_known else NOTHING)
            found = json.loads(await _read(answer))
            if answer.status_code == 207:
                return found["items"]  # type: ignore[no-any-return]
        except Problem as problem:
            found = document(problem).model_dump()
        return [{"status": found["status"], "event": None, "problem": found}] * len(numbers)

    async def _parsed(self, body: bytes, key: KeyOwner, *, is_batch: bool = False) -> Any:
        """Parse as the API does, in a thread if it may take long. Raises a Problem."""
        if len(body) <= PARSED_ON_LOOP:
            return parse(body, is_batch=is_batch)
        async with self._parsers.slot(key.digest):
            return await asyncio.to_thread(parse, body, is_batch=is_batch)


def _next_groups(routes: Sequence[Sequence[str]], items: Sequence[Any]) -> dict[tuple[str, bool], list[int]]:
    """Group the events without an answer by their next cell, and by whether it is not their last one."""
    groups: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for n, (route, item) in enumerate(zip(routes, items, strict=True)):
        if item is None:
            groups[route[0], len(route) > 1].append(n)
    return groups


def _id_of(event: Any) -> Any:
    return event.get("id") if isinstance(event, dict) else None


async def _read(answer: httpx.Response) -> bytes:
    try:
        return await answer.aread()
    except httpx.TransportError:
        raise unavailable("A cell has not finished its answer.") from None
    finally:
        await answer.aclose()


class _Streamed(StreamingResponse):
    """Passes the answer of a cell on as it comes. One that breaks off ends the connection."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(answer.aiter_raw(), answer.status_code)
        self._answer = answer
        given = [(name.lower(), value) for name, value in answer.headers.raw]
        self.raw_headers = [(name, value) for name, value in given if name not in NOT_RETURNED]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._answer.aclose()


def create_router(cells: Cells, admin_key: str, stopping: asyncio.Event) -> Starlette:
    """Make the app. `admin_key` is that of all cells. Once `stopping` is set, the app is not ready."""

    async def is_alive(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def is_ready(_: Request) -> Response:
        ready = not stopping.is_set()
        return JSONResponse({"status": "ok" if ready else "stopping"}, 200 if ready else 503)

    return Starlette(
        routes=[
            Route("/healthz", is_alive),
            Route("/readyz", is_ready),
            Route("/{path:path}", Router(cells, admin_key).handle, methods=METHODS),
        ],
        lifespan=lambda _: in_background(cells.watch(), "map of cells"),
    )
