"""The checks of the tests themselves: what hangs, or holds the event loop, fails with its stack, and in time."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from timeouts import WAIT_TIMEOUT

ROOT = Path(__file__).parents[2]
PLUGINS = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "xdist.plugin")
"""All others take seconds to load."""

HANGING = """
import asyncio, pytest

async def wait_for_nothing():
    await asyncio.Event().wait()

@pytest.fixture
async def never_over():
    yield
    await wait_for_nothing()

@pytest.mark.timeout(2)
async def test_hangs():
    await wait_for_nothing()

@pytest.mark.timeout(2)
async def test_teardown_hangs(never_over):
    pass

@pytest.mark.timeout(2)
async def test_both_hang(never_over):
    await wait_for_nothing()

async def test_next():
    pass
"""
SWALLOWING = """
import pytest, time

def wait_for_nothing():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

@pytest.mark.timeout(1)
async def test_hangs():
    wait_for_nothing()
"""
HANGING_EXIT = """
import threading, time

hangs.EXIT_TIMEOUT = 3

def wait_for_nothing():
    time.sleep(600)

async def test_next():
    threading.Thread(target=wait_for_nothing).start()
"""
HOLDING = """
from hookkeeper.addresses import parse_networks

async def test_holds():
    parse_networks(("10.0.0.0/8",) * 300_000)

async def test_next():
    pass
"""


async def run_pytest(folder: Path, test: str, *options: str) -> tuple[int, str]:
    """Run tests with the settings of all tests, but for shorter times; give the code and what was written."""
    (folder / "test_it.py").write_text(
        f"import hangs\nhangs.AGAIN, hangs.GIVEN_UP = 2, 5  # never both at once\n{test}"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *PLUGINS, *options, str(folder)),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(2 * WAIT_TIMEOUT):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "in a worker of xdist"])
async def test_a_hang_fails_with_all_stacks(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Timeline: a test hangs, then a teardown, then both of one test. Proves: the test after them still runs."""
    code, out = await run_pytest(tmp_path, HANGING, "-p", "hangs", *options)
    assert (code, "2 failed, 2 passed, 2 errors" in out) == (1, True), out
    assert out.count("hangs: not over after 2 s") >= 4
    assert "in wait_for_nothing" in out, "the stack of the task"
    assert "Thread MainThread" in out


@pytest.mark.parametrize("test", [SWALLOWING, HANGING_EXIT], ids=["the alarm is swallowed", "a thread stays"])
async def test_a_hang_that_nothing_interrupts_ends_the_process(tmp_path: Path, test: str) -> None:
    code, out = await run_pytest(tmp_path, test, "-p", "hangs")
    assert code == 1, out
    assert "Timeout (0:0" in out
    assert "in wait_for_nothing" in out, "the stack of the thread"


async def test_held_event_loops_fail(tmp_path: Path) -> None:
    code, out = await run_pytest(tmp_path, HOLDING, "-p", "conftest")
    assert (code, "2 passed, 1 error" in out) == (1, True), out
    assert "event loop blocked for" in out
    assert "in parse_networks" in out
