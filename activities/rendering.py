"""Render templates in the sandbox, in memory that is reserved for the request."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from activities.memory_budget import WorkerMemory, request_memory
from hookkeeper.content.context import Context
from hookkeeper.content.errors import ContentError
from hookkeeper.sandbox.pool import Sandbox


class Rendered(Protocol):
    """A rendered email, notification or body."""

    @property
    def size(self) -> int:
        """Bytes."""


Template = TypeVar("Template")
Content = TypeVar("Content", bound=Rendered)


class Renderer:
    def __init__(self, sandbox: Sandbox, memory: WorkerMemory) -> None:
        self._sandbox = sandbox
        self._memory = memory

    @asynccontextmanager
    async def rendered(
        self,
        tenant: str,
        render: Callable[[Template, Context, int], Content],
        template: Template,
        context: Context,
        *,
        fallback: Template | None = None,
    ) -> AsyncIterator[tuple[Content, float]]:
        """Yield the content, and the seconds waited for memory, which is reserved until the block ends.

        Renders `fallback` if the template fails. Raises `ContentError`, and LocalLimitReached if memory is not free in
        time.
        """
        sandbox, max_bytes = self._sandbox.for_(tenant), self._memory.max_body_bytes
        async with self._memory.request(tenant) as reservation:
            try:
                content = await sandbox.call(render, template, context, max_bytes)
            except ContentError:
                if fallback is None:
                    raise
                content = await sandbox.call(render, fallback, context, max_bytes)
            reservation.shrink_to(request_memory(content.size))
            yield content, reservation.waited
