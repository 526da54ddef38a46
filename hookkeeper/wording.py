"""Texts that Temporal's web UI and the command line share. The command line imports it: it needs no package."""

VERBS = {"webhook": "POST", "email": "email to", "notification": "notify"}
"""What is done to a target, by channel."""


def duration(seconds: float) -> str:
    """Format a duration in its largest fitting unit: `5 s`, `2.5 min`, `14 h`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
