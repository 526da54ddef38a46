"""Columns that are encrypted if the engine has keys. A column contains ciphertexts or plain values:

    enc:<key id>:<base64>      encrypted; in a JSON column, as a JSON string
    raw:<text>                 a plain value that starts with `enc:` or `raw:`

Values from before encryption was enabled stay readable, and `hookkeeper.registry.upkeep.re_encryption` encrypts them.
A ciphertext is bound to its table and column: it cannot be decrypted elsewhere.
"""

import binascii
import json
from base64 import b64decode, b64encode
from typing import Any

from sqlalchemy import JSON, ColumnElement, Dialect, String, and_, cast, not_
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.types import TypeDecorator, TypeEngine

from hookkeeper.crypto.keyring import Ciphertext, Keyring, Undecipherable, UnknownKey, not_set

ENCRYPTED, PLAIN = "enc:", "raw:"
ON_DIALECT = "hookkeeper_keyring"
"""Column types receive the dialect of their engine, and each engine has its own dialect."""


def use_keyring(engine: AsyncEngine, keyring: Keyring | None) -> None:
    """Let the engine's encrypted columns use these keys."""
    setattr(engine.sync_engine.dialect, ON_DIALECT, keyring)


def keyring_of(dialect: Dialect) -> Keyring | None:
    """Return the keys of the engine that has this dialect."""
    return getattr(dialect, ON_DIALECT, None)


class EncryptedText(TypeDecorator[str]):
    """A text, encrypted for `purpose`: its table and column."""

    impl = String
    cache_ok = True

    def __init__(self, purpose: str) -> None:
        super().__init__()
        self.purpose = purpose

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Encrypt; NULL stays NULL."""
        return None if value is None else encrypted(value, self.purpose, keyring_of(dialect))

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Decrypt. Raises CipherError."""
        return None if value is None else decrypted(value, self.purpose, keyring_of(dialect))


class EncryptedJson(TypeDecorator[Any]):
    """What `inner` makes JSON of, encrypted for `purpose`. A plain value is an object or a list, never a string."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def __init__(self, purpose: str, inner: TypeDecorator[Any] | None = None) -> None:
        super().__init__()
        self.purpose = purpose
        self.inner = inner

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Encrypt the JSON; NULL stays NULL."""
        dumped = self.inner.process_bind_param(value, dialect) if self.inner else value
        keyring = keyring_of(dialect)
        if dumped is None or keyring is None:
            return dumped
        return encrypted(json.dumps(dumped), self.purpose, keyring)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Decrypt. Raises CipherError."""
        if isinstance(value, str):
            value = json.loads(decrypted(value, self.purpose, keyring_of(dialect)))
        return self.inner.process_result_value(value, dialect) if self.inner else value


def is_encrypted(kind: TypeEngine[Any]) -> bool:
    return isinstance(kind, EncryptedText | EncryptedJson)


def is_stale(column: ColumnElement[Any], key_id: str) -> ColumnElement[bool]:
    """Return the SQL condition for values that are not NULL and not encrypted with this key."""
    return and_(column.is_not(None), not_(has_prefix(column, key_id)))


def has_prefix(column: ColumnElement[Any], key_id: str = "") -> ColumnElement[bool]:
    """Return the SQL condition for values that are encrypted; with an id, those of this key."""
    quote = '"' if isinstance(column.type, EncryptedJson) else ""
    prefix = f"{quote}{ENCRYPTED}" + (f"{key_id}:" if key_id else "")
    return cast(column, String).startswith(prefix, autoescape=True)


def key_of(stored: str) -> str:
    """Return the id of the key of a stored value that is encrypted."""
    return stored.lstrip('"').removeprefix(ENCRYPTED).partition(":")[0]


def encrypted(text: str, purpose: str, keyring: Keyring | None) -> str:
    """Return a text as a column stores it."""
    if keyring is None:
        return PLAIN + text if text.startswith((ENCRYPTED, PLAIN)) else text
    key_id, data = keyring.encrypt(text.encode(), purpose)
    return f"{ENCRYPTED}{key_id}:{b64encode(data).decode()}"


def decrypted(stored: str, purpose: str, keyring: Keyring | None) -> str:
    """Return the text that a column has stored. Raises CipherError."""
    if not stored.startswith(ENCRYPTED):
        return stored.removeprefix(PLAIN)
    key_id, _, encoded = stored.removeprefix(ENCRYPTED).partition(":")
    if keyring is None:
        raise UnknownKey(f"{purpose} is {not_set(key_id)}")
    try:
        data = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Undecipherable(f"{purpose} is truncated or changed") from None
    return keyring.decrypt(Ciphertext(key_id, data), purpose).decode()
