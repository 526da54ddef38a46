"""The digest of a request shows which of its parts has changed. A guess of a secret cannot be checked with it."""

from cases import each
from hookkeeper.crypto.signing_keys import Part, RequestChanges, changed_parts, new_secret, request_digest

KEY, EARLIER = new_secret("v1"), new_secret("v1a")
URL, HEADERS, BODY = "POST https://a.example/hook?key=1", {"X-Token": "t", "content-type": "text/plain"}, b"body"
SENT = request_digest(KEY, URL, HEADERS, BODY)


@each(
    ("now", "expected"),
    [
        ((URL, HEADERS, BODY), ()),
        ((URL, {"content-type": "text/plain", "x-token": "t"}, BODY), ()),
        ((URL + "2", HEADERS, BODY), ("URL",)),
        ((URL, HEADERS | {"X-Token": "u"}, BODY), ("headers",)),
        ((URL, {"content-type": "text/plain"}, BODY), ("headers",)),
        ((URL, HEADERS, b"bodY"), ("body",)),
        (("POST https://b.example", {}, b""), ("URL", "headers", "body")),
    ],
)
def test_a_digest_shows_which_part_of_a_request_has_changed(
    now: tuple[str, dict[str, str], bytes], expected: tuple[Part, ...]
) -> None:
    assert changed_parts(SENT, [KEY], *now) == RequestChanges(expected, is_complete=True)


def test_after_a_rotation_the_earlier_key_still_compares() -> None:
    rotated = request_digest(EARLIER, URL, HEADERS, BODY)
    assert changed_parts(rotated, [KEY, EARLIER], URL, {}, BODY) == RequestChanges(("signing key", "headers"), True)
    assert changed_parts(rotated, [KEY], URL, {}, BODY) == RequestChanges(("signing key",), is_complete=False)
    assert changed_parts(rotated, [KEY], URL, {}, b"") == RequestChanges(("signing key", "body"), is_complete=False)


def test_the_parts_of_a_digest_are_short_and_keyed() -> None:
    other = request_digest(EARLIER, URL, HEADERS, BODY)
    assert [*map(len, SENT.split("."))] == [4, 8, 8, 22]
    assert [one == two for one, two in zip(SENT.split("."), other.split("."), strict=True)] == [False] * 3 + [True]
