"""Where people find an event: in the API, and in the Temporal web UI. A leaf: every layer may import it."""

from dataclasses import dataclass
from urllib.parse import quote

DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Links:
    public_url: str
    temporal_ui_url: str | None
    namespace: str

    def event(self, tenant: str, event_id: str) -> str:
        """Give the event's URL in the API."""
        query = "" if tenant == DEFAULT_TENANT else f"?tenant={tenant}"
        return f"{self.public_url}/v1/events/{event_id}{query}"

    def run(self, workflow_id: str, run_id: str) -> str | None:
        """Give the run's page in the Temporal web UI, if there is one."""
        if self.temporal_ui_url is None:
            return None
        namespace = quote(self.namespace, safe="")
        return f"{self.temporal_ui_url}/namespaces/{namespace}/workflows/{workflow_id}/{run_id}/timeline"
