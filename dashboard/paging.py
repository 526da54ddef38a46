"""The links between the pages of a list. They keep its filters."""

from typing import Any

from fastapi import Request

from api.cursors import PageCursor
from dashboard.rendering import query

NOT_FILTERS = frozenset({"cursor", "done", "test"})
"""Parameters of a list that say where it begins, and what was done before it was opened."""


def given_filters(request: Request) -> dict[str, list[str]]:
    """Return the filters of a list, with their values."""
    return {name: request.query_params.getlist(name) for name in request.query_params if name not in NOT_FILTERS}


def paging(request: Request, path: str, cursor: PageCursor, older: str | None) -> dict[str, Any]:
    """Return what templates need for the links of a page at this path; `older` is the cursor of the next page."""
    given = given_filters(request)
    return {
        "older": older and query(path, **given, cursor=older),
        "newest": query(path, **given),
        "is_first": cursor.start is None,
        "is_filtered": bool(given),
        "given": request.query_params,
    }
