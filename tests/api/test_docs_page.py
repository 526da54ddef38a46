"""`/docs` works without the internet: the API serves the page with all it needs, and refers to no other host."""

import asyncio
import re
import shutil
from asyncio.subprocess import PIPE
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import pytest
from callers import calling
from problems import problem
from sockets import serving

from instances import Instance
from timeouts import WAIT_TIMEOUT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
REFERENCES = {"href", "src", "action", "srcset", "data"}
PAGE = "http://hookkeeper.test/docs"


class Assets(HTMLParser):
    """What a page refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.urls: set[str] = set()
        self.inline: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.urls |= {value for name, value in attrs if name in REFERENCES and value}
        self.inline += [name for name, _ in attrs if name.startswith("on") or name == "style"]
        if tag == "script" and "src" not in dict(attrs):
            self.inline.append(tag)


async def test_the_page_and_its_assets_come_from_the_api(instance: Instance) -> None:
    async with calling(instance.app, key=None) as http:
        page = await http.get("/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assets = Assets(page.text)
        assert not assets.inline, "the content security policy allows no inline script"
        assert assets.urls >= {"docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "docs/start.js", "openapi.json"}
        for url in assets.urls - {"data:,"}:
            address = urljoin(PAGE, url)
            assert address.startswith("http://hookkeeper.test/"), url
            answer = await http.get(address)
            assert answer.status_code == 200, url
            assert answer.content, url


async def test_the_style_sheet_and_our_script_refer_to_no_other_host(instance: Instance) -> None:
    async with calling(instance.app, key=None) as http:
        style, start = await http.get("/docs/swagger-ui.css"), await http.get("/docs/start.js")
        bundle = await http.get("/docs/swagger-ui-bundle.js")
    assert style.headers["content-type"].startswith("text/css")
    assert all(url.startswith("data:") for url in re.findall(r"""url\(["']?([^"')]+)""", style.text))
    assert "@import" not in style.text
    assert start.headers["content-type"].startswith("text/javascript")
    assert "//" not in start.text
    assert "validatorUrl: null" in start.text, "Swagger UI's default is a validator on another host"
    assert "SwaggerUIBundle" in bundle.text


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"])
async def test_browsers_may_load_nothing_from_elsewhere(instance: Instance, path: str) -> None:
    async with calling(instance.app, key=None) as http:
        answer = await http.get(path)
    policy = dict(part.split(maxsplit=1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy.pop("style-src") == "'self' 'unsafe-inline'"
    assert policy.pop("img-src") == "'self' data:"
    assert policy.keys() >= {"default-src", "script-src", "connect-src", "frame-ancestors", "base-uri", "form-action"}
    assert set(policy.values()) <= {"'none'", "'self'"}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_a_browser_that_has_the_assets_gets_no_second_copy(instance: Instance) -> None:
    async with calling(instance.app, key=None) as http:
        first = await http.get("/docs/swagger-ui-bundle.js")
        second = await http.get("/docs/swagger-ui-bundle.js", headers={"if-none-match": first.headers["etag"]})
    assert (second.status_code, second.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/docs/redoc.standalone.js", "/docs/..%2F__init__.py", "/docs/none", "/docs/oauth2-redirect", "/redoc"]
)
async def test_only_the_assets_of_the_page_are_served(instance: Instance, path: str) -> None:
    async with calling(instance.app, key=None) as http:
        problem(await http.get(path), 404)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
async def test_chromium_shows_all_operations_without_a_network(instance: Instance, tmp_path: Path) -> None:
    paths = (await instance.http.get("/openapi.json")).json()["paths"]
    operations = sum(len(methods) for methods in paths.values())
    async with serving(instance.app) as server:
        dom, log = await rendered(f"http://127.0.0.1:{server.port}/docs", tmp_path)
    assert dom.count('class="opblock opblock-') >= operations, log[-2000:]
    assert 'data-path="/v1/events/{event_id}/redeliver"' in dom
    assert not re.findall(r"CONSOLE.*(?:Refused|violates|Failed to load|Uncaught).*", log)


async def rendered(url: str, folder: Path) -> tuple[str, str]:
    """Return the document as Chromium has it after the page's scripts have run, and Chromium's log."""
    process = await asyncio.create_subprocess_exec(
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", NO_NETWORK),
        *(f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=20000"),
        *("--dump-dom", url),
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        async with asyncio.timeout(2 * WAIT_TIMEOUT):
            dom, log = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return dom.decode(), log.decode(errors="replace")


async def test_the_openapi_document_is_serialised_once(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is large, and needs no key."""
    first = await instance.http.get("/openapi.json")
    monkeypatch.delattr("api.routes.docs.JSONResponse")
    again = await instance.http.get("/openapi.json")
    assert (again.status_code, again.headers["content-type"]) == (200, "application/json")
    assert again.content == first.content
