"""Signing keys: generated keys can sign, and an invalid key is refused with an error that does not repeat it."""

import base64
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from cases import each
from hookkeeper.crypto import signing_keys

# Svix's pair, from which the signature in the specification's example comes.
PAIR = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
SEED = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


def encoded(prefix: str, raw: bytes) -> str:
    return prefix + base64.b64encode(raw).decode()


@each(("scheme", "prefix", "size"), [("v1", "whsec_", 32), ("v1a", "whsk_", 64)])
def test_new_secrets_are_valid_and_new(scheme: signing_keys.Scheme, prefix: str, size: int) -> None:
    made = {signing_keys.new_secret(scheme) for _ in range(50)}
    assert len(made) == 50
    for secret in made:
        signing_keys.check_secret(secret)
        assert secret.startswith(prefix)
        assert len(base64.b64decode(secret.removeprefix(prefix), validate=True)) == size
        assert signing_keys.is_asymmetric(secret) == (scheme == "v1a")


@each("secret", [PAIR, SEED])
def test_both_forms_of_a_private_key_have_the_same_public_key(secret: str) -> None:
    signing_keys.check_secret(secret)
    assert signing_keys.public_key(secret) == PUBLIC


def test_a_new_pair_carries_its_public_key() -> None:
    secret = signing_keys.new_secret("v1a")
    public = base64.b64decode(signing_keys.public_key(secret).removeprefix("whpk_"))
    assert base64.b64decode(secret.removeprefix("whsk_"))[32:] == public
    Ed25519PublicKey.from_public_bytes(public).verify(signing_keys.ed25519_key(secret).sign(b"x"), b"x")


@each("size", [24, 32, 64])
def test_symmetric_keys_have_24_to_64_bytes(size: int) -> None:
    raw = bytes(range(size))
    assert signing_keys.hmac_key(encoded("whsec_", raw)) == raw


@each(
    ("secret", "text"),
    [
        ("", "does not start with whsec_ or whsk_"),
        ("secret", "does not start with"),
        ("WHSEC_" + "A" * 32, "does not start with"),
        (PUBLIC, "does not start with"),
        ("whsec_", "has 24 to 64 bytes, this one has 0"),
        (encoded("whsec_", bytes(23)), "this one has 23"),
        (encoded("whsec_", bytes(65)), "this one has 65"),
        ("whsec_" + "A" * 31, "is not base64"),
        ("whsec_" + "A" * 32 + "\n", "is not base64"),
        ("whsec_" + "-_" * 16, "is not base64"),
        ("whsec_" + "é" * 32, "is not base64"),
        ("whsk_", "this one has 0"),
        ("whsk_%", "is not base64"),
        (encoded("whsk_", bytes(33)), "has 64 bytes, seed and public key; this one has 33"),
        (encoded("whsk_", bytes(64)), "does not belong to its private half"),
        (PAIR[:-12] + "A" * 10 + "==", "does not belong to its private half"),
    ],
)
def test_refusals_say_why(secret: str, text: str) -> None:
    with pytest.raises(ValueError, match=text) as refusal:
        signing_keys.check_secret(secret)
    assert len(secret) < 10 or secret[6:16] not in str(refusal.value)


@each("secret", [encoded("whsec_", bytes(32)), PUBLIC, ""])
def test_only_private_keys_have_a_public_key(secret: str) -> None:
    with pytest.raises(ValueError, match="does not start with whsk_"):
        signing_keys.public_key(secret)


@given(st.one_of(st.text(), st.builds("".join, st.tuples(st.sampled_from(["whsec_", "whsk_"]), st.text()))))
def test_any_text_is_a_key_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        signing_keys.check_secret(text)
