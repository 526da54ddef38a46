"""Secrets of URLs and headers are masked in texts of receivers."""

import html
import json
import time
from base64 import b64encode
from collections.abc import Callable
from typing import NoReturn
from urllib.parse import quote, quote_plus

from cases import each
from hookkeeper.content.headers import MASK, SIGNATURE
from hookkeeper.egress.scrubbing import scrub_request

URL = "https://ann:p%40ssword@api.example:8443/hooks/TOPSECRETPATH/a%20b%20c?key=s3cr3tvalue&bare-token&v=1&page"
HEADERS = {"Authorization": "Bearer abc/def+ghi==", "x-key": "k3y-value, other", "Content-Type": "application/json"}


@each(
    ("text", "scrubbed"),
    [
        ("Cannot POST /hooks/TOPSECRETPATH/a%20b%20c", f"Cannot POST {MASK}"),
        ("no hook topsecretpath here", f"no hook {MASK} here"),
        ("no a b c, no a%20b%20c", f"no {MASK}, no {MASK}"),
        ("key=s3cr3tvalue, bare-token, page", f"key={MASK}, {MASK}, {MASK}"),
        ("user p@ssword", f"user {MASK}"),
        ("Authorization: Bearer abc/def+ghi==", f"Authorization: {MASK}"),
        ("bad token abc/def+ghi", f"bad token {MASK}"),
        ("x-key: k3y-value, other.", f"x-key: {MASK}."),
        ("k3y-value and others", "k3y-value and others"),  # whole values only: words of 30 headers cost 0.3 s
        ("api.example wants application/json: true, Bearer", "api.example wants application/json: true, Bearer"),
    ],
)
def test_each_secret_of_a_request_is_masked(text: str, scrubbed: str) -> None:
    assert scrub_request(text, URL, HEADERS, path=True) == scrubbed


@each(
    "spell",
    [
        str,
        str.upper,
        lambda value: json.dumps(value)[1:-1],
        lambda value: json.dumps(value)[1:-1].replace("/", "\\/"),
        html.escape,
        quote,
        quote_plus,
        lambda value: quote(value, safe=""),
    ],
)
def test_a_whole_header_value_is_masked_in_each_spelling(spell: Callable[[str], str]) -> None:
    short, long = '/t"ok&n/', "".join(chr(33 + n % 90) for n in range(4000))
    for value in (short, long):
        for text in (f"got [{spell(value)}]", f"got [{spell(value)}] and [{spell(value)}]"):
            scrubbed = scrub_request(text, "https://api.example", {"x-token": value}, path=False)
            assert scrubbed == text.replace(spell(value), MASK)


def test_a_long_value_that_was_cut_is_masked_as_far_as_it_goes() -> None:
    value = "".join(map(str, range(1000)))
    for text in (f"bad token {value[:40]}…", f"bad token {value[:200]}…"):
        assert scrub_request(text, "https://api.example", {"x-token": value}, path=False) == f"bad token {MASK}…"


@each("scheme", ["Basic", "basic"])
@each("said", ["user and pass:word", "pass:word", b64encode(b"user:pass:word").decode()])
def test_basic_credentials_are_masked_in_each_form(scheme: str, said: str) -> None:
    sent = b64encode(b"user:pass:word").decode()
    for url, headers in (
        ("https://api.example", {"authorization": f"{scheme} {sent}"}),
        ("https://user:pass%3Aword@api.example", {}),
    ):
        assert "pass:word" not in (scrubbed := scrub_request(f"no {said}!", url, headers, path=False))
        assert sent not in scrubbed


@each(
    ("said", "scrubbed"),
    [
        ("v1,a+b/c= v1a,d+e/f==", f"v1,{MASK} v1a,{MASK}"),
        ("bad signature: v1a,d+e/f==", f"bad signature: v1a,{MASK}"),
        ('["v1", "d+e/f=="]', f'["v1", "{MASK}"]'),
        ("v1 v1a", "v1 v1a"),
    ],
)
def test_each_signature_of_a_request_is_masked(said: str, scrubbed: str) -> None:
    headers = {SIGNATURE: "v1,a+b/c= v1a,d+e/f=="}
    assert scrub_request(said, "https://api.example", headers, path=False) == scrubbed


def test_an_empty_answer_costs_nothing() -> None:
    class Headers(dict[str, str]):
        def items(self) -> NoReturn:
            raise AssertionError("nothing is said that could hold a secret")

    assert scrub_request("", "https://api.example/?key=secret", Headers(a="b"), path=True) == ""


def test_the_cost_of_scrubbing_does_not_grow_with_the_words_of_headers() -> None:
    """30 headers of 4 KiB took 0.3 s of the worker's loop for an empty answer, and up to 1.2 s for another."""

    def seconds(values: list[str]) -> float:
        headers = {f"x-{n}": value for n, value in enumerate(values)}
        started = time.thread_time()
        scrub_request("error: something went wrong; " * 170, "https://api.example", headers, path=True)
        return time.thread_time() - started

    one_word = [f"{n:04}" * 1000 for n in range(30)]
    many_words = [" ".join(f"w{n}x{m}" for m in range(600))[:4000] for n in range(30)]
    assert min(seconds(many_words) for _ in range(5)) < 20 * min(seconds(one_word) for _ in range(5))


def test_a_text_that_is_full_of_secrets_is_masked_as_a_whole() -> None:
    headers = {f"x-{n}": "a" * (100 + n) for n in range(30)}
    text = ("a" * 40 + ".") * 120
    assert scrub_request(text, "https://api.example", headers, path=False) == MASK


def test_a_path_that_the_target_shows_is_not_masked() -> None:
    text = "Cannot POST /hooks/TOPSECRETPATH?key=s3cr3tvalue"
    assert scrub_request(text, URL, {}, path=False) == f"Cannot POST /hooks/TOPSECRETPATH?key={MASK}"


@each("url", ["", "/", "https://", "https://api.example", "https://api.example/?", "https://a/?=&&", "http://[::1/"])
def test_a_request_without_secrets_masks_nothing(url: str) -> None:
    assert scrub_request("a text", url, {}, path=True) == "a text"
