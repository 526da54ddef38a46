"""Refuses query parameters that a route does not have. A mistyped filter would otherwise match everything."""

from fastapi import Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute


def query_names(route: APIRoute) -> frozenset[str]:
    """Return the names of the query parameters that a route declares."""
    return frozenset(
        field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, params.Query)
    )


def check_query(request: Request, known: frozenset[str]) -> None:
    """Raise `RequestValidationError` for each parameter that is not one of the known."""
    if unknown := [name for name in request.query_params if name not in known]:
        takes = f"parameters are {', '.join(sorted(known))}" if known else "this path takes no parameters"
        message = f"Unknown parameter: {takes}"
        raise RequestValidationError([{"type": "unknown", "loc": ("query", name), "msg": message} for name in unknown])
