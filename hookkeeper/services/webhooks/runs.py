"""Start the runs of webhooks that should be there, and were lost: terminated, or not in a Temporal that was restored.

Each is started by the change that needs it, such as a webhook that is disabled. That does not come again.
"""

from datetime import datetime, timedelta

from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.alerts import due
from hookkeeper.services.incidents import IncidentCalls
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
        disable_after: timedelta | None,
        *,
        probes: bool,
    ) -> None:
        """`disable_after`: for webhooks without a setting of their own; None is never. `probes`: incidents probe."""
        self._store = store
        self._releases = releases
        self._incidents = incidents
        self._probes = probes
        self._disable_after = disable_after

    async def start_missing(self, held_before: datetime) -> None:
        """Start what should run, and let incidents look that were not told of failed deliveries. An incident that runs
        goes on, and a release makes its passes again.

        `held_before`: a release is missing if what it should release is held since then. Raises Temporal's `RPCError`,
        `Unavailable`, and RegistryUnavailable.
        """
        for tenant, webhook_id in await self._store.index.runs_by_status.held_by_active(held_before):
            await self._releases.start(tenant, webhook_id)
        for webhook_id, tenant in (await self._store.alerts.noted()).items():
            await self._incidents.make(tenant, {webhook_id: None}, {})
        after = ""
        while ids := await self._store.webhooks.with_trouble(after, WEBHOOKS_PER_PAGE):
            for webhook in (await self._store.webhooks.many(ids)).readable.values():
                await self._start_missing(webhook)
            after = ids[-1]

    async def _start_missing(self, webhook: Webhook) -> None:
        probed = {webhook.id} if self._probes and webhook.is_disabled_for_failing else ()
        step = due(webhook, utc_now(), self._disable_after)
        if probed or step.kind or step.wait is not None:
            call = step.wait or timedelta()
            await self._incidents.make(webhook.tenant, {webhook.id: call}, {webhook.id: webhook}, probed=probed)
