"""The acceptance drill: its relays, its verdict, and the drill itself in a short form."""

import asyncio
import gzip
from contextlib import suppress
from dataclasses import replace

import pytest
from short_drills import TIMEOUT, passes

from drills.acceptance import Again, judge
from drills.observations import Observations
from drills.relays import Break, Relay, commits, starts
from drills.verdict import Verdict
from drills.verdict import judge as judge_observations
from timeouts import WAIT_TIMEOUT

START = b"\0\0\x30\0\1\0\0\0\5\1\0\0\0\x27" + gzip.compress(b"\n\7default\x12\3run\x1a\x13\n\x11SharedRunWorkflow")
PREPARE = b"P\0\0\0\x20__asyncpg_stmt_5__\0INSERT INTO events (tenant) VALUES ($1)\0"
COMMIT = b"Q\0\0\0\x0cCOMMIT;\0"
EMPTY = judge_observations(Observations((), (), (), (), {}, ()))
VERDICT = replace(EMPTY, counts={**EMPTY.counts, "events accepted": 10}, failures={})
AGAIN = [Again(is_shared=n < 5) for n in range(10)]
KILLED = {"kill api at a commit, after it": 1}


def test_what_begins_a_step() -> None:
    begins = starts()
    assert begins(START)
    assert begins(b"\x1a\x0f\n\rEventWorkflow")
    assert not begins(gzip.compress(b"\n\7default\x12\3run"))
    assert not begins(b"\x1f\x8b\x08 this is not compressed")
    begins, other = commits(), commits()
    bound = b"B\0\0\0\x20\0__asyncpg_stmt_5__\0\0\1"
    assert [begins(data) for data in (bound, COMMIT)] == [False, False]
    assert [begins(data) for data in (PREPARE, COMMIT)] == [False, True]
    assert [begins(data) for data in (COMMIT, bound, COMMIT)] == [False, False, True]
    assert [begins(data) for data in (b"B\0\0\0\x20\0__asyncpg_stmt_55__\0\0\1", COMMIT)] == [False, False]
    assert [other(data) for data in (bound, COMMIT)] == [False, False]


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("broken", "answer", "received"),
    [
        (None, b"commit taken", b"commit"),
        (Break("request"), b"", b""),
        (Break("answer", wait=0.1), b"", b"commit"),
    ],
)
async def test_a_relay_breaks_the_connection(broken: Break | None, answer: bytes, received: bytes) -> None:
    """It drops the request, or the answer, or nothing; all other bytes pass."""
    taken = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        while data := await reader.read(100):
            if data == b"commit":
                taken = data
            writer.write(data + b" taken")
        await closed(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    relay = Relay(
        lambda: asyncio.open_connection(*server.sockets[0].getsockname()),
        "commit",
        lambda: lambda data: data == b"commit",
        lambda step: broken,
    )
    front = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    async with server, front, asyncio.timeout(WAIT_TIMEOUT):
        reader, writer = await asyncio.open_connection(*front.sockets[0].getsockname())
        writer.write(b"other")
        assert await reader.readexactly(11) == b"other taken"
        writer.write(b"commit")
        try:
            assert await reader.read(100) == answer
        except ConnectionResetError:
            assert not answer
        await closed(writer)
        await relay.close()
    assert taken == received


async def test_a_relay_that_is_closed_with_open_connections_reports_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await reader.read()
        await closed(writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        relay = Relay(lambda: asyncio.open_connection(*server.sockets[0].getsockname()))
        async with await asyncio.start_server(relay.serve, "127.0.0.1", 0) as front, asyncio.timeout(WAIT_TIMEOUT):
            reader, writer = await asyncio.open_connection(*front.sockets[0].getsockname())
            assert await reader.readexactly(5) == b"hello"
            await relay.close()
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            await closed(writer)
    assert not caplog.records


@pytest.mark.parametrize(
    ("verdict", "again", "faults", "kind"),
    [
        (VERDICT, [*AGAIN, Again(error="e1: 202")], KILLED, "forgotten"),
        (VERDICT, [Again()] * 10, KILLED, "wrong"),
        (VERDICT, AGAIN, {"connection broken at a start, after it": 9}, "wrong"),
        (replace(VERDICT, failures={"refused": ("e1: 409",)}), AGAIN, KILLED, "refused"),
    ],
)
def test_the_verdict(verdict: Verdict, again: list[Again], faults: dict[str, int], kind: str) -> None:
    assert judge(VERDICT, AGAIN, KILLED).passed
    assert [name for name, found in judge(verdict, again, faults).failures.items() if found] == [kind]


@pytest.mark.timeout(TIMEOUT + 60)
def test_no_event_is_lost_between_rows_start_and_answer() -> None:
    """Setup: two workers, API, Temporal and PostgreSQL, each a process; bursts of events that share runs.
    Timeline: connections break, and processes are killed, at commits and starts, before or after these took effect.
    Proves: each event that was answered is delivered and known; none is refused.
    """
    passes("acceptance", "--events", 120)
