"""Signatures as `hookkeeper verify` and `hookkeeper listen` check them."""

import hmac

import pytest

from cli.client.signatures import check_request, signed_headers, verify
from cli.console import Failed
from hookkeeper.crypto.signing_keys import new_secret, public_key

SYMMETRIC, ASYMMETRIC = new_secret("v1"), new_secret("v1a")


@pytest.mark.parametrize(
    ("secret", "key"),
    [(SYMMETRIC, SYMMETRIC), (ASYMMETRIC, ASYMMETRIC), (ASYMMETRIC, public_key(ASYMMETRIC))],
    ids=["symmetric", "asymmetric", "public"],
)
def test_any_bytes_verify_with_the_key_that_signed_them_and_no_other(secret: str, key: str) -> None:
    headers = signed_headers(secret, "evt_1", b"\xff")
    other = public_key(new_secret("v1a")), new_secret("v1")
    assert verify([*other, key], headers, b"\xff") is True
    assert verify([*other], headers, b"\xff") is False
    assert verify([key], headers | {"webhook-id": "evt_2"}, b"\xff") is False
    assert verify([], headers, b"\xff") is None


@pytest.mark.parametrize("key", [SYMMETRIC, public_key(ASYMMETRIC)], ids=["symmetric", "public"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"webhook-signature": "v1a,ä v1,ä"}, "wrong signature"),
        ({"webhook-signature": ""}, "wrong signature"),
        ({"webhook-id": "\ud800\udcff"}, "wrong signature"),
        ({"webhook-id": "e" * 2049}, "too long"),
        ({"webhook-signature": "v1,AAAA " * 11}, "too long"),
        ({"webhook-signature": "v1,AAAA v1a,AAAA"}, "wrong signature"),
        ({"webhook-timestamp": "9" * 400}, "no number of seconds"),
        ({"webhook-timestamp": "9" * 5000}, "no number of seconds"),
        ({"webhook-timestamp": "²"}, "no number of seconds"),
        ({"webhook-timestamp": "1"}, "s off"),
    ],
)
def test_a_malformed_request_is_refused_with_the_reason(key: str, changes: dict[str, str], reason: str) -> None:
    headers = signed_headers(SYMMETRIC, "evt_1", b"{}") | changes
    assert verify([key], headers, b"{}") is False
    with pytest.raises(Failed, match=reason):
        check_request([key], headers, b"{}")


def test_a_body_is_hashed_once_for_each_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many signatures there are: anybody can send them."""
    headers, hashed, digest = signed_headers(SYMMETRIC, "evt_1", b"{}"), list[bytes](), hmac.digest

    def counting(key: bytes, message: bytes, method: str) -> bytes:
        hashed.append(message)
        return digest(key, message, method)

    monkeypatch.setattr(hmac, "digest", counting)
    signatures = f"{'v1,AAAA ' * 9}{headers['webhook-signature']}"
    assert verify([new_secret("v1"), SYMMETRIC], headers | {"webhook-signature": signatures}, b"{}") is True
    assert len(hashed) == 2
