"""The languages of the portal: each text is translated, and a reader gets the language that is asked for."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.frontend import CommandLineInterface
from babel.messages.pofile import read_po
from browsers import browsing
from test_portal_links import FURTHER, make_link, path_in, visiting

from dashboard.rendering import templates_in
from dashboard.translation import language_of, read_messages, texts_of_scripts
from dashboard.webhook_receiver import LANGUAGES as LANGUAGES_OF_PROGRAMS
from hookkeeper.services.caller import LANGUAGES
from index_rows import until_indexed
from instances import Instance
from receivers import Receiver

ROOT = Path(__file__).parent.parent.parent
LOCALES = ROOT / "dashboard" / "locales"
TRANSLATED = sorted({*LANGUAGES} - {"en"})
PLACEHOLDER = re.compile(r"%\(\w+\)s|%%|\{\w+\}|</?\w+>")
PLURALS = {"de": [1, 0, 1], "fr": [0, 0, 1]}
"""The forms for 0, 1 and 2."""
NAMES = {
    "Shop",
    "Office",
    "order.paid",
    "order",
    "integer",
    "KiB",
    "Standard Webhooks",
    "Hookkeeper",
    "UTC",
    "CSV",
    "JSON",
    *LANGUAGES_OF_PROGRAMS,
}
"""What the test, or the world, has named."""
OF_OPERATORS = re.compile("HOOKKEEPER_|Temporal|worker|registry|tenant|API process|audit log", re.IGNORECASE)
DATA = ("code", "pre", "bdi", "time", "script", "style", "title", "textarea")
"""Elements with what customers have named, with times, and with programs."""


class Texts(HTMLParser):
    """The words of a page, apart from data: its texts and what it says to readers of the screen."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in DATA:
            self._inside.append(tag)
        for name, value in attrs:
            if name in ("aria-label", "title", "data-zone", "data-news") and value:
                self.found.add(value)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside and re.search("[A-Za-z]{3}", data):
            self.found.add(" ".join(data.split()))


@pytest.mark.parametrize("language", TRANSLATED)
def test_each_text_is_translated_with_its_placeholders(
    language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    template = tmp_path / "pages.pot"
    command = "pybabel -q extract -F pyproject.toml -k ValueError -k Invalid --no-location -o"
    CommandLineInterface().run([*command.split(), str(template), "."])  # type: ignore[no-untyped-call]
    with template.open("rb") as file:
        wanted = {
            message.id if isinstance(message.id, str) else message.id[0] for message in read_po(file) if message.id
        }
    messages = _messages(language)
    del messages[""]
    assert wanted == messages.keys(), "make messages"
    for id_, texts in messages.items():
        for text in texts:
            assert sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(id_)), text


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_file_of_translations_is_read_as_babel_reads_it(language: str) -> None:
    with (LOCALES / language / "LC_MESSAGES" / "pages.po").open("rb") as file:
        catalog = read_po(file)
    ours = _messages(language)
    for message in catalog:
        if message.id:
            texts = [message.string] if isinstance(message.string, str) else list(message.string or ())
            id_ = message.id if isinstance(message.id, str) else message.id[0]
            assert ours[id_] == texts
    counted = templates_in(language).from_string(
        "{% trans n=n %}{{ n }} attempt{% pluralize %}{{ n }} attempts{% endtrans %}"
    )
    forms = [ours["%(n)s attempt"].index(counted.render(n=n).replace(str(n), "%(n)s")) for n in (0, 1, 2)]
    assert forms == PLURALS[language]


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("*", "en"),
        ("de", "de"),
        ("fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5", "fr"),
        ("en;q=0.5,DE-at;q=0.8", "de"),
        ("ja, de; q=0.3", "de"),
        ("de;q=0, fr;q=0.1", "fr"),
        ("de;q=high, fr;level=1", "en"),
        ("de;q=nan", "en"),
        (",;q=1,;;,de", "de"),
        ("ja," * 1000 + "de", "en"),
    ],
)
def test_the_language_is_the_one_of_ours_that_a_browser_prefers(accepted: str, language: str) -> None:
    assert language_of(accepted) == language


def test_scripts_have_their_texts_in_each_language() -> None:
    assert texts_of_scripts("en") == {}
    assert texts_of_scripts("de")["is due"] == "ist fällig"
    assert set(texts_of_scripts("fr")) == set(texts_of_scripts("de"))


async def test_a_link_a_browser_or_a_key_chooses_the_language(instance: Instance) -> None:
    german = {"accept-language": "de"}

    async with visiting(instance) as (browser, _):
        for asked, language in (("de-CH", "de"), ("fr", "fr"), ("ja", "en")):
            answer = await browser.http.get("/events", headers={"accept-language": asked})
            assert f'<html lang="{language}"' in answer.text
            assert (answer.headers["content-language"], answer.headers["vary"]) == (language, "accept-language")
    async with visiting(instance, language="fr") as (browser, link):
        assert '<html lang="fr"' in (await browser.http.get("/events", headers=german)).text
        assert link["language"] == "fr"
    async with browsing(instance.app) as browser:
        assert '<html lang="en"' in (await browser.http.get("/events", headers=german)).text
    async with browsing(instance.app, key=None) as browser:
        for path in ("/login", "/portal/unknown", path_in(await make_link(instance))):
            assert '<html lang="de"' in (await browser.http.get(path, headers=german)).text


@pytest.mark.parametrize("language", TRANSLATED)
async def test_no_page_of_the_portal_has_an_english_text(instance: Instance, inbox: Receiver, language: str) -> None:
    """Setup: a webhook that fails, one that is paused, an event type. Proves: no text is the same in both languages."""
    inbox.fails(503)
    hook = await instance.webhook(inbox.url, name="Shop", retry={"schedule": [3600]}, headers={"x-token": "abc"})
    await instance.webhook("http://127.0.0.1:9000/", name="Office", enabled=False)
    event = await instance.send(data={"order": 4711})
    schema = {"properties": {"order": {"type": "integer", "minimum": 1}}, "required": ["order"]}
    entry = {"name": "order.paid", "schema": schema, "examples": [{"order": 1}]}
    assert (await instance.http.post("/v1/event-types", json=entry)).status_code == 201
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    await until_indexed(instance, event["id"])
    page = f"/webhooks/{hook['id']}"
    paths = ["/", "/events", "/events?status=failed&last=24h", "/webhooks", "/webhooks/new", "/event-types", "/nowhere"]
    paths += [page, *(f"{page}/{tab}" for tab in ("deliveries", "settings", "test", "verify", "edit"))]
    paths += [f"/events/{event['id']}", f"/events/{event['id']}/deliveries/{hook['id']}/request"]
    paths += [f"/{further}" for further in FURTHER]
    equal = {_word(id_) for id_, texts in _messages(language).items() if id_ in texts}
    same: set[str] = set()
    every = ["view_secrets", "manage_webhooks", "redeliver"]
    async with visiting(instance, capabilities=every, pages=FURTHER, name="–") as (browser, _):
        for path in paths:
            english, translated = [
                Texts(
                    (await browser.http.get(path, headers={"accept": "text/html", "accept-language": asked})).text
                ).found
                for asked in ("en", language)
            ]
            assert len(translated) > 3, path
            assert [text for text in english if OF_OPERATORS.search(text)] == [], path
            same |= {f"{path}: {text}" for text in english & translated if _word(text) not in {*NAMES, *equal}}
    assert same == set()


async def test_errors_of_a_form_are_in_the_language_and_name_no_setting(instance: Instance) -> None:
    async with visiting(instance, capabilities=["manage_webhooks"], language="de") as (browser, _):
        for url, error in (
            ("ftp://a.example", "muss mit https:// oder http:// beginnen"),
            ("http://10.0.0.1/", "Adresse, die nicht öffentlich ist: Nur der Betreiber kann sie erlauben"),
        ):
            answer = await browser.submit("/webhooks/new", "/webhooks/new", url=url)
            assert (answer.status_code, error in answer.text, "HOOKKEEPER" in answer.text) == (422, True, False)


def _word(text: str) -> str:
    """Return a text without numbers and signs around it."""
    return re.sub(r"^[^A-Za-z]+|[^A-Za-z)]+$", "", text)


def _messages(language: str) -> dict[str, list[str]]:
    return read_messages((LOCALES / language / "LC_MESSAGES" / "pages.po").read_text())
