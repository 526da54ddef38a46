"""Links whose portal other origins may show in a frame, and links with a theme, whose colours can be read."""

import random
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from browsers import Browser, browsing
from problems import problem
from temporalio.client import Client
from test_login import cookie_of
from test_page_access import NEEDS, request
from test_portal_links import LINKS, SESSIONS, listed, make_link, path_in, press, visiting

from api.sessions import FRAMED, SESSION
from dashboard.look import DARK_CARD, DARK_PAGE, LIGHT_PAGE, WHITE, Colour, accent_style, contrast
from instances import KEY, Instance, running_instance

ORIGINS = ["https://app.acme.example", "https://acme.example:8443"]
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
DATA = f"data:image/png;base64,{b64encode(PNG).decode()}"
THEME = {"name": "Acme", "mode": "dark", "accent": "#0F766E", "logo": DATA}
BAD_ORIGINS = [
    *("*", "https://*", "https://*.acme.example", "https://acme.example/", "https://acme.example/app", "acme.example"),
    *("http://acme.example", "https://acme.example; script-src *", "https://acme.example https://evil.test", "'self'"),
    *(
        "https://acme.example\n",
        "https://acme.example:0",
        "https://u@acme.example",
        "https://Acme.example",
        "data:",
        "",
    ),
    *("http://localhost.evil.test", "https://-acme.example", "https://ac_me.example", "https://bücher.example"),
]
BAD_COLOURS = ["red", "#fff", "#12345g", "#123456;", "#123456\n", "0f766e", "url(x)", ""]
BAD_LOGOS = [
    *("https://acme.example/logo.png", "data:image/svg+xml;base64,PHN2Zz4=", "data:image/png;base64,AAAA", "data:,"),
    *(
        DATA + "\n",
        DATA.replace("png", "jpeg"),
        DATA + "=",
        "data:text/html;base64,iVBORw0KGgo=",
        "javascript:alert(1)",
    ),
    "data:image/png;base64," + b64encode(PNG + b"x" * 25_000).decode(),
]
PAIR = re.compile(r"--([a-z-]+): light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\);")


def ancestors(answer: httpx.Response) -> str:
    (found,) = re.findall("frame-ancestors ([^;]*)", answer.headers["content-security-policy"])
    return str(found)


@asynccontextmanager
async def framed(instance: Instance, **fields: Any) -> AsyncIterator[tuple[Browser, dict[str, Any]]]:
    """Return a browser with a session in a frame; its cookie needs https."""
    link = await make_link(instance, frame_origins=ORIGINS, **fields)
    async with browsing(instance.app, key=None) as browser:
        browser.http.base_url = httpx.URL("https://hookkeeper.test")
        assert (await press(browser, link)).status_code == 303
        yield browser, link


@pytest.mark.promise("docs/dashboard.md")
async def test_named_origins_may_frame_the_portal_and_nothing_else(instance: Instance) -> None:
    async with framed(instance) as (browser, link), browsing(instance.app, key=None) as visitor:
        for path in ("/", "/events", "/webhooks", "/events/nowhere", "/audit"):
            assert ancestors(await browser.get(path)) == " ".join(ORIGINS), path
        assert ancestors(await browser.get(path_in(link))) == " ".join(ORIGINS), "also where it says that it was used"
        for path in ("/login", "/portal/unknown"):
            assert ancestors(await browser.get(path)) == "'none'", path
        assert ancestors(await visitor.get("/events")) == "'none'"
        visitor_link = await make_link(instance)
        assert ancestors(await visitor.get(path_in(visitor_link))) == "'none'"
        await visitor.log_in(KEY)
        assert ancestors(await visitor.get("/events")) == "'none'"
    assert (await listed(instance))[link["id"]]["frame_origins"] == ORIGINS


async def test_the_cookie_of_a_frame_is_partitioned(instance: Instance) -> None:
    link = await make_link(instance, frame_origins=ORIGINS)
    async with browsing(instance.app, key=None) as browser:
        browser.http.base_url = httpx.URL("https://hookkeeper.test")
        answer = await press(browser, link)
        cookies = answer.headers.get_list("set-cookie")
        assert [cookie.partition("=")[0] for cookie in cookies] == [FRAMED.name, "hookkeeper_portal_frame"]
        for cookie in cookies:
            for part in ("HttpOnly", "Secure", "SameSite=none", "Partitioned"):
                assert part in cookie
        assert (await browser.get("/events")).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_form_of_another_site_changes_nothing(instance: Instance, site: str) -> None:
    """The browser sends the cookie, and says where the form is. Without its word, the proof decides."""
    hook = await instance.webhook("http://127.0.0.1:9000/")
    page = f"/webhooks/{hook['id']}"
    async with framed(instance, capabilities=["manage_webhooks"]) as (browser, _):
        proof = await browser.proof(page)
        forged: tuple[tuple[dict[str, str], dict[str, str]], ...] = (
            ({"proof": proof}, {"sec-fetch-site": site}),
            ({"proof": "0" * 64}, {}),
            ({}, {}),
        )
        for data, headers in forged:
            answer = await browser.http.post(f"{page}/pause", data=data, headers=headers)
            assert (answer.status_code, "not made for your session" in answer.text) == (403, True)
        assert (await instance.http.get(f"/v1{page}")).json()["paused_at"] is None
        answer = await browser.http.post(
            f"{page}/pause", data={"proof": proof}, headers={"sec-fetch-site": "same-origin"}
        )
        assert answer.status_code == 303


async def test_a_session_in_a_frame_can_do_no_more_than_its_link_says(instance: Instance) -> None:
    async with framed(instance) as (browser, _):
        proof = await browser.proof("/events")
        for route, needed in NEEDS.items():
            answer = await request(browser, route, proof)
            is_allowed = bool({"events:read", "webhooks:read"} & set(needed.split()))
            assert (answer.status_code != 403) is is_allowed, route
            assert ancestors(answer) == " ".join(ORIGINS) or route == "GET /", route


async def test_an_ended_session_says_so_in_its_frame(instance: Instance) -> None:
    async with framed(instance) as (browser, link):
        await instance.http.delete(f"{SESSIONS}/{link['id']}")
        for path in ("/events", "/webhooks"):
            answer = await browser.get(path)
            assert (answer.status_code, ancestors(answer)) == (401, " ".join(ORIGINS))
            assert "The session has ended" in answer.text
        answer = await browser.http.get("/events", headers={"sec-fetch-dest": "document"})
        assert answer.headers["location"].startswith("/login"), "outside a frame"
    async with framed(instance) as (browser, link):
        answer = await browser.submit("/events", "/logout")
        assert (answer.status_code, ancestors(answer)) == (200, " ".join(ORIGINS))
        assert "Max-Age=0" in cookie_of(answer, FRAMED.name)
    assert (await listed(instance))[link["id"]]["status"] == "revoked"


async def test_a_browser_has_one_session(instance: Instance) -> None:
    """Where a frame is of the same site, its cookie is sent with pages outside it too."""
    async with framed(instance) as (browser, link):
        await browser.log_in(KEY)
        assert [cookie.name for cookie in browser.http.cookies.jar] == [SESSION.name]
        assert "Admin key" in (await browser.page("/events")).text
        link = await make_link(instance, frame_origins=ORIGINS)
        await press(browser, link)
        assert [cookie.name for cookie in browser.http.cookies.jar] == [FRAMED.name]
        assert ancestors(await browser.get("/events")) == " ".join(ORIGINS)


async def test_a_theme_changes_the_look_and_not_the_policy(instance: Instance) -> None:
    async with visiting(instance, theme=THEME) as (browser, link):
        answer = await browser.get("/events")
        assert '<html lang="en" data-mode="dark">' in answer.text
        assert "· Acme</title>" in answer.text
        assert set(re.findall('(?:src|href)="(/(?:theme|logo)[^"]*)', answer.text)) == {
            "/theme/0f766e-0f766e.css",
            f"/logo?v={link['id']}",
        }
        assert set(re.findall("(\\w+-src) ([^;]+)", answer.headers["content-security-policy"])) == {
            ("default-src", "'none'"),
            *((f"{kind}-src", "'self'") for kind in ("script", "style", "img", "connect")),
        }
        logo = await browser.get(f"/logo?v={link['id']}")
        assert (logo.headers["content-type"], logo.content) == ("image/png", PNG)
        assert "sandbox" in logo.headers["content-security-policy"]
        style = await browser.get("/theme/0f766e-0f766e.css")
        assert style.headers["content-type"].startswith("text/css")
        assert "--accent: light-dark(#0f766e, " in style.text
        for path in ("/theme/0f766e.css", "/theme/0f766e-red}}x.css", "/theme/0F766E-0f766e.css"):
            assert (await browser.get(path)).status_code in (404, 422), path
    shown = (await listed(instance))[link["id"]]["theme"]
    assert shown == {"name": "Acme", "mode": "dark", "accent": "#0f766e", "accent_dark": None, "has_logo": True}
    async with visiting(instance) as (browser, _):
        assert (await browser.get("/logo")).status_code == 404
        assert "Hookkeeper</title>" in (await browser.get("/events")).text


async def test_an_origin_or_a_theme_that_could_inject_a_policy_or_a_style_is_refused(instance: Instance) -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        *(({"frame_origins": [origin]}, "frame_origins.0") for origin in BAD_ORIGINS),
        ({"frame_origins": [f"https://a{n}.example" for n in range(11)]}, "frame_origins"),
        *(({"theme": {"accent": colour}}, "theme.accent") for colour in BAD_COLOURS),
        *(({"theme": {"logo": logo}}, "theme.logo") for logo in BAD_LOGOS),
        ({"theme": {"mode": "dark }"}}, "theme.mode"),
        ({"theme": {"name": "a\nb"}}, "theme.name"),
    ]
    for fields, path in refused:
        problem(await instance.http.post(LINKS, json=fields), 422, path)
    assert await listed(instance) == {}


@pytest.mark.parametrize(("port", "status"), [(65_535, 201), (9999, 201), (65_536, 422), (99_999, 422)])
async def test_the_port_of_an_origin_exists(instance: Instance, port: int, status: int) -> None:
    """Browsers drop an origin with another port from the policy, and the frame would stay empty without a reason."""
    answer = await instance.http.post(LINKS, json={"frame_origins": [f"https://acme.example:{port}"]})
    assert answer.status_code == status
    if status == 422:
        (error,) = problem(answer, 422, "frame_origins.0")["errors"]
        assert "with a port up to 65535" in error["detail"]


async def test_a_frame_needs_https(temporal: Client, tmp_path: Path) -> None:
    async with running_instance(temporal, tmp_path, public_url="http://hooks.test") as instance:
        answer = await instance.http.post(LINKS, json={"frame_origins": ORIGINS})
        assert "HOOKKEEPER_PUBLIC_URL" in str(problem(answer, 422, "frame_origins"))


def read(text: str) -> Colour:
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


def test_contrast_is_that_of_wcag() -> None:
    assert contrast((0, 0, 0), WHITE) == pytest.approx(21)
    assert contrast((0x77, 0x77, 0x77), WHITE) == pytest.approx(4.48, abs=0.01)


def test_a_readable_colour_stays_as_it_is() -> None:
    style = accent_style("#4338ca", "#a9a5ff")
    assert "--accent: light-dark(#4338ca, #a9a5ff);" in style
    assert "--accent: light-dark(#4338ca, #a9a5ff);" not in accent_style("#a9a5ff", "#4338ca")


def test_every_text_has_enough_contrast() -> None:
    chosen = random.Random(40)
    given = ["#000000", "#ffffff", "#ffff00", "#0000ff", *(f"#{chosen.randrange(2**24):06x}" for _ in range(300))]
    for colour in given:
        found = {name: (read(light), read(dark)) for name, light, dark in PAIR.findall(accent_style(colour, colour))}
        assert found.keys() == {"accent", "on-accent", "accent-soft"}
        for mode, grounds in enumerate(((WHITE, LIGHT_PAGE), (DARK_PAGE, DARK_CARD))):
            accent = found["accent"][mode]
            for other in (*grounds, found["on-accent"][mode], found["accent-soft"][mode]):
                assert contrast(accent, other) >= 4.5, (colour, mode, other)
