"""Encryption at rest: AES-256-GCM with keys that can be rotated.

    HOOKKEEPER_ENCRYPTION_KEYS=2026b:<base64 of 32 bytes>,2026a:<base64 of 32 bytes>

The first key writes, all of them read. A ciphertext is

    salt (16) · nonce (12) · encrypted bytes · tag (16)

A keyring encrypts with a subkey of its own, derived from key and salt by HKDF-SHA256 (RFC 5869): the 2³² random nonces
that NIST SP 800-38D allows for a key then apply to one process.

CipherError
├── UnknownKey       encrypted with a key that is not set
└── Undecipherable   changed, cut off, moved, or encrypted with another key of this id
"""

import binascii
import re
import secrets
from base64 import b64decode, b64encode, urlsafe_b64encode
from functools import lru_cache
from typing import NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES, SALT_BYTES, NONCE_BYTES = 32, 16, 12
KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
MAX_SUBKEYS = 1024
"""Cached subkeys of other processes, 1 KB each."""


class CipherError(Exception):
    """The ciphertext cannot be decrypted. The message contains no key and no text."""


class UnknownKey(CipherError):
    """The ciphertext was encrypted with a key that is not set."""


class Undecipherable(CipherError):
    """The ciphertext was not encrypted with the key of this id for this purpose."""


class Ciphertext(NamedTuple):
    """A ciphertext, and the id of its key."""

    key_id: str
    data: bytes


class Keyring:
    """Encrypts with its first key, decrypts with any. Its repr shows no key."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._keys = keys
        self._first = next(iter(keys))
        self._salt = secrets.token_bytes(SALT_BYTES)
        self._cipher = lru_cache(MAX_SUBKEYS)(self._derive_cipher)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `id:base64,id:base64…`. Raises ValueError, whose message contains no key."""
        keys: dict[str, bytes] = {}
        for number, entry in enumerate(text.split(","), start=1):
            key_id, colon, encoded = entry.strip().partition(":")
            if not colon or KEY_ID.fullmatch(key_id) is None:
                raise ValueError(f"key {number} is not `id:base64`, with an id of 1 to 32 letters, digits, - and _")
            if key_id in keys:
                raise ValueError(f"the id {key_id} occurs twice")
            keys[key_id] = _decode(key_id, encoded)
        return cls(keys)

    @property
    def first(self) -> str:
        """The id of the key that encrypts."""
        return self._first

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._keys)

    def encrypt(self, text: bytes, purpose: str) -> Ciphertext:
        """Encrypt with the first key. Decryption requires the same purpose."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        encrypted = self._cipher(self._first, self._salt).encrypt(nonce, text, purpose.encode())
        return Ciphertext(self._first, self._salt + nonce + encrypted)

    def decrypt(self, ciphertext: Ciphertext, purpose: str) -> bytes:
        """Decrypt. Raises CipherError."""
        if ciphertext.key_id not in self._keys:
            raise UnknownKey(not_set(ciphertext.key_id))
        salt, rest = ciphertext.data[:SALT_BYTES], ciphertext.data[SALT_BYTES:]
        try:
            cipher = self._cipher(ciphertext.key_id, salt)
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], purpose.encode())
        except (InvalidTag, ValueError):  # the latter for a truncated nonce
            raise Undecipherable(f"not what key {ciphertext.key_id} has encrypted for {purpose}") from None

    def tokens(self, text: str, purpose: str) -> tuple[str, ...]:
        """Return one token per key, by which encrypted `text` can be searched; the first key's token first."""
        return tuple(f"hmac:{key_id}:{self._token(key_id, text, purpose)}" for key_id in self._keys)

    def _token(self, key_id: str, text: str, purpose: str) -> str:
        made = hmac.HMAC(self._derive(key_id, b"", b"hookkeeper look-up"), hashes.SHA256())
        made.update(f"{purpose}\0{text}".encode())
        return urlsafe_b64encode(made.finalize()).decode().rstrip("=")

    def _derive_cipher(self, key_id: str, salt: bytes) -> AESGCM:
        return AESGCM(self._derive(key_id, salt, b"hookkeeper encryption"))

    def _derive(self, key_id: str, salt: bytes, info: bytes) -> bytes:
        return HKDF(hashes.SHA256(), KEY_BYTES, salt, info).derive(self._keys[key_id])


def new_key(key_id: str) -> str:
    """Make a random key, as the setting takes it."""
    return f"{key_id}:{b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def not_set(key_id: str) -> str:
    return f"encrypted with key {key_id}, which is not in HOOKKEEPER_ENCRYPTION_KEYS"


def _decode(key_id: str, encoded: str) -> bytes:
    try:
        key = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"the part after {key_id}: is not base64 (standard alphabet, padded)") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"key {key_id} has {len(key)} bytes, not {KEY_BYTES}")
    return key
