"""Forms that begin a session, and so come without one."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response

from api.problems import Problem
from api.requests import StrictRoute
from api.state import state_of
from hookkeeper.services.errors import RateLimited

MAX_FORM_BYTES = 4096


class KeylessFormRoute(StrictRoute):
    """A form that needs no session. A larger one is not read."""

    max_body_bytes = MAX_FORM_BYTES

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_form(request: Request) -> Response:
            refusals = state_of(request).form_refusals
            try:
                return await handle(request)
            except RateLimited as error:
                return await refusals.refuse(request, error)
            except Problem:
                if refusal := await refusals.count(request):
                    return refusal
                raise

        return handle_form
