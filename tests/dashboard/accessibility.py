"""What axe finds on a page in Chromium. It is loaded once for each page, and says what is wrong, not what is right."""

from typing import Any, Literal

from axe_playwright_python.async_playwright import AxeResults
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Page

Scheme = Literal["light", "dark"]
SCHEMES: dict[Scheme, dict[str, Any]] = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
"""What axe looks for: the colours are all that differs."""


async def defects(page: Page, scheme: Scheme = "light") -> str:
    """Return a report of what axe finds; empty if it finds nothing."""
    if await page.evaluate("typeof axe === 'undefined'"):
        await page.evaluate(AXE_SCRIPT)
    options = SCHEMES[scheme] | {"resultTypes": ["violations"]}
    found = await page.evaluate("options => axe.run(options).then(({violations}) => ({violations}))", options)
    results = AxeResults(found)
    return results.generate_report() if results.violations_count else ""


async def defects_in_both_schemes(page: Page) -> dict[Scheme, str]:
    """Return what axe finds in light and in dark colours."""
    found = {}
    for scheme in SCHEMES:
        await page.emulate_media(color_scheme=scheme)
        found[scheme] = await defects(page, scheme)
    return found


async def check_in_both_schemes(page: Page) -> None:
    assert await defects_in_both_schemes(page) == dict.fromkeys(SCHEMES, "")
