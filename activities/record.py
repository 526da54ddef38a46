"""Write what runs have decided to the rows of their events. Idempotent: the latest report counts."""

from temporalio import activity

from hookkeeper import tracing
from hookkeeper.messages.run_report import RunReports
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.temporal.lines import LineCalls


class RecordActivities:
    def __init__(self, rows: EventRows, calls: LineCalls) -> None:
        self._rows = rows
        self._calls = calls

    @activity.defn
    async def record(self, reports: RunReports) -> None:
        """Write the reports, and call the runs whose turn has come by that. Raises RegistryUnavailable."""
        await self._calls.call(await self._rows.write(reports.reports))
        for report in reports.reports:
            tracing.end_run(report)
