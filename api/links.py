"""Where people find an event: in this API, and in the Temporal web UI."""

from dataclasses import dataclass
from urllib.parse import quote

from api.deps import DEFAULT_TENANT
from api.schemas import Links


@dataclass(frozen=True, slots=True)
class LinkMaker:
    public_url: str
    temporal_ui_url: str | None
    namespace: str

    def of(self, tenant: str, event_id: str, workflow_id: str, run_id: str) -> Links:
        query = "" if tenant == DEFAULT_TENANT else f"?tenant={tenant}"
        ui, namespace = self.temporal_ui_url, quote(self.namespace, safe="")
        return Links(
            self=f"{self.public_url}/v1/events/{event_id}{query}",
            temporal=f"{ui}/namespaces/{namespace}/workflows/{workflow_id}/{run_id}/timeline" if ui else None,
        )
