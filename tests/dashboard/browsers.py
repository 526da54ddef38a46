"""A reader of the pages: an HTTP client with cookies and without a key, which sends forms as a browser does."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from html.parser import HTMLParser

import httpx
from callers import calling
from fastapi import FastAPI

from hookkeeper.messages.run_report import RunReport
from instances import KEY
from reports import changed


class Page(HTMLParser):
    """What a page has: its text, links and forms."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> set[str]:
        return {attributes["href"] or "" for tag, attributes in self.tags if tag == "a" and "href" in attributes}

    def actions(self) -> list[str]:
        """Return where the forms with POST go."""
        return [
            (attributes["action"] or "").partition("#")[0]
            for tag, attributes in self.tags
            if tag == "form" and attributes.get("method") == "post"
        ]


class Form(HTMLParser):
    """The fields of the form with this action, as a browser sends them: what is disabled or not checked is left out."""

    def __init__(self, html: str, action: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._action, self._is_inside = action, False
        self._name: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        if tag == "form":
            self._is_inside = (has.get("action") or "").partition("#")[0] == self._action
        if not self._is_inside:
            return
        name = has.get("name")
        if tag == "input" and name and (has.get("type") != "checkbox" or "checked" in has):
            text = has.get("value") or ""
            is_line = has.get("type") != "hidden"
            self.fields[name] = text.replace("\r", "").replace("\n", "") if is_line else text
        elif tag in ("textarea", "select") and name:
            self._name = name
            self.fields[name] = ""
        elif tag == "option" and self._name and "selected" in has:
            self.fields[self._name] = has.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._name:
            text = self.fields[self._name].removeprefix("\n")
            self.fields[self._name] = text.replace("\n", "\r\n")
        if tag in ("textarea", "select"):
            self._name = None
        if tag == "form":
            self._is_inside = False

    def handle_data(self, data: str) -> None:
        if self._name and self.lasttag == "textarea":
            self.fields[self._name] += data


def needing_attention(report: RunReport) -> RunReport:
    """Return the report of an event that needs attention."""
    return changed(report, needs_attention=True)


class Browser:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def get(self, path: str) -> httpx.Response:
        return await self.http.get(path)

    async def page(self, path: str) -> Page:
        """Open a page that is there."""
        answer = await self.http.get(path)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return Page(answer.text)

    async def submit(self, on: str, action: str, /, **fields: str) -> httpx.Response:
        """Send a form of the page `on`, with the proof that the page has."""
        return await self.http.post(action, data={"proof": await self.proof(on), **fields})

    async def submit_as_shown(self, on: str, action: str) -> httpx.Response:
        """Send a form of the page `on` as it is, with its hidden fields."""
        return await self.http.post(action, data=Form((await self.http.get(on)).text, action).fields)

    async def proof(self, path: str) -> str:
        answer = await self.http.get(path)
        found = re.search(r'name="proof" value="([0-9a-f]{64})"', answer.text)
        assert found, answer.text
        return unescape(found[1])

    async def log_in(self, key: str, then: str = "/") -> httpx.Response:
        return await self.submit("/login", "/login", key=key, next=then)


@asynccontextmanager
async def browsing(app: FastAPI, key: str | None = KEY, address: str = "192.0.2.1") -> AsyncIterator[Browser]:
    """Return a browser, which has logged in with the key."""
    async with calling(app, None, address) as http:
        browser = Browser(http)
        if key:
            answer = await browser.log_in(key)
            assert answer.status_code == 303, answer.text
        yield browser
