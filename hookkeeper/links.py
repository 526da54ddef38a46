"""URLs of the API, of pages of the dashboard, and of runs in the Temporal web UI."""

from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import quote

DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class LinkBuilder:
    public_url: str
    temporal_ui_url: str | None
    namespace: str
    portal_url: str | None = None
    """Where the provider's own application shows the portal, for links in alerts to owners."""

    def for_tenants(self) -> Self:
        """Return the links of a tenant, which has nothing to do with Temporal: its web UI shows all tenants."""
        return replace(self, temporal_ui_url=None)

    def for_owners(self) -> Self:
        """Return the links in alerts to the owners of webhooks, who see the pages in their portal."""
        return replace(self, public_url=self.portal_url or self.public_url, temporal_ui_url=None)

    def event(self, tenant: str, event_id: str) -> str:
        """Return the event's URL in the API."""
        return f"{self.public_url}/v1/events/{event_id}{_query(tenant)}"

    def event_page(self, tenant: str, event_id: str) -> str:
        """Return the event's page in the dashboard."""
        return f"{self.public_url}/events/{event_id}{_query(tenant)}"

    def webhook_page(self, webhook_id: str) -> str:
        """Return the webhook's page in the dashboard."""
        return f"{self.public_url}/webhooks/{webhook_id}"

    def schedule(self, tenant: str, schedule: str) -> str:
        """Return the schedule's URL in the API."""
        return f"{self.public_url}/v1/schedules/{schedule}{_query(tenant)}"

    def run(self, workflow_id: str, run_id: str) -> str | None:
        """Return the run's page in the Temporal web UI, if there is one; without a run id, that of the workflow."""
        return self._in_temporal(f"workflows/{workflow_id}/{run_id}/timeline" if run_id else f"workflows/{workflow_id}")

    def temporal_schedule(self, name: str) -> str | None:
        """Return the schedule's page in the Temporal web UI, if there is one."""
        return self._in_temporal(f"schedules/{name}")

    def _in_temporal(self, page: str) -> str | None:
        if self.temporal_ui_url is None:
            return None
        return f"{self.temporal_ui_url}/namespaces/{quote(self.namespace, safe='')}/{page}"


def _query(tenant: str) -> str:
    return "" if tenant == DEFAULT_TENANT else f"?tenant={tenant}"
