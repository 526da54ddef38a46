"""The clients that activities send with, and the sandbox that they render in: one of each for a worker process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from hookkeeper.egress import http
from hookkeeper.egress.addresses import EVERYWHERE, parse_networks
from hookkeeper.egress.resolver import Lookups
from hookkeeper.sandbox.pool import MAX_CALLS_PER_TENANT, Sandbox
from hookkeeper.settings import Settings


@dataclass(frozen=True, slots=True)
class Clients:
    guarded: httpx.AsyncClient
    """For URLs that tenants choose: it connects to allowed addresses only."""
    own: httpx.AsyncClient
    """For URLs that the operator chooses, such as that of the mail provider."""
    sandbox: Sandbox


@asynccontextmanager
async def open_clients(settings: Settings) -> AsyncIterator[Clients]:
    """Open all clients until the block ends."""
    allowed = parse_networks(settings.allowed_networks)
    proxy = settings.egress_proxy.get_secret_value() if settings.egress_proxy else None
    lookups = Lookups(settings.dns_servers)
    async with (
        http.make_client(
            allowed,
            proxy=proxy,
            lookups=lookups,
            require_https=settings.require_https,
        ) as guarded,
        http.make_client(EVERYWHERE, proxy=proxy, lookups=lookups) as own,
        Sandbox(per_tenant=MAX_CALLS_PER_TENANT) as sandbox,
    ):
        yield Clients(guarded, own, sandbox)
