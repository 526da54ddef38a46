"""When certificates end: those in files, and those that servers present."""

import asyncio
import os
import ssl
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

from hookkeeper.findings import Finding, judge_end, warning, wrong

FILES = {"PGSSLCERT": False, "PGSSLROOTCERT": True, "SSL_CERT_FILE": True}
"""Variables that name files of certificates, which libraries read, and whether these are authorities."""
TIMEOUT = 4.0
POSTGRESQL_TLS = bytes.fromhex("0000000804d2162f")
"""The request for TLS (PostgreSQL, "Message Formats", SSLRequest)."""


class Certificates(NamedTuple):
    """What a setting has, in PEM."""

    setting: str
    pem: bytes | Path
    authorities: bool = False

    def end(self) -> datetime:
        """Return when the first certificate ends, which is the own one, or the last authority: older ones may stay in a
        file. Raises OSError and ValueError.
        """
        pem = self.pem if isinstance(self.pem, bytes) else self.pem.read_bytes()
        with warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning):
            ends = [certificate.not_valid_after_utc for certificate in x509.load_pem_x509_certificates(pem)]
        return max(ends) if self.authorities else ends[0]

    def examine(self, now: datetime) -> list[Finding]:
        try:
            end = self.end()
        except OSError as error:
            text = f"the file {self.pem!s} in {self.setting} cannot be read: {error.strerror}"
            return wrong(text, f"correct {self.setting}")
        except ValueError:
            return wrong(f"{self.setting} is not PEM", f"correct {self.setting}")
        return judge_end(f"the {'last authority' if self.authorities else 'certificate'} in {self.setting}", end, now)


def certificates_in_files() -> list[Certificates]:
    """Return those that libraries read, as variables say."""
    paths = {name: os.environ.get(name) for name in FILES}
    return [Certificates(name, Path(path), FILES[name]) for name, path in paths.items() if path]


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
