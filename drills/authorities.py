"""Certificate authorities for drills and tests, as people make them with `openssl req -x509`."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM."""

    certificate: str
    key: str


class Authority:
    """Signs certificates; `pem` is its own."""

    def __init__(self, key: Any = None) -> None:
        self._key: Any = key or ec.generate_private_key(ec.SECP256R1())
        self._name = _name(f"authority {secrets.token_hex(8)}")  # servers find what to send along by name
        self.pem = self._signed(self._name, self._key, [], ca=True)

    def certify(
        self, name: str, *, key: Any = None, begins: datetime | None = None, ends: datetime | None = None
    ) -> Pair:
        """Make a certificate for a host, valid now by default."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        alternative = x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
        return Pair(self._signed(_name(name), key, [alternative], begins=begins, ends=ends), pem_of(key))

    def subordinate(self, key: Any) -> "tuple[Authority, str]":
        """Return an authority with this key that this one vouches for, and the certificate that says so."""
        other = Authority()
        other._key = key
        return other, self._signed(other._name, key, [], ca=True)

    def _signed(
        self,
        subject: x509.Name,
        key: Any,
        names: list[x509.GeneralName],
        *,
        ca: bool = False,
        begins: datetime | None = None,
        ends: datetime | None = None,
    ) -> str:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key() if hasattr(key, "public_key") else key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins or now - timedelta(days=30))
            .not_valid_after(ends or now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def pem_of(key: Any, passphrase: bytes | None = None) -> str:
    """Write a private key."""
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return pem.decode()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
