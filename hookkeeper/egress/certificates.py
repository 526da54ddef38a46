"""When certificates end: those in files, and those that servers present."""

import asyncio
import ssl
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

from hookkeeper.findings import Finding, judge_end, warning, wrong

TIMEOUT = 4.0
POSTGRESQL_TLS = bytes.fromhex("0000000804d2162f")
"""The request for TLS (PostgreSQL, "Message Formats", SSLRequest)."""


def examine_file(name: str, path: str, now: datetime, *, authorities: bool) -> list[Finding]:
    """Examine a file of certificates in PEM that a variable names."""
    try:
        pem = Path(path).read_bytes()
    except OSError as error:
        return wrong(f"the file {path} in {name} cannot be read: {error.strerror}", f"correct {name}")
    return examine_pem(name, pem, now, authorities=authorities)


def examine_pem(name: str, pem: bytes, now: datetime, *, authorities: bool) -> list[Finding]:
    """Judge the first certificate, which is the own one, or the authority that ends last: others may stay in a file."""
    try:
        with warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning):
            ends = [certificate.not_valid_after_utc for certificate in x509.load_pem_x509_certificates(pem)]
    except ValueError:
        return wrong(f"{name} is not PEM", f"correct {name}")
    if authorities:
        return judge_end(f"the last authority in {name}", max(ends), now)
    return judge_end(f"the certificate in {name}", ends[0], now)


async def examine_server(
    whose: str, host: str, port: int, now: datetime, *, postgresql: bool = False
) -> Sequence[Finding]:
    """Examine the certificate that a server presents. Whether it is trusted is for those who connect to it."""
    try:
        async with asyncio.timeout(TIMEOUT):
            certificate = await _presented(host, port, postgresql)
    except (OSError, EOFError, ValueError) as error:
        reason = str(error) or "it does not answer"
        return warning(f"the certificate of {whose} at {host}:{port} cannot be read: {reason}")
    return judge_end(f"the certificate of {whose} at {host}:{port}", certificate.not_valid_after_utc, now)


async def _presented(host: str, port: int, postgresql: bool) -> x509.Certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # an expired one is wanted too
    context.set_alpn_protocols(["postgresql"] if postgresql else ["h2", "http/1.1"])
    if postgresql:
        reader, writer = await asyncio.open_connection(host, port)
    else:
        reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        if postgresql:
            writer.write(POSTGRESQL_TLS)
            if await reader.readexactly(1) != b"S":
                raise OSError("it offers no TLS")
            await writer.start_tls(context, server_hostname=host)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(der)
    finally:
        writer.transport.abort()
