"""What the memo of a run says (`hookkeeper.search_attributes.memo`)."""

from temporalio import workflow

from hookkeeper import temporal_names


def digest() -> str:
    """Return the digest of the event; empty if the run was started with Temporal's own tools."""
    value: str = workflow.memo_value(temporal_names.DIGEST, default="")
    return value


def run_number() -> int:
    """Return the number of this run of the event, or of the part."""
    value: int = workflow.memo_value(temporal_names.RUN_NUMBER, default=1)
    return value
