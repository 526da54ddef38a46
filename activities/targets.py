"""The attempts at targets of which a webhook can have several: one activity for each kind."""

from collections.abc import Callable
from functools import partial
from typing import Any

from temporalio import activity

from activities.attempts import PreparedAttempt
from activities.delivery_batch import BatchRunner
from activities.rendering import Renderer
from hookkeeper.kind import Items, Kind, load
from hookkeeper.kinds import LISTS
from hookkeeper.messages.batch import BatchResult, DeliveryBatch
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.registry.webhooks.targets import item_of
from hookkeeper.targets.sending import Clients, Sender


def target_activities(batches: BatchRunner, renderer: Renderer, clients: Clients) -> list[Callable[..., Any]]:
    """Make the activity of each kind."""
    return [_activity(batches, _Attempts(kind, items, renderer, load(items.sender)(clients))) for kind, items in LISTS]


def _activity(batches: BatchRunner, attempts: "_Attempts") -> Callable[..., Any]:
    @activity.defn(name=attempts.kind.activity)
    async def send(batch: DeliveryBatch) -> BatchResult:
        """Make every attempt of the batch."""
        return await batches.run(batch, attempts.make)

    return send


class _Attempts:
    """Makes the attempts of one kind."""

    def __init__(self, kind: Kind, items: Items, renderer: Renderer, sender: Sender) -> None:
        self.kind = kind
        self._rendered = partial(renderer.rendered, render=load(items.render))
        self._sender = sender

    async def make(self, attempt: PreparedAttempt) -> Outcome:
        """Render the target for the event, and send it."""
        item = item_of(attempt.webhook, self.kind, attempt.request.delivery)
        if item is None:
            return Outcome(delivery=attempt.request.delivery, verdict="webhook_deleted")
        rendering = self._rendered(attempt.tenant, template=item, context=attempt.context)
        async with rendering as (content, waited):
            return await self._sender.send(item, content, attempt, waited)
