"""Signatures: the published vectors, and the official libraries as receivers of what we sign."""

import base64
import time

import pytest
import standardwebhooks
import svix
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from cases import each
from hookkeeper.crypto import signing_keys
from hookkeeper.crypto.signing_keys import sign

ID, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SYMMETRIC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ASYMMETRIC = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="


@each(
    ("secret", "signature"),
    [
        pytest.param(SYMMETRIC, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", id="the reference libraries"),
        pytest.param(
            ASYMMETRIC,
            "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
            id="Svix, and the specification's example",
        ),
        pytest.param(
            "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=",
            "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag==",
            id="the Go reference library",
        ),
    ],
)
def test_signatures_match_the_published_vectors(secret: str, signature: str) -> None:
    assert sign([secret], message_id=ID, timestamp=TIMESTAMP, body=BODY) == signature


def headers(secrets: list[str], body: bytes) -> dict[str, str]:
    now = int(time.time())
    signature = sign(secrets, message_id="evt_1", timestamp=now, body=body)
    return {"webhook-id": "evt_1", "webhook-timestamp": str(now), "webhook-signature": signature}


def verify_v1a(public: str, sent: dict[str, str], body: bytes) -> None:
    """Verify as a receiver does that knows the scheme and a `whpk_` key. Raises InvalidSignature."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    content = f"{sent['webhook-id']}.{sent['webhook-timestamp']}.".encode() + body
    [signature] = [part[4:] for part in sent["webhook-signature"].split(" ") if part.startswith("v1a,")]
    key.verify(base64.b64decode(signature, validate=True), content)


@given(text=st.text(), raw=st.binary(min_size=24, max_size=64))
def test_the_official_libraries_verify_any_text(text: str, raw: bytes) -> None:
    secret, body = "whsec_" + base64.b64encode(raw).decode(), text.encode()
    standardwebhooks.Webhook(secret).verify(body, headers([secret], body), json_parse=False)
    svix.Webhook(secret).verify(body, headers([secret], body))


@given(st.binary())
def test_any_bytes_are_signed_as_they_are(body: bytes) -> None:
    secret = signing_keys.new_secret("v1a")
    verify_v1a(signing_keys.public_key(secret), headers([secret], body), body)


def test_a_changed_body_does_not_verify() -> None:
    symmetric, asymmetric = signing_keys.new_secret("v1"), signing_keys.new_secret("v1a")
    sent = headers([symmetric, asymmetric], b'{"a":1}')
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(symmetric).verify(b'{"a": 1}', sent)
    with pytest.raises(InvalidSignature):
        verify_v1a(signing_keys.public_key(asymmetric), sent, b'{"a": 1}')


@each("schemes", [("v1", "v1"), ("v1", "v1a"), ("v1a", "v1")])
def test_during_a_rotation_both_keys_verify(schemes: tuple[signing_keys.Scheme, ...]) -> None:
    secrets = [signing_keys.new_secret(scheme) for scheme in schemes]
    sent = headers(secrets, BODY)
    assert [part.split(",")[0] for part in sent["webhook-signature"].split(" ")] == list(schemes)
    for secret in secrets:
        if signing_keys.is_asymmetric(secret):
            verify_v1a(signing_keys.public_key(secret), sent, BODY)
        else:
            standardwebhooks.Webhook(secret).verify(BODY, sent)
            svix.Webhook(secret).verify(BODY, sent)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(signing_keys.new_secret("v1")).verify(BODY, sent)


@each(
    ("secrets", "text"),
    [([], "at least one"), (["whsec_short"], "not base64"), ([SYMMETRIC, "nonsense"], "does not start with")],
)
def test_without_a_valid_key_there_is_no_signature(secrets: list[str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        sign(secrets, message_id=ID, timestamp=TIMESTAMP, body=BODY)
