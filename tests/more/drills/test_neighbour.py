"""The neighbour drill: its verdict, its name server, and the drill itself in a short form."""

import asyncio
import math
import struct
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from short_drills import TIMEOUT, passes

from drills.name_server import QUIET, SILENT, name_server
from drills.neighbour import Neighbour, Observed, quantile
from drills.open_pages import PageCounts
from timeouts import WAIT_TIMEOUT


def observed(*lateness: float, health: float = 0.01, wait: float = 0.05) -> Observed:
    return Observed(
        posted={str(n): 100.0 for n in range(len(lateness))},
        accepted={str(n): 100.0 + wait for n in range(len(lateness)) if wait < math.inf},
        arrived={str(n): 100.0 + late for n, late in enumerate(lateness) if late < math.inf},
        health=[health],
    )


FINE = Neighbour(
    alone=observed(0.1),
    beside=observed(*[0.2] * 19, 2.9),
    memory={"api": 899.0},
    attempts=[1, 1],
    health="healthy",
    answers={"names": {"202": 1}},
    leaked=False,
)
SLOW: dict[str, Any] = {"beside": observed(*[0.2] * 18, 1.1, 1.1)}


def test_a_quiet_tenant_that_notices_nothing_passes() -> None:
    assert FINE.failures == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (SLOW, "late"),
        ({"beside": observed(*[0.2] * 20, 3.1)}, "very late"),
        ({"beside": observed(0.1, wait=1.1)}, "accepted late"),
        ({"beside": observed(0.1, wait=math.inf)}, "accepted late"),
        ({"beside": observed(*[0.2] * 20, math.inf)}, "did not arrive"),
        ({"beside": observed()}, "did not arrive"),
        ({"beside": observed(0.1, health=0.6)}, "/healthz"),
        ({"beside": observed(0.1, health=math.inf)}, "/healthz"),
        ({"memory": {"api": 901.0}}, "memory"),
        ({"memory": {}}, "memory"),
        ({"attempts": [1, 2]}, "attempt"),
        ({"attempts": [1, 0]}, "attempt"),
        ({"health": "failing"}, "failing"),
        ({"leaked": True}, "secret"),
        ({"answers": {}}, "did not attack"),
        ({"broken": ["a valid portal link was answered with 429"]}, "portal link"),
        ({"pages": PageCounts(2, loads=Counter({"200": 9}))}, "not live"),
        ({"pages": PageCounts(2, loads=Counter({"429": 9}), messages=9)}, "not live"),
    ],
)
def test_whatever_it_notices_fails(changes: dict[str, Any], word: str) -> None:
    assert any(word in failure for failure in replace(FINE, **changes).failures)


def test_pages_that_were_live_pass() -> None:
    pages = PageCounts(2, loads=Counter({"200": 9, "429": 1}), messages=9)
    assert replace(FINE, pages=pages).failures == []


def test_limits_on_time_can_be_longer() -> None:
    assert replace(FINE, **SLOW, factor=2.0).failures == []
    assert replace(FINE, leaked=True, factor=100.0).failures == ["a secret leaked"]


def test_quantiles_are_values_that_were_measured() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0] * 19 + [9.0], 0.95) == 1.0
    assert quantile([], 0.5) == math.inf


def query(name: str, kind: int) -> bytes:
    """Ask for a name as RFC 1035 says it."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


class Asker(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.answers.put_nowait(data)


async def test_the_name_server_answers_for_one_name_and_keeps_silent_for_others() -> None:
    async with name_server() as address:
        host, port = address.split(":")
        transport, asker = await asyncio.get_running_loop().create_datagram_endpoint(
            Asker, remote_addr=(host, int(port))
        )
        for name, kind in ((f"1.{SILENT}", 1), (QUIET, 1), (QUIET, 28), ("other.test", 1)):
            transport.sendto(query(name, kind))
        async with asyncio.timeout(WAIT_TIMEOUT):
            found, empty, unknown = [await asker.answers.get() for _ in range(3)]
        transport.close()
    assert found[6:8] == b"\0\1"
    assert found.endswith(bytes([127, 0, 0, 1]))
    assert (empty[3] & 15, empty[6:8]) == (0, b"\0\0")
    assert unknown[3] & 15 == 3


@pytest.mark.alone
@pytest.mark.timeout(TIMEOUT + 60)
def test_a_hostile_tenant_hurts_no_other() -> None:
    """Setup: two workers, API, Temporal and PostgreSQL, each a process; a quiet tenant with two events a second.
    Timeline: for six seconds a hostile tenant does at once everything that has hurt another tenant before, with four
    pages of the dashboard open.
    Proves: the quiet one's events all come, at one attempt each; no process takes too much memory; no secret
    is read. Limits on time are ten times as long here: the machine may be busy with other work.
    """
    assert "page loads" in passes("neighbour", "--seconds", 6, "--factor", 10, "--pages", 4)
