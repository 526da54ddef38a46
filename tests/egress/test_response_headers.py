"""The headers of a response that are kept: few, short, and without secrets."""

from cases import each
from hookkeeper.egress.scrubbing import shown_headers

URL, HEADERS = "https://a.example/hook?key=query-secret", {"authorization": "Bearer header-secret"}
MASK = "********"


def shown(*lines: tuple[str, str], limit: int = 2048) -> dict[str, str]:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in lines]
    return shown_headers(raw, limit, URL, HEADERS, path=False)


def test_headers_about_the_receiver_are_kept_in_their_order() -> None:
    lines = [("Server", "nginx"), ("Date", "today"), ("Connection", "close"), ("Via", "1.1 a"), ("via", "1.1 b")]
    assert [*shown(*lines).items()] == [("server", "nginx"), ("via", "1.1 a, 1.1 b")]


@each(
    "name", ["Set-Cookie", "Authorization", "X-API-Key", "x-csrf-token", "x-amz-security-token", "Authentication-Info"]
)
def test_a_header_that_can_be_secret_is_masked(name: str) -> None:
    assert shown((name, "abc"), (name, "def")) == {name.lower(): MASK}


def test_www_authenticate_is_not_masked() -> None:
    assert shown(("WWW-Authenticate", 'Basic realm="shop"')) == {"www-authenticate": 'Basic realm="shop"'}


def test_secrets_of_the_request_are_masked_in_all_values() -> None:
    lines = [("location", URL), ("x-echo", "Bearer header-secret"), ("x-other", "header-secreT!"), ("x-plain", "a")]
    assert shown(*lines) == {
        "location": f"https://a.example/hook?key={MASK}",
        "x-echo": MASK,
        "x-other": f"{MASK}!",
        "x-plain": "a",
    }


def test_too_many_secrets_mask_everything() -> None:
    assert shown(("x-echo", "header-secret " * 2001), ("x-plain", "a"), limit=64 * 1024) == dict.fromkeys(
        ("x-echo", "x-plain"), MASK
    )


def test_a_header_that_does_not_fit_is_left_out() -> None:
    lines = [("x-long", "a" * 60), ("x-a", "é" * 20), ("x-b", "b" * 20), ("x-c", "c")]
    assert [*shown(*lines, limit=90)] == ["x-long", "x-c"]
    assert shown(("x-a", "\xff" * 20), limit=60) == {}, "each of these bytes is a character of three"


def test_control_characters_are_replaced() -> None:
    assert shown(("x-a", "a\x1b[31m\x7fb"), ("x-b", "c\td")) == {"x-a": "a\ufffd[31m\ufffdb", "x-b": "c\td"}
