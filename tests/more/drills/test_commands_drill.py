"""The verdict of the commands drill: what has to be seen of a command, and what must not arrive any more."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from drills.commands import PAIRS, Sent, requested_after
from drills.observations import ReceivedRequest

MOVED_TO = datetime(2030, 1, 1, tzinfo=UTC)
BEFORE: dict[str, Any] = {
    "retrying": {"status": "retrying", "attempts": [{"trigger": "scheduled"}]},
    "held": {"status": "held", "attempts": [{"trigger": "scheduled"}]},
    "scheduled": {"status": "pending", "attempts": []},
    "ordered": {"status": "retrying", "attempts": [{"trigger": "scheduled"}]},
    "in-flight": {"status": "pending", "attempts": []},
}
AFTER: dict[str, Any] = {
    "cancel": {"status": "cancelled", "attempts": []},
    "hold": {"status": "held", "attempts": []},
    "release": {"status": "retrying", "attempts": []},
    "retry": {"status": "retrying", "attempts": [{"trigger": "scheduled"}, {"trigger": "manual"}]},
    "redeliver": {"status": "held", "attempts": [{"trigger": "manual"}]},
    "reschedule": {"status": "pending", "attempts": []},
}


@pytest.mark.parametrize(("state", "command"), PAIRS)
def test_a_command_is_done_once_the_event_shows_it(state: str, command: str) -> None:
    sent = Sent("e", state, command, MOVED_TO)
    status = "scheduled" if state == "scheduled" else "delivering"
    before = {"status": status, "deliver_at": "2029-01-01T00:00:00Z", "deliveries": [BEFORE[state]]}
    after = {"status": "delivering", "deliver_at": "2030-01-01T00:00:00Z", "deliveries": [AFTER[command]]}
    assert (sent.is_done(before), sent.is_done(after)) == (False, True)


def test_a_request_after_its_time_is_found() -> None:
    at = (MOVED_TO - timedelta(days=1)).timestamp()
    requests = [ReceivedRequest(name, "hook", at + n, at + n, 500, "") for n, name in enumerate("abcab")]
    assert requested_after({"a": at + 1, "b": at + 4, "c": float("inf")}, requests) == ["a"]
