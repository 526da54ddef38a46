"""Read the webhooks of a batch of deliveries, at each attempt: a change counts at once, in all processes."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Select, bindparam, inspect, select
from sqlalchemy.orm.base import instance_dict

from hookkeeper.registry.direct_reads import CompiledRead, DirectReads
from hookkeeper.registry.models import Webhook

MAPPER = inspect(Webhook)
NAMES = tuple(attribute.key for attribute in MAPPER.column_attrs)
SIZES = (1, 4, 16, 64)
"""Numbers of ids for which there is a statement. The last id is repeated until there are as many."""


class WebhookReads:
    """Methods raise RegistryUnavailable."""

    def __init__(self, reads: DirectReads) -> None:
        self._reads = reads
        self._compiled: dict[int, CompiledRead] = {}
        """Statements, by the number of ids."""

    async def find(self, ids: Collection[str], sharer: str) -> dict[str, Webhook]:
        """Return the webhooks with these ids, by id; unknown ids are omitted. `sharer` is the tenant that reads."""
        distinct = sorted(set(ids))
        found: dict[str, Webhook] = {}
        for begin in range(0, len(distinct), SIZES[-1]):
            for row in await self._read(distinct[begin : begin + SIZES[-1]], sharer):
                webhook = _webhook(row)
                found[webhook.id] = webhook
        return found

    async def _read(self, ids: Sequence[str], sharer: str) -> list[tuple[Any, ...]]:
        size = next(size for size in SIZES if size >= len(ids))
        read = self._compiled.get(size)
        if read is None:
            read = self._compiled[size] = CompiledRead(_query(size), self._reads.dialect)
        parameters = {f"id_{number}": ids[min(number, len(ids) - 1)] for number in range(size)}
        return await self._reads.fetch(read, sharer, parameters)


def _query(size: int) -> Select[*tuple[Any, ...]]:
    columns = [getattr(Webhook, name) for name in NAMES]
    return select(*columns).where(Webhook.id.in_([bindparam(f"id_{number}") for number in range(size)]))


def _webhook(values: Sequence[Any]) -> Webhook:
    """Return a detached webhook. A session would take many times as long to make it."""
    webhook: Webhook = MAPPER.class_manager.new_instance()
    instance_dict(webhook).update(zip(NAMES, values, strict=True))
    return webhook
