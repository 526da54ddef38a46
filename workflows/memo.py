"""What the memo of a run says (`hookkeeper.search_attributes.memo`)."""

from temporalio import workflow

from hookkeeper import temporal_names


def run_number() -> int:
    """Return the number of this run of the event, or of the part."""
    value: int = workflow.memo_value(temporal_names.RUN_NUMBER, default=1)
    return value
