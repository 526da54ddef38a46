"""Render templates in the sandbox, in memory that is reserved for the request."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from activities.memory_budget import WorkerMemory, request_memory
from hookkeeper.content.context import Context
from hookkeeper.content.errors import ContentError
from hookkeeper.content.sizes import RenderLimits
from hookkeeper.sandbox.pool import Sandbox


class Rendered(Protocol):
    """A rendered email, notification or body."""

    @property
    def size(self) -> int:
        """Bytes."""


Template = TypeVar("Template")
Content = TypeVar("Content", bound=Rendered)


class Renderer:
    def __init__(self, sandbox: Sandbox, memory: WorkerMemory, limits: RenderLimits) -> None:
        self._sandbox = sandbox
        self._memory = memory
        self._limits = limits

    @asynccontextmanager
    async def rendered(
        self,
        tenant: str,
        render: Callable[[Template, Context, RenderLimits], Content],
        template: Template,
        context: Context,
        *,
        fallback: Template | None = None,
    ) -> AsyncIterator[tuple[Content, float]]:
        """Yield the content, and the seconds waited for memory, which is reserved until the block ends.

        Renders `fallback` if the template fails. Raises `ContentError`, and LocalLimitReached if memory is not free in
        time.
        """
        sandbox = self._sandbox.for_(tenant)
        async with self._memory.request(tenant) as reservation:
            try:
                content = await sandbox.call(render, template, context, self._limits)
            except ContentError:
                if fallback is None:
                    raise
                content = await sandbox.call(render, fallback, context, self._limits)
            reservation.shrink_to(request_memory(content.size))
            yield content, reservation.waited
