"""Custom TLS settings of a webhook: what is accepted, the errors for everything else, and what is read back."""

import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cases import each
from drills.authorities import Authority, Pair, pem_of
from hookkeeper.content.headers import MASK
from hookkeeper.content.tls import BadTls, Tls, check, context_of, masked, unmasked
from hookkeeper.sandbox.pool import Sandbox

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.certify("client.example")


@each("kind", ["P-256", "Ed25519", "RSA 2048", "RSA 4096"])
async def test_usable_tls_settings_are_accepted(authority: Authority, kind: str) -> None:
    makers: dict[str, Callable[[], object]] = {
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "RSA 2048": lambda: rsa.generate_private_key(65537, 2048),
        "RSA 4096": lambda: rsa.generate_private_key(65537, 4096),
    }
    pair = authority.certify("client.example", key=makers[kind]())
    async with Sandbox() as sandbox:  # where the API asks, within little time and memory
        for tls in (
            Tls(ca=authority.pem),
            Tls(certificate=pair.certificate, key=pair.key),
            Tls(ca=authority.pem * 3, certificate=pair.certificate + authority.pem, key=pair.key),
        ):
            await sandbox.for_("").call(check, tls, NOW)


@each(
    ("fields", "why"),
    [
        ({}, "give ca, or certificate and key"),
        ({"certificate": "x"}, "certificate and key must be given together"),
        ({"key": "x"}, "certificate and key must be given together"),
        ({"ca": ""}, "must be PEM"),
        ({"ca": "ü"}, "must be PEM, which is printable ASCII"),
        ({"ca": "x\0"}, "must be PEM"),
        ({"ca": "x" * 65537}, "at most 65536 characters"),
        ({"certificate": "x", "key": "x" * 65537}, "at most 65536 characters"),
        ({"ca": "x", "verify": False}, "Extra inputs are not permitted"),
    ],
)
def test_the_fields_fit_together(fields: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Tls.model_validate(fields)


def test_unusable_tls_settings_are_named(authority: Authority, pair: Pair) -> None:
    other, old = authority.certify("client.example"), authority.certify("old.example", ends=NOW - timedelta(days=1))
    weak = authority.certify("client.example", key=rsa.generate_private_key(65537, 1024))
    strong = authority.certify("client.example", key=rsa.generate_private_key(65537, 4104))
    exchange = authority.certify("client.example", key=x25519.X25519PrivateKey.generate())
    locked = pem_of(ec.generate_private_key(ec.SECP256R1()), passphrase=b"x")
    bad = {
        "ca: is not a certificate in PEM": Tls(ca="nonsense"),
        "ca: is not a certificate": Tls(ca=pair.key),
        "ca: all certificates have expired": Tls(ca=old.certificate),
        "certificate: is not a certificate in PEM": Tls(certificate="nonsense", key=pair.key),
        "certificate: expired on ": Tls(certificate=old.certificate, key=old.key),
        "key: is not a private key in PEM": Tls(certificate=pair.certificate, key=pair.certificate),
        "key: must not have a passphrase": Tls(certificate=pair.certificate, key=locked),
        "key: does not belong to the certificate": Tls(certificate=pair.certificate, key=other.key),
        r"key: does not belong to the certificate \(the first": Tls(
            certificate=authority.pem + pair.certificate, key=pair.key
        ),
        "key: has more than 4096 bits": Tls(certificate=strong.certificate, key=strong.key),
        "TLS cannot use it: EE_KEY_TOO_SMALL": Tls(certificate=weak.certificate, key=weak.key),
        "certificate: has a certificate whose key is neither": Tls(certificate=exchange.certificate, key=exchange.key),
    }
    for why, tls in bad.items():
        with pytest.raises(BadTls, match=why) as raised:
            check(tls, NOW)
        assert "PRIVATE KEY-----\\n" not in str(raised.value)


def test_a_certificate_that_begins_later_and_an_authority_that_has_a_successor_are_taken(authority: Authority) -> None:
    later = authority.certify("client.example", begins=NOW + timedelta(days=1), ends=NOW + timedelta(days=2))
    old = authority.certify("old.example", ends=NOW - timedelta(days=1))
    check(Tls(ca=old.certificate + authority.pem, certificate=later.certificate, key=later.key), NOW)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(deadline=None)
@given(st.data())
def test_any_damage_is_a_content_error(authority: Authority, pair: Pair, data: st.DataObject) -> None:
    """Whatever comes in, nothing but BadTls comes out."""
    texts = {"ca": authority.pem, "certificate": pair.certificate, "key": pair.key}
    name = data.draw(st.sampled_from(sorted(texts)))
    at = data.draw(st.integers(0, len(texts[name]) - 1))
    texts[name] = texts[name][:at] + data.draw(st.text("AZaz09+/=- \n", max_size=5)) + texts[name][at + 1 :]
    with suppress(BadTls):
        check(Tls(**texts), NOW)


def test_the_key_is_masked_and_nothing_else(pair: Pair) -> None:
    tls = Tls(certificate=pair.certificate, key=pair.key)
    assert masked(tls) == Tls(certificate=pair.certificate, key=MASK)
    assert masked(None) is None
    assert masked(Tls(ca=pair.certificate)) == Tls(ca=pair.certificate)
    assert pair.key not in repr(tls)


def test_the_mask_stands_for_the_key_that_is_there(pair: Pair) -> None:
    known = Tls(certificate=pair.certificate, key=pair.key)
    shown = Tls(ca="x", certificate=pair.certificate, key=MASK)
    assert unmasked(shown, known) == Tls(ca="x", certificate=pair.certificate, key=pair.key)
    assert unmasked(known, None) == known
    for nothing in (None, Tls(ca="x")):
        with pytest.raises(ValueError, match="has the mask of a secret as its value, but no secret is stored"):
            unmasked(shown, nothing)


def test_contexts_always_verify(authority: Authority, pair: Pair) -> None:
    for tls in (Tls(ca=authority.pem), Tls(ca=authority.pem, certificate=pair.certificate, key=pair.key)):
        context = context_of(tls, ssl.create_default_context)
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert len(context.get_ca_certs()) == 1  # in place of the public ones


def test_authorities_that_are_expensive_to_verify_with_are_refused() -> None:
    usual = rsa.generate_private_key(65537, 2048)
    numbers = rsa.RSAPublicNumbers(2**65 + 1, usual.public_key().public_numbers().n)
    refused = {
        "ca: has a certificate whose key has more than 4096 bits": rsa.generate_private_key(65537, 4104).public_key(),
        "ca: has a certificate whose key has a public exponent of more than 131072": numbers.public_key(),
        "ca: has a certificate whose key is neither RSA nor": x25519.X25519PrivateKey.generate().public_key(),
    }
    for why, key in refused.items():
        _, certificate = Authority().subordinate(key)
        with pytest.raises(BadTls, match=why):
            check(Tls(ca=certificate), NOW)


def test_too_many_certificates_are_refused() -> None:
    authority = Authority()
    pair = authority.certify("client.example")
    check(Tls(ca=authority.pem * 20), NOW)
    with pytest.raises(BadTls, match="ca: has more than 20 certificates"):
        check(Tls(ca=authority.pem * 21), NOW)
    with pytest.raises(BadTls, match="certificate: has more than 10 certificates"):
        check(Tls(certificate=pair.certificate + authority.pem * 10, key=pair.key), NOW)
