"""The rules for the outcome of an attempt. Pure."""

import ast
import json
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cases import each
from hookkeeper.egress import http, proxy
from hookkeeper.messages.outcomes import (
    Outcome,
    Verdict,
    excerpt,
    excerpt_limit,
    headers_limit,
    parse_http_date,
    parse_retry_after,
    verdict_of,
)
from hookkeeper.statuses import ERRORS

NOW = datetime(1994, 11, 6, 8, 49, 0, tzinfo=UTC)


@each(
    ("status", "error", "verdict"),
    [
        (200, None, "succeeded"),
        (204, None, "succeeded"),
        (299, None, "succeeded"),
        (199, "http_199", "failed"),
        (300, "http_300", "failed"),
        (304, "http_304", "failed"),
        (400, "http_400", "failed"),
        (404, "http_404", "failed"),
        (409, "http_409", "failed"),
        (410, "http_410", "gone"),
        (410, None, "gone"),
        (429, "http_429", "failed"),
        (500, "http_500", "failed"),
        (599, "http_599", "failed"),
        (None, "timeout", "failed"),
        (None, "dns", "failed"),
        (None, "tls", "failed"),
        (None, "protocol", "failed"),
        (None, None, "failed"),
        (None, "forbidden_address", "forbidden_address"),
        (200, "timeout", "failed"),  # the body did not end in time
        (200, "connection_reset", "failed"),
        (410, "timeout", "failed"),
    ],
)
def test_a_status_or_an_error_has_its_verdict(status: int | None, error: str | None, verdict: Verdict) -> None:
    assert verdict_of(status, error) == verdict


@each(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("120", 120.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("86400", 86400.0),
        ("86401", 86400.0),
        ("9" * 5000, 86400.0),
        ("-5", None),
        ("+5", None),
        ("1e5", None),
        ("inf", None),
        ("nan", None),
        ("0x10", None),
        ("٣", None),
        ("1, 2", None),
        ("soon", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),  # IMF-fixdate
        ("Sunday, 06-Nov-94 08:49:37 GMT", 37.0),  # RFC 850
        ("Sun Nov  6 08:49:37 1994", 37.0),  # asctime
        ("Sun, 06 Nov 1994 09:49:37 +0100", 37.0),
        ("Sun, 06 Nov 1994 08:48:37 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400.0),
        ("Sun, 32 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994", None),
        ("1994-11-06T08:49:37Z", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


def test_dates_are_measured_from_now_in_any_zone() -> None:
    now = NOW.astimezone(timezone(timedelta(hours=-7)))
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now) == 37.0


def test_the_three_forms_of_a_date_are_the_same_moment() -> None:
    forms = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994")
    assert {parse_http_date(form) for form in forms} == {datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)}


@given(st.one_of(st.text(), st.text(alphabet="SunNov :,-+0123456789GMT", max_size=40)))
def test_retry_after_is_none_or_within_a_day_whatever_it_says(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= 86400


@each(
    ("body", "limit", "text"),
    [
        (b"", 10, ""),
        (b"ok", 10, "ok"),
        (b"too long", 3, "too"),
        ("héllo".encode(), 2, "h"),
        ("héllo".encode(), 3, "hé"),
        ("€€".encode(), 5, "€"),
        (b"tab\tline\nend", 20, "tab\tline\nend"),
        (b"one\r\ntwo\rthree", 20, "one\ntwo\ufffdthree"),
        (b"\x00\x1b[31m\x7f", 20, "\ufffd\ufffd[31m\ufffd"),
        ("\x85\x9f\xa0".encode(), 20, "\ufffd\ufffd\xa0"),
        (b"\xff\xfe", 20, "\ufffd\ufffd"),
        (b"\xff\xfe", 2, ""),  # U+FFFD takes three bytes
        ("ab€".encode()[:4], 4, "ab"),  # the client kept 4 bytes
        ("ab€".encode()[:4], 5, "ab\ufffd"),  # it came like that
        (b"ok", 0, ""),
    ],
)
def test_an_excerpt_is_the_start_of_the_response_as_text(body: bytes, limit: int, text: str) -> None:
    assert excerpt(body, limit) == text


@given(body=st.binary(max_size=300), limit=st.integers(0, 300))
def test_excerpts_keep_to_the_limit_and_have_no_control_characters(body: bytes, limit: int) -> None:
    text = excerpt(body, limit)
    assert len(text.encode()) <= limit
    assert not [char for char in text if unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t"]
    assert len(json.dumps(text)) - 2 <= 3 * limit


@given(text=st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs"))), limit=st.integers(0, 100))
def test_an_excerpt_of_text_is_a_prefix_of_it(text: str, limit: int) -> None:
    kept = excerpt(text.encode(), limit)
    assert text.startswith(kept)
    assert len(text[: len(kept) + 1].encode()) > limit or kept == text


def test_fewer_bytes_are_kept_the_more_targets_there_are() -> None:
    limits = [excerpt_limit(targets) for targets in range(5000)]
    assert limits == sorted(limits, reverse=True)
    assert (limits[0], limits[1], limits[53], limits[54]) == (4096, 4096, 4096, 4088)
    assert 128 < limits[500] < 4096
    assert limits[-1] == 128
    of_headers = [headers_limit(targets) for targets in range(5000)]
    assert of_headers == sorted(of_headers, reverse=True)
    assert (of_headers[0], of_headers[52], of_headers[-1]) == (2048, 2048, 0)


@each("targets", [1, 50, 53, 54, 200, 650])
@each("char", ["é", '"', "\n", "😀", "\ufffd"])
def test_the_outcomes_of_a_batch_stay_under_a_mebibyte(targets: int, char: str) -> None:
    outcome = Outcome(
        delivery="wh_" + "x" * 36,
        verdict="failed",
        target="https://example.com/" + "x" * 300,
        started_at=NOW,
        duration_ms=30000.1,
        connect_ms=30000.1,
        first_byte_ms=30000.1,
        request_digest="x" * 45,
        status_code=500,
        error="connection_refused",
        response_headers={"x": text} if (text := char * ((headers_limit(targets) - 7) // len(char.encode()))) else {},
        response_excerpt=excerpt(char.encode() * 4096, excerpt_limit(targets)),
        retry_after=86400.0,
        delays=(86400.0,) * 20,
    )
    escaped = json.dumps(outcome.model_dump(mode="json"))
    assert targets * len(escaped) < 1024 * 1024


def error_literals() -> Iterator[str]:
    """Yield each text that code of the channels gives as `error=…`, and those that its exceptions are mapped to."""
    root = Path(__file__).parents[1]
    for folder in ("activities", "hookkeeper/egress", "hookkeeper/mail", "hookkeeper/targets"):
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.keyword) and node.arg == "error" and isinstance(node.value, ast.Constant):
                    yield str(node.value.value)
    yield from (code for code, _ in http._CODES)
    for statuses in (proxy._PROXY_STATUS, proxy._SQUID, proxy._SMOKESCREEN):
        yield from statuses.values()


def test_the_known_errors_are_those_of_the_code() -> None:
    """Lists refuse others as a filter. The remaining ones are chosen in an expression, or are the last resort."""
    assert set(error_literals()) | {"protocol", "not_accepted"} == set(ERRORS)
