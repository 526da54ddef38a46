"""Svix's API as an extension."""

import re

from api.extensions import Extension
from extensions.svix import applications, attempts, endpoints, event_types, messages
from extensions.svix.base import SvixCors, SvixPaths
from extensions.svix.errors import PREFIX, as_svix

EXTENSION = Extension(
    event_router=messages.router,
    event_path=re.compile(rf"{PREFIX}/app/[^/]+/msg"),
    routers=(
        applications.router,
        endpoints.router,
        attempts.router,
        event_types.router,
        applications.health_router,
    ),
    keyless=frozenset({f"{PREFIX}/health", f"{PREFIX}/health/ping"}),
    middleware=(SvixPaths, SvixCors),
    prefix=PREFIX,
    render=as_svix,
    is_on=lambda settings: settings.svix_api,
)
