"""Read the webhooks of a batch of deliveries, at each attempt: a change counts at once, in all processes."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import Select, bindparam, inspect, select
from sqlalchemy.orm.base import instance_dict

from hookkeeper.crypto.keyring import CipherError
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.storage.compiled import Compiled
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.storage.direct_reads import DirectReads

MAPPER = inspect(Webhook)
NAMES = tuple(attribute.key for attribute in MAPPER.column_attrs)
ID = NAMES.index("id")
SIZES = (1, 4, 16, 64)
"""Numbers of ids for which there is a statement. The last id is repeated until there are as many."""


class UnreadableWebhook(RegistryUnavailable):
    """The row of one webhook cannot be read: its key is missing, or a newer release has written it."""

    def __init__(self, webhook_id: str, error: Exception) -> None:
        super().__init__(f"the registry cannot be read: webhook {webhook_id}: {_without_values(error)}")


class LostWebhook(RegistryUnavailable):
    """A webhook is missing, and the registry has not accepted the event for it: it is another registry, or an older
    state of the right one.
    """

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"the registry has neither the webhook {webhook_id} nor the event: it may be a wrong one")


class FoundWebhooks(NamedTuple):
    """Webhooks by id. Unknown ids are omitted."""

    readable: dict[str, Webhook]
    unreadable: dict[str, UnreadableWebhook]

    def get(self, webhook_id: str) -> Webhook | None:
        """Return the webhook, or None if it is unknown. Raises UnreadableWebhook."""
        if webhook_id in self.unreadable:
            raise self.unreadable[webhook_id]
        return self.readable.get(webhook_id)


class WebhookReads:
    """Methods raise RegistryUnavailable."""

    def __init__(self, reads: DirectReads) -> None:
        self._reads = reads
        self._compiled: dict[int, Compiled] = {}
        """Statements, by the number of ids."""

    async def find(self, ids: Collection[str], sharer: str) -> FoundWebhooks:
        """Find the webhooks with these ids. `sharer` is the tenant that reads."""
        distinct = sorted(set(ids))
        found = FoundWebhooks({}, {})
        for begin in range(0, len(distinct), SIZES[-1]):
            await self._read(distinct[begin : begin + SIZES[-1]], sharer, found)
        return found

    async def _read(self, ids: Sequence[str], sharer: str, found: FoundWebhooks) -> None:
        size = next(size for size in SIZES if size >= len(ids))
        read = self._compiled.get(size)
        if read is None:
            read = self._compiled[size] = Compiled(_query(size), self._reads.dialect)
        parameters = {f"id_{number}": ids[min(number, len(ids) - 1)] for number in range(size)}
        for row in await self._reads.fetch_raw(read, sharer, parameters):
            try:
                found.readable[row[ID]] = _webhook(read.row(row))
            except Exception as error:  # noqa: BLE001 - whatever a row contains, the others can be read
                found.unreadable[row[ID]] = UnreadableWebhook(row[ID], error)


def _query(size: int) -> Select[*tuple[Any, ...]]:
    columns = [getattr(Webhook, name) for name in NAMES]
    return select(*columns).where(Webhook.id.in_([bindparam(f"id_{number}") for number in range(size)]))


def _webhook(values: Sequence[Any]) -> Webhook:
    """Return a detached webhook. A session would take many times as long to make it."""
    webhook: Webhook = MAPPER.class_manager.new_instance()
    instance_dict(webhook).update(zip(NAMES, values, strict=True))
    return webhook


def _without_values(error: Exception) -> str:
    """Describe the error without what the row contains."""
    if isinstance(error, CipherError):
        return str(error)
    if isinstance(error, ValidationError):
        return ", ".join(f"{'.'.join(map(str, each['loc']))}: {each['type']}" for each in error.errors())
    return type(error).__name__
