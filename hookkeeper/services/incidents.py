"""Call the incidents of webhooks whose health has changed, or with a delivery that has failed: start them, or let them
look.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from hookkeeper.registry.models import Webhook
from hookkeeper.registry.webhooks.health import HealthChange
from hookkeeper.services.errors import RateLimited
from hookkeeper.services.rate_limits import RateLimits
from hookkeeper.settings import Settings
from hookkeeper.temporal.bulk.incidents import Incidents
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.server.error_translation import Unavailable
from hookkeeper.tenant_limits import INCIDENT_LOOKS, INCIDENT_STARTS

log = structlog.get_logger("hookkeeper.alert")
Call = timedelta | None
"""Start the incident, which looks after this time; or, None, let it look now."""


class IncidentCalls:
    def __init__(self, incidents: Incidents, *, always_alert: bool, probes: bool = False) -> None:
        """`always_alert`: the operator wants alerts, whatever the webhook's settings are. `probes`: incidents probe."""
        self._incidents = incidents
        self._always_alert = always_alert
        self._probes = probes
        self._rates = RateLimits()

    async def make(
        self,
        tenant: str,
        calls: Mapping[str, Call],
        webhooks: Mapping[str, Webhook],
        *,
        probed: Collection[str] = (),
    ) -> None:
        """Make calls, if anyone is to be alerted, or the webhook is to be probed (`probed`).

        One that fails is made up for by the next failure, or within minutes (`hookkeeper.services.webhooks.runs`).
        """
        for webhook_id, call in calls.items():
            webhook = webhooks.get(webhook_id)
            is_alerted = self._always_alert or webhook is None or webhook.on_failure is not None
            if is_alerted or (self._probes and webhook_id in probed):
                await self._make(tenant, webhook_id, call)

    async def _make(self, tenant: str, webhook_id: str, call: Call) -> None:
        who, rate = (
            (f"look {webhook_id}", INCIDENT_LOOKS.rate)
            if call is None
            else (f"watch {webhook_id}", INCIDENT_STARTS.rate)
        )
        if not await self._rates.has_room(who, rate):
            return
        try:
            if call is None:
                await self._incidents.look(tenant, webhook_id)
            else:
                await self._incidents.watch(tenant, webhook_id, call)
            with suppress(RateLimited):
                await self._rates.count(who, rate, "another attempt has called meanwhile")
        except Unavailable as error:
            log.warning("the incident was not called", webhook=webhook_id, tenant=tenant, reason=str(error))


def incident_calls(gateway: Gateway, settings: Settings) -> IncidentCalls:
    return IncidentCalls(
        gateway.incidents,
        always_alert=bool(settings.alert_emails or settings.alert_services),
        probes=settings.probe_interval is not None,
    )


def calls_after(changes: Sequence[HealthChange], before: Mapping[str, Webhook], now: datetime) -> dict[str, Call]:
    """Return the calls that changes of health need. `before` are the webhooks as far as they were read before."""
    found: dict[str, Call] = {}
    for change in changes:
        if (
            change.disabled
            or change.reached
            or (change.recovered and _may_be_alerted(before.get(change.webhook_id), now))
        ):
            found[change.webhook_id] = None
        elif change.began:
            found[change.webhook_id] = time_left(change.failing_from, now)
    return found


def time_left(failing_from: datetime | None, now: datetime) -> timedelta:
    """Return the time until failures are worth an alert; a day if that is not known."""
    return max(failing_from - now, timedelta()) if failing_from else timedelta(days=1)


def _may_be_alerted(webhook: Webhook | None, now: datetime) -> bool:
    """Return whether an alert may have been sent of failures that are over: others end without one."""
    if webhook is None or (webhook.incident and webhook.incident.is_open):
        return True
    return webhook.failing_from is not None and webhook.failing_from <= now
