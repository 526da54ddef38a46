"""The sentence of `hookkeeper status`."""

from typing import Any

import pytest

from cli.client.status import sentence

WELL: dict[str, Any] = {
    "temporal": "running",
    "workers": "running",
    "webhooks": {},
    "waiting": {"retrying": 0, "held": 0},
    "failed_events": 0,
}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "All is well: no webhook fails, and nothing waits."),
        ({"temporal": "away", "workers": "unknown"}, "Temporal does not answer: events are accepted and wait."),
        ({"workers": "none"}, "No worker runs: events are accepted and wait."),
        ({"webhooks": {"failing": [1, 2], "slow": [1]}}, "2 webhooks are failing, 1 is slow."),
        ({"webhooks": {"degraded": [1]}}, "1 webhook has just begun to fail."),
        ({"webhooks": {"disabled": [1], "degraded": [1, 2]}}, "1 webhook is disabled, 2 have just begun to fail."),
        ({"waiting": {"retrying": 1200, "held": 34}, "failed_events": 1}, "1,234 deliveries wait, 1 event has failed."),
        ({"failed_events": None}, "Over 1,000 events have failed."),
    ],
)
def test_sentence(found: dict[str, Any], said: str) -> None:
    assert sentence(WELL | found) == said
