"""No part of a service's URL is left in a text."""

from urllib.parse import quote

import pytest

from activities.scrubbing import MASK, scrub, scrub_request


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("slack://bot@T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazk", "TIiajkdnlazk"),
        ("slack://bot@T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazk", "t1jj3t3l2"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazk/#general", "general"),
        ("ntfys://user:p%40ss%2Fword@host.example/topic", "p@ss/word"),
        ("ntfys://user:p%40ss%2Fword@host.example/topic", "p%40ss%2Fword"),
        ("ntfys://user:p%40ss%2Fword@host.example/topic", "p%40ss/word"),
        ("ntfys://user:pass@host.example:8443/topic", "host.example"),
        ("tgram://123456789:abcdefg_hijk/12345678", "bot123456789:abcdefg_hijk"),
        ("twilio://AC12:token@+15551234567/+15557654321", "15557654321"),
        ("gchat://space/key/token?thread=a%20b%20c&to=one1,two2", "a b c"),
        ("gchat://space/key/token?thread=a%20b%20c&to=one1,two2", "two2"),
        ("json://host?+Authorization=Bearer%20abcdef", "Bearer abcdef"),
    ],
)
def test_each_spelling_of_each_part(url: str, secret: str) -> None:
    for text in (f"sent to {secret}.", f"<{secret}>", f"https://api.example/{quote(secret)}/send"):
        scrubbed = scrub(text, url)
        assert MASK in scrubbed
        assert secret.lower() not in scrubbed.lower()
        assert quote(secret).lower() not in scrubbed.lower()


def test_what_is_no_secret_stays() -> None:
    url = "ntfys://abc:xyz@h.io/a/bc?format=markdown&priority=high&mode=private"
    text = "Failed to send: the format markdown has high priority in private, abc; error=403."
    assert scrub(text, url) == text


def test_a_part_in_a_part_is_masked_as_a_whole() -> None:
    assert scrub("secret-token, secret", "slack://secret/secret-token") == f"{MASK}, {MASK}"


@pytest.mark.parametrize("url", ["", "slack", "slack://", "slack://[", "slack://a/b?c", "slack://%"])
def test_any_url_will_do(url: str) -> None:
    assert scrub("a text", url) == "a text"


URL = "https://ann:p%40ssword@api.example:8443/hooks/TOPSECRETPATH/a%20b%20c?key=s3cr3tvalue&bare-token&v=1&page"
HEADERS = {"Authorization": "Bearer abc/def+ghi==", "x-key": "k3y-value, other", "Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("Cannot POST /hooks/TOPSECRETPATH/a%20b%20c", f"Cannot POST {MASK}"),
        ("no hook topsecretpath here", f"no hook {MASK} here"),
        ("no a b c, no a%20b%20c", f"no {MASK}, no {MASK}"),
        ("key=s3cr3tvalue, bare-token, page", f"key={MASK}, {MASK}, {MASK}"),
        ("user p@ssword", f"user {MASK}"),
        ("Authorization: Bearer abc/def+ghi==", f"Authorization: {MASK}"),
        ("bad token abc/def+ghi", f"bad token {MASK}"),
        ("k3y-value and others", f"{MASK} and {MASK}s"),
        ("api.example wants application/json: true, Bearer", "api.example wants application/json: true, Bearer"),
    ],
)
def test_each_secret_of_a_request(text: str, scrubbed: str) -> None:
    assert scrub_request(text, URL, HEADERS, path=True) == scrubbed


def test_a_path_that_is_shown_anyway_stays() -> None:
    text = "Cannot POST /hooks/TOPSECRETPATH?key=s3cr3tvalue"
    assert scrub_request(text, URL, {}, path=False) == f"Cannot POST /hooks/TOPSECRETPATH?key={MASK}"


@pytest.mark.parametrize(
    "url", ["", "/", "https://", "https://api.example", "https://api.example/?", "https://a/?=&&", "http://[::1/"]
)
def test_a_request_without_secrets(url: str) -> None:
    assert scrub_request("a text", url, {}, path=True) == "a text"
