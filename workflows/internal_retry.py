"""How activities are tried again after our own faults."""

from datetime import timedelta

from temporalio.common import RetryPolicy

INTERNAL_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))
"""Registry down, Temporal slow, worker killed, a bug: without limit, and never charged to a webhook."""
