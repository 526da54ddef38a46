"""Is the process alive, and can it do its work?"""

import asyncio

from fastapi import APIRouter

from api.deps import GatewayDep, StoreDep
from api.problems import responses

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer as long as the process lives."""
    return {"status": "ok"}


@router.get("/readyz", responses=responses(503))
async def readyz(gateway: GatewayDep, store: StoreDep) -> dict[str, str]:
    """Answer 200 when Temporal and the registry do, and the namespace has our search attributes.

    `rates` says who keeps the rates of webhooks: Temporal's task `queue`, or `timers` where the server's fairness does
    not work; `unknown` until a worker has found that out.
    """
    await asyncio.gather(gateway.ping(), store.ready())
    return {"status": "ready", "rates": await gateway.readiness()}
