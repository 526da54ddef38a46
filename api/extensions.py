"""Extensions of the API: each adds routes, and is known by its entry point only.

A package names its extension in the entry points `hookkeeper.api` (docs/extensions.md). The core imports none.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points

from fastapi import APIRouter, Request, Response
from starlette.types import ASGIApp

from api.problems import Problem, as_response
from hookkeeper.settings import Settings

GROUP = "hookkeeper.api"
EVENTS, BATCH = "/v1/events", "/v1/events/batch"
"""Where the core takes events."""


def _always(_: Settings) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Extension:
    """An extension of the API."""

    routers: Sequence[APIRouter]
    event_router: APIRouter | None = None
    """A router for paths where events are posted: requests are compared with it before all others but `/v1/events`."""
    event_path: re.Pattern[str] | None = None
    """The paths where it takes events, one in each request."""
    keyless: frozenset[str] = frozenset()
    """Paths of its routes that need no key."""
    untraced: tuple[str, ...] = ()
    """Beginnings of paths that have a secret in them."""
    middleware: Sequence[Callable[[ASGIApp], ASGIApp]] = ()
    prefix: str | None = None
    """The beginning of its paths, if errors there have a form of their own."""
    render: Callable[[Problem, Request], Response] = lambda problem, _: as_response(problem)
    """Writes a problem in that form."""
    unknown_page: Callable[[Request], Awaitable[Response]] | None = None
    """Answers a reader who opens an address that has no page."""
    is_on: Callable[[Settings], bool] = _always


class Extensions:
    """The extensions of an app."""

    def __init__(self, settings: Settings) -> None:
        found = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
        loaded: list[Extension] = [entry.load() for entry in found]
        self._all = [extension for extension in loaded if extension.is_on(settings)]
        self.event_routers = [each.event_router for each in self._all if each.event_router]
        self.routers = [router for each in self._all for router in each.routers]
        self.middleware = [middleware for each in self._all for middleware in each.middleware]
        self.keyless = frozenset[str]().union(*(each.keyless for each in self._all))
        self.untraced = tuple(start for each in self._all for start in each.untraced)
        self.unknown_page = next((each.unknown_page for each in self._all if each.unknown_page), None)
        self.prefixes = tuple(f"{each.prefix}/" for each in self._all if each.prefix)

    def takes_event(self, path: str) -> bool:
        """Return whether single events are posted to this path."""
        return path == EVENTS or any(each.event_path and each.event_path.fullmatch(path) for each in self._all)

    def takes_events(self, path: str) -> bool:
        """Return whether events are posted to this path, one or many in a request."""
        return path == BATCH or self.takes_event(path)

    def render(self, problem: Problem, request: Request) -> Response:
        """Write a problem in the form of its path."""
        path = request.url.path
        render = next((each.render for each in self._all if each.prefix and path.startswith(f"{each.prefix}/")), None)
        return render(problem, request) if render else as_response(problem)
