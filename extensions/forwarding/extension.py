"""Forwarding as an extension of the API."""

from api.extensions import Extension
from extensions.forwarding.routes import ADDRESS, address_router, answer_router, router

EXTENSION = Extension(
    routers=(router, answer_router, address_router),
    keyless=frozenset({f"{ADDRESS}/{{token}}"}),
    untraced=(f"{ADDRESS}/",),
)
