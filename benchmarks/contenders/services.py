"""The supervised processes of the contenders other than Hookkeeper."""

import sys
from collections.abc import Awaitable, Callable, Mapping

import httpx

from benchmarks.contenders.contender import is_ready
from drills.supervisor import Service


def python_service(name: str, module: str, ready: Callable[[], Awaitable[bool]], env: Mapping[str, str]) -> Service:
    """Describe the process `python -m <module> <name>`."""
    return Service(name, [sys.executable, "-m", module, name], ready, env)


def api_answers(port: int) -> Callable[[], Awaitable[bool]]:
    async def answers() -> bool:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            return await is_ready(http)

    return answers
