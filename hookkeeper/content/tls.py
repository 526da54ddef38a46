"""Custom TLS settings of a webhook: trusted authorities, and a client certificate whose key is a secret."""

import os
import re
import secrets
import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from tempfile import mkstemp
from typing import Annotated, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from hookkeeper.content.errors import ContentError
from hookkeeper.content.headers import MASK
from hookkeeper.content.text import LINES

MAX_PEM = 64 * 1024
MAX_RSA = 4096
"""Maximum bits of a key, because each handshake signs with the client's and verifies with the authorities'."""
MAX_EXPONENT = 2**17
"""Maximum of a public RSA key. Usually 65,537; verifying with a large one takes as long as signing."""
MAX_AUTHORITIES, MAX_CHAIN = 20, 10
"""Certificates in `ca`, and in `certificate`."""
ECDHE = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:!aDSS:!SHA1:@SECLEVEL=2"
"""Ciphers of TLS 1.2: Python's without DHE, for which the receiver chooses a group of up to 10,000 bits."""
_SPKI = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
_PEM = re.compile(r"[\x20-\x7e\r\n\t]+", re.ASCII)


class BadTls(ContentError):
    """The settings are invalid; the message contains no part of them."""


def _pem(text: str) -> str:
    if not _PEM.fullmatch(text):
        raise ValueError("must be PEM, which is printable ASCII")
    return text


Pem = Annotated[str, Field(max_length=MAX_PEM), AfterValidator(_pem), LINES]


class Tls(BaseModel):
    """TLS settings for the webhook's URL. Certificates are always verified."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    ca: Pem | None = Field(None, title="Certificate authorities")
    """PEM: certificate authorities to trust in place of the public ones."""
    certificate: Pem | None = None
    """PEM: the client certificate for this receiver, followed by intermediate certificates."""
    key: Pem | None = Field(None, repr=False)
    """PEM: the private key of the certificate, without a passphrase. Masked in responses."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key must be given together")
        if self.ca is None and self.certificate is None:
            raise ValueError("give ca, or certificate and key")
        return self


def masked(tls: Tls | None) -> Tls | None:
    """Return the settings with the key masked."""
    return tls.model_copy(update={"key": MASK}) if tls and tls.key else tls


def unmasked(given: Tls, known: Tls | None) -> Tls:
    """Replace a masked key by the known one. Raises ValueError if there is none."""
    if given.key != MASK:
        return given
    if known is None or known.key is None:
        raise ValueError("key has the mask of a secret as its value, but no secret is stored")
    return given.model_copy(update={"key": known.key})


def check(tls: Tls, now: datetime) -> None:
    """Raise BadTls for settings with which every connection fails."""
    if tls.ca and all(end <= now for end, _ in _certificates("ca", tls.ca)):
        raise BadTls("ca: all certificates have expired")
    if tls.certificate and tls.key:
        end, public_key = _certificates("certificate", tls.certificate)[0]
        if end <= now:
            raise BadTls(f"certificate: expired on {end:%Y-%m-%d}")
        if _key(tls.key).public_key().public_bytes(*_SPKI) != public_key:
            raise BadTls("key: does not belong to the certificate (the first one, if there are several)")
    context_of(tls, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def context_of(tls: Tls, public_roots: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Return the TLS context; `public_roots` makes one that trusts them. Raises BadTls."""
    _check_cost(tls)
    try:
        context = _trusting(tls.ca) if tls.ca else public_roots()
        context.set_ciphers(ECDHE)
        if tls.certificate and tls.key:
            _present(context, tls.certificate, tls.key)
    except ssl.SSLError as error:
        raise BadTls(f"TLS cannot use it: {error.reason or 'it is not PEM'}") from None
    return context


def _trusting(ca: str) -> ssl.SSLContext:
    """Trust these certificates, roots or not, in every Python version alike.

    By default, 3.13 rejects authorities made with `openssl req -x509`.
    """
    context = ssl.create_default_context(cadata=ca)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _present(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Use this client certificate. OpenSSL reads a file, in which the key has a one-time password."""
    password = secrets.token_bytes(32)
    encrypted = _key(key).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
    descriptor, name = mkstemp(prefix="hookkeeper-", suffix=".pem")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(certificate.encode() + b"\n" + encrypted)
        context.load_cert_chain(name, password=password)
    finally:
        Path(name).unlink()


def _check_cost(tls: Tls) -> None:
    """Raise BadTls for certificates that would make each handshake expensive."""
    for field, pem, most in (("ca", tls.ca, MAX_AUTHORITIES), ("certificate", tls.certificate, MAX_CHAIN)):
        certificates = _loaded(field, pem) if pem else []
        if len(certificates) > most:
            raise BadTls(f"{field}: has more than {most} certificates")
        for certificate in certificates:
            _check_public_key(field, certificate)


def _check_public_key(field: str, certificate: x509.Certificate) -> None:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise BadTls(f"{field}: has a certificate with an unreadable key") from None
    if isinstance(key, RSAPublicKey):
        if key.key_size > MAX_RSA:
            raise BadTls(f"{field}: has a certificate whose key has more than {MAX_RSA} bits")
        if key.public_numbers().e > MAX_EXPONENT:
            raise BadTls(f"{field}: has a certificate whose key has a public exponent of more than {MAX_EXPONENT}")
    elif not isinstance(key, EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey):
        raise BadTls(f"{field}: has a certificate whose key is neither RSA nor elliptic-curve")


def _loaded(field: str, pem: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, x509.InvalidVersion):
        raise BadTls(f"{field}: is not a certificate in PEM, such as -----BEGIN CERTIFICATE----- …") from None


def _certificates(field: str, pem: str) -> list[tuple[datetime, bytes]]:
    """Return the end of validity and the public key of each certificate."""
    try:
        return [
            (certificate.not_valid_after_utc, certificate.public_key().public_bytes(*_SPKI))
            for certificate in _loaded(field, pem)
        ]
    except (ValueError, UnsupportedAlgorithm):
        raise BadTls(f"{field}: is not a certificate in PEM, such as -----BEGIN CERTIFICATE----- …") from None


def _key(pem: str) -> PrivateKeyTypes:
    try:
        key = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise BadTls("key: must not have a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadTls("key: is not a private key in PEM, such as -----BEGIN PRIVATE KEY----- …") from None
    if isinstance(key, RSAPrivateKey) and key.key_size > MAX_RSA:
        raise BadTls(f"key: has more than {MAX_RSA} bits")
    return key
