"""The table of causes: each error that an attempt can have has a sentence and a remedy of its own."""

import pytest

from hookkeeper.causes import CAUSES, UNKNOWN, cause_of, remedy_of, sentence_of
from hookkeeper.statuses import ERRORS


@pytest.mark.parametrize("error", [*ERRORS, "bad_filter", "bounced", "dropped", "smtp_421", "smtp_550", "http_599"])
def test_each_error_has_a_cause(error: str) -> None:
    cause = cause_of(error)
    assert cause in CAUSES
    assert cause is not None
    assert cause.remedy.endswith(".")


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410, 413, 422, 429, 500, 503, 599])
def test_each_status_is_named(status: int) -> None:
    assert str(status) in (sentence_of(f"http_{status}", status, "out of order") or "")


@pytest.mark.parametrize(
    ("error", "status_code", "text", "sentence"),
    [
        (None, 200, "ok", None),
        ("tls", None, "self-signed certificate in certificate chain", "The certificate is self-signed"),
        ("tls", None, "certificate has expired", "The certificate has expired"),
        ("tls", None, "odd", "The TLS handshake failed: odd"),
        ("http_404", 404, "<html>", "The receiver knows no such path: 404 Not Found"),
        ("http_418", 418, "", "The receiver refuses the request: 418 I'm a Teapot"),
        ("smtp_550", 550, "no such\n user", "The mail server refuses the email: SMTP 550, no such user"),
        ("http_307", 307, "https://new.example/", "The receiver redirects, and redirects are not followed: "
         "307 Temporary Redirect, https://new.example/"),
        ("new_error", None, "", "The attempt failed"),
    ],
)  # fmt: skip
def test_a_sentence_has_the_status_and_what_was_met(
    error: str | None, status_code: int | None, text: str, sentence: str | None
) -> None:
    assert sentence_of(error, status_code, text) == sentence


def test_a_long_text_is_cut_and_a_sentence_can_be_translated() -> None:
    shown = sentence_of("bad_template", None, "x" * 10_000, lambda text: f"<{text}>") or ""
    assert shown.startswith("<A template of the webhook fails for this event>: xxx")
    assert len(shown) < 200
    assert remedy_of("new_error") == UNKNOWN.remedy
    assert remedy_of(None) is None
