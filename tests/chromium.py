"""One Chromium for each pytest process: it takes as long to start as some tests. Each test has a context of its own."""

import shutil
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Browser

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    *("--disable-gpu", "--disable-software-rasterizer", "--in-process-gpu"),  # no test looks at pixels
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
]


@pytest.fixture(scope="session")
async def chromium() -> "AsyncIterator[Browser]":
    """Start the Chromium of the machine: its headless shell, if it is there, takes two thirds of the CPU time."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no Chromium: `.ci/run` installs it")
    from playwright.async_api import async_playwright  # few tests need it, and it takes long to import

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        await browser.close()
