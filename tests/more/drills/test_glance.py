"""The glance drill: what its views read, its verdict, and the drill itself in a short form."""

import math
import ssl
from dataclasses import replace
from typing import Any

import httpx
import pytest
from short_drills import TIMEOUT, passes

from drills import breakable
from drills.breakable import Mail, Receivers
from drills.glance import ALL, GOOD, VIEWS, Row, Shown, Watched, alerts, judge

SECONDS, RATE, FACTOR = 5, 2, 5
NAMED = Row("500", dict.fromkeys(VIEWS, 9.0), 1.0, dict.fromkeys(VIEWS, 9.0))
FINE: dict[str, Any] = {
    "rows": {"fails": NAMED, ALL: replace(NAMED, healthy={})},
    "misreported": [],
    "refused": 0,
    "well": 20.0,
    "factor": 1.0,
}


def test_what_is_named_and_mended_in_time_passes() -> None:
    assert judge(**FINE).passed


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"rows": {"fails": replace(NAMED, named=NAMED.named | {"CLI": 61.0})}}, "fails: not in the CLI"),
        ({"rows": {"fails": replace(NAMED, named=NAMED.named | {"alert": math.inf})}}, "fails: not in the alert"),
        ({"rows": {"fails": replace(NAMED, healthy={"list": 61.0})}}, "fails: not healthy in the list"),
        ({"rows": {"fails": replace(NAMED, late=6.0)}}, "fails: healthy 6 s after"),
        ({"misreported": ["good-1 was failing in the API"]}, "good-1 was failing"),
        ({"refused": 1}, "1 events were refused"),
        ({"well": math.inf}, "all is well"),
    ],
)
def test_all_else_fails(change: dict[str, Any], word: str) -> None:
    (failure,) = judge(**FINE | change).failures["wrong"]
    assert word in failure


def test_a_busy_machine_may_be_late() -> None:
    late = {"fails": replace(NAMED, late=6.0, healthy={"list": 61.0})}
    assert judge(**FINE | {"rows": late, "factor": 2.0}).passed


def test_a_cause_is_named_once_it_is_shown_and_green_is_noted() -> None:
    seen = Watched()
    seen.note("list", 5.0, {"fails": Shown("healthy", ""), GOOD[0]: Shown("healthy", "")}, are_broken=True)
    assert (seen.last_healthy, seen.named) == ({("list", "fails"): 5.0}, {})
    seen.note("list", 6.0, {"fails": Shown("degraded", "1 failure")}, are_broken=True)
    assert not seen.named and ("list", "fails") not in seen.healthy
    seen.note("list", 7.0, {"fails": Shown("failing", "500 out of order"), GOOD[0]: Shown("new", "")}, are_broken=True)
    assert not seen.misreported
    seen.note("list", 7.5, {GOOD[0]: Shown("failing", "timeout")}, are_broken=True)
    assert [*seen.named] == [("list", "fails")]
    assert seen.misreported == {f"{GOOD[0]} was failing in the list"}
    seen.note("list", 8.0, {"fails": Shown("healthy", "")}, are_broken=False)
    assert ("list", "fails") in seen.healthy and seen.last_healthy == {("list", "fails"): 5.0}


@pytest.mark.parametrize(
    ("subject", "status"),
    [
        ("fails is failing: 500 Internal Server Error since 14:02 UTC", "failing"),
        ("fails was disabled: 410 Gone", "disabled"),
        ("fails works again after 2 h", "healthy"),
    ],
)
async def test_the_latest_alert_counts(subject: str, status: str) -> None:
    async with breakable.receiving() as receivers:
        receivers.mails += [Mail("fails is failing: timeout", ""), Mail(subject, "text of fails")]
        assert await alerts(receivers) == {"fails": Shown(status, f"{subject.removeprefix('fails ')}\ntext of ")}


async def test_receivers_break_and_are_mended() -> None:
    """Proves: the same connection settings that worked before fail while they are broken, and work afterwards."""

    async def statuses(receivers: Receivers) -> list[Any]:
        found: list[Any] = []
        trust = ssl.create_default_context(cadata=receivers.authority)
        async with httpx.AsyncClient(verify=trust, trust_env=False) as http:
            for url in (f"{receivers.http}/fails", f"{receivers.http}/leaves", f"{receivers.https}/"):
                try:
                    found.append((await http.post(url)).status_code)
                except httpx.ConnectError as error:
                    found.append("certificate" if "certificate" in str(error).lower() else str(error))
        return found

    async with breakable.receiving() as receivers:
        assert await statuses(receivers) == [200, 200, 200]
        receivers.break_()
        assert await statuses(receivers) == [500, 410, "certificate"]
        receivers.mend()
        assert await statuses(receivers) == [200, 200, 200]


@pytest.mark.alone
@pytest.mark.timeout(TIMEOUT + 60)
def test_eight_broken_webhooks_are_named_everywhere() -> None:
    """Setup: two workers, API, Temporal and PostgreSQL, each a process; ten webhooks, of which eight break for
    five seconds. Proves: overview, list, API, CLI, metrics and alerts name each with its cause, and show when all work
    again.
    """
    passes("glance", "--seconds", SECONDS, "--rate", RATE, "--factor", FACTOR)
