"""Reports of runs, as tests make them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from hookkeeper.messages.event import Delivery
from hookkeeper.messages.rows import EventRow
from hookkeeper.messages.run_report import RunReport


def reported(
    tenant: str,
    event_id: str,
    accepted_at: datetime,
    as_of: datetime,
    deliveries: Iterable[Delivery] = (),
    /,
    **changes: Any,
) -> RunReport:
    """Return the report of a run that delivers an event; `changes` as `changed` takes them."""
    event = EventRow(accepted_at, tenant, event_id, "order.paid", "delivering", as_of, run_id="run", digest="abc")
    return changed(RunReport(event, tuple(deliveries)), **changes)


def changed(report: RunReport, **changes: Any) -> RunReport:
    """Return the report with these fields of it, or of its event, changed."""
    own = {name: changes.pop(name) for name in RunReport._fields if name in changes}
    return report._replace(**{"event": report.event._replace(**changes), **own})
