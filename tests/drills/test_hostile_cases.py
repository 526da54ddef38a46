"""Cases of the neighbour drill: the hostile tenant does what a case says, at a bounded rate."""

import pytest
from callers import make_key
from sockets import serving

from drills.hostile import attack
from instances import Instance

SECONDS = 2.0


@pytest.mark.parametrize(
    ("case", "name", "statuses", "rate"),
    [
        ("bad-portal-links", "unknown links", {"404", "429"}, 20),
        ("forms-without-session", "forms", {"303", "401", "403", "413", "429", "503"}, 40),
    ],
)
async def test_a_case_sends_its_requests_at_a_bounded_rate(
    idle_instance: Instance, case: str, name: str, statuses: set[str], rate: int
) -> None:
    key = (await make_key(idle_instance, idle_instance.tenant))["key"]
    async with serving(idle_instance.app) as server:
        url, targets = f"http://127.0.0.1:{server.port}", {"page_key": key}
        found = await attack(url, key, SECONDS, 1, targets, 0, case)
    answers = found["answers"][name]
    assert answers.keys() <= statuses
    assert 1 <= sum(answers.values()) <= SECONDS * rate + 8


async def test_a_valid_link_opens_in_the_case_that_floods_links(idle_instance: Instance) -> None:
    key = (await make_key(idle_instance, idle_instance.tenant))["key"]
    async with serving(idle_instance.app) as server:
        found = await attack(f"http://127.0.0.1:{server.port}", key, 0.4, 1, {"page_key": key}, 0, "bad-portal-links")
    assert found["answers"]["valid links"] == {"201": 1}
    assert found["broken"] == []
