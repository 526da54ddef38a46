"""Encrypted data can be decrypted for the same purpose only, and keys can be rotated."""

import base64
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import each
from hookkeeper.crypto.keyring import (
    NONCE_BYTES,
    SALT_BYTES,
    Ciphertext,
    Keyring,
    Undecipherable,
    UnknownKey,
    new_key,
)

OLD, NEW = new_key("old"), new_key("new")
RING = Keyring.parse(OLD)


@given(st.binary(max_size=300), st.text(max_size=20))
def test_an_encrypted_text_can_be_decrypted(text: bytes, purpose: str) -> None:
    sealed = RING.encrypt(text, purpose)
    assert sealed.key_id == "old"
    assert len(sealed.data) == len(text) + SALT_BYTES + NONCE_BYTES + 16  # the tag
    assert RING.decrypt(sealed, purpose) == text
    assert Keyring.parse(OLD).decrypt(sealed, purpose) == text  # by another process


def test_the_same_text_is_another_ciphertext_each_time() -> None:
    assert len({RING.encrypt(b"text", "p").data for _ in range(100)}) == 100
    first, second = (Keyring.parse(OLD).encrypt(b"text", "p").data for _ in range(2))
    assert first[:16] != second[:16]  # the salt of each keyring is its own


def test_the_first_key_writes_and_all_read() -> None:
    before = RING.encrypt(b"text", "p")
    rotated = Keyring.parse(f"{NEW}, {OLD}")
    assert (rotated.first, rotated.ids) == ("new", ("new", "old"))
    assert rotated.decrypt(before, "p") == b"text"
    after = rotated.encrypt(b"text", "p")
    assert after.key_id == "new"
    assert Keyring.parse(NEW).decrypt(after, "p") == b"text"
    with pytest.raises(UnknownKey, match="key old, which is not in HOOKKEEPER_ENCRYPTION_KEYS"):
        Keyring.parse(NEW).decrypt(before, "p")


def test_a_changed_ciphertext_cannot_be_decrypted() -> None:
    sealed = RING.encrypt(b"text", "webhooks.secret")
    for position in range(len(sealed.data)):
        changed = bytearray(sealed.data)
        changed[position] ^= 1
        with pytest.raises(Undecipherable):
            RING.decrypt(Ciphertext("old", bytes(changed)), "webhooks.secret")
    for length in range(len(sealed.data)):
        with pytest.raises(Undecipherable):
            RING.decrypt(Ciphertext("old", sealed.data[:length]), "webhooks.secret")
    with pytest.raises(Undecipherable, match=r"not what key old has encrypted for webhooks\.url"):
        RING.decrypt(sealed, "webhooks.url")
    with pytest.raises(Undecipherable):
        Keyring.parse(new_key("old")).decrypt(sealed, "webhooks.secret")  # another key with the same id


def test_tokens_are_stable_and_keyed() -> None:
    (token,) = RING.tokens("ann@a.example", "p")
    assert token.startswith("hmac:old:")
    assert "ann" not in token
    assert Keyring.parse(f"{NEW},{OLD}").tokens("ann@a.example", "p")[1] == token
    others = [RING.tokens("bob@a.example", "p"), RING.tokens("ann@a.example", "q"), Keyring.parse(NEW).tokens("a", "p")]
    assert len({token, *(tokens[0] for tokens in others)}) == 4


SECRET = base64.b64encode(b"k" * 32).decode()


@each(
    ("text", "said"),
    [
        (SECRET, "key 1 is not `id:base64`"),
        ("", "key 1 is not `id:base64`"),
        (f"a:{SECRET},", "key 2 is not `id:base64`"),
        (f"a b:{SECRET}", "key 1 is not `id:base64`"),
        (f"{'a' * 33}:{SECRET}", "key 1 is not `id:base64`"),
        (f"a:{SECRET},a:{SECRET}", "the id a occurs twice"),
        (f"a:{SECRET[:-1]}", "the part after a: is not base64"),
        (f"a:{SECRET[:-4]}", "key a has 30 bytes, not 32"),
        (f"a:-{SECRET[1:]}", "the part after a: is not base64"),
        ("a:", "key a has 0 bytes"),
    ],
)
def test_bad_keys_are_named_and_not_repeated(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Keyring.parse(text)
    assert SECRET[:20] not in "".join(traceback.format_exception(caught.value, chain=True)[-1:])
    assert SECRET[:20] not in str(caught.value)


def test_a_keyring_shows_no_key() -> None:
    shown = repr(RING) + str(RING)
    assert OLD.partition(":")[2] not in shown
