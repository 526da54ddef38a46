"""Which methods a path knows."""

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts


def methods_at(app: FastAPI, path: str) -> str:
    """List them as `Allow` has it. Starlette names those of one route, and a path can have a route for each method."""
    found: set[str] = set()
    for context in iter_route_contexts(app.routes):
        if context.methods and context.path_regex.match(path):
            found |= context.methods
    return ", ".join(sorted(found))
