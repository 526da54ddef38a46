"""Start the runs of webhooks that should be there, and were lost: terminated, or not in a Temporal that was restored.

Each is started by the change that needs it, such as a webhook that is disabled. That does not come again.
"""

from datetime import datetime, timedelta

from hookkeeper.registry.alerts import due
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.services.incidents import IncidentCalls
from hookkeeper.temporal.bulk.incidents import Probes
from hookkeeper.temporal.bulk.releases import Releases
from hookkeeper.times import utc_now

WEBHOOKS_PER_PAGE = 64


class WebhookRuns:
    """One for the worker process."""

    def __init__(
        self,
        store: Store,
        releases: Releases,
        incidents: IncidentCalls,
        probes: Probes | None,
        disable_after: timedelta | None,
    ) -> None:
        """`disable_after`: for webhooks without a setting of their own; None is never."""
        self._store = store
        self._releases = releases
        self._incidents = incidents
        self._probes = probes
        self._disable_after = disable_after

    async def start_missing(self, held_before: datetime) -> None:
        """Start what should run; a probe and an incident that run go on, and a release makes its passes again.

        `held_before`: a release is missing if what it should release is held since then. Raises Temporal's `RPCError`,
        `Unavailable`, and RegistryUnavailable.
        """
        for tenant, webhook_id in await self._store.index.runs_by_status.held_by_active(held_before):
            await self._releases.start(tenant, webhook_id)
        after = ""
        while ids := await self._store.webhooks.with_trouble(after, WEBHOOKS_PER_PAGE):
            for webhook in (await self._store.webhooks.many(ids)).readable.values():
                await self._start_missing(webhook)
            after = ids[-1]

    async def _start_missing(self, webhook: Webhook) -> None:
        if self._probes and not webhook.enabled and webhook.disabled_reason == "failing":
            await self._probes.start(webhook.tenant, webhook.id)
        step = due(webhook, utc_now(), self._disable_after)
        if step.kind or step.wait is not None:
            await self._incidents.make(webhook.tenant, {webhook.id: step.wait or timedelta()}, {webhook.id: webhook})
