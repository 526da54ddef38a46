"""Liveness and readiness."""

import asyncio
from typing import Any

from fastapi import APIRouter

from api.deps import GatewayDep, StoreDep
from api.problems import responses

router = APIRouter(tags=["health"])


def _answers(example: dict[str, str]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"examples": {"ok": {"value": example}}}}}}


@router.get("/healthz", summary="Check liveness", responses=_answers({"status": "ok"}))
async def healthz() -> dict[str, str]:
    """Answer 200 as long as the process runs."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Check readiness",
    responses=_answers({"status": "ready", "workers": "running"}) | responses(503),
)
async def readyz(gateway: GatewayDep, store: StoreDep) -> dict[str, str]:
    """Answer 200 if Temporal and the registry are available and the namespace has Hookkeeper's search attributes.

    `workers` is `none` while no worker asks for tasks: events are accepted, and wait.
    """
    _, _, has_worker = await asyncio.gather(gateway.readiness.ping(), store.ready(), gateway.readiness.has_worker())
    await gateway.readiness.check_namespace()
    return {"status": "ready", "workers": "running" if has_worker else "none"}
