"""How this process reaches Temporal: address and credentials are Temporal's own settings, the converter is ours."""

import asyncio
import re

import structlog
from temporalio.client import Client
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import Runtime

from hookkeeper.crypto.keyring import Keyring
from hookkeeper.temporal.server.data_converter import data_converter

log = structlog.get_logger("hookkeeper.temporal")
CAUSES = {
    "InvalidContentType": "it does not speak TLS, which TEMPORAL_TLS… and TEMPORAL_API_KEY turn on",
    "InvalidCertificate": "its certificate is not accepted",
    "stream closed because of a broken pipe": "it closes the connection: if it expects TLS, set TEMPORAL_TLS=true",
    "http2 error": "it is no Temporal server",
}
"""What parts of the SDK's messages mean."""


class TemporalUnreachable(Exception):
    """Temporal did not answer within the time given."""


async def connect(
    keyring: Keyring | None = None, timeout: float = 60.0, runtime: Runtime | None = None, address: str | None = None
) -> Client:
    """Connect as `TEMPORAL_…` and its profiles say, trying for `timeout` seconds. With keys, payloads are encrypted.

    `runtime`: that of the SDK, if not its default. `address`: that of a server without TLS and keys, in place of these
    variables.
    """
    config = ClientConfig.load_client_connect_config() if address is None else ClientConnectConfig(target_host=address)
    config.setdefault("target_host", "127.0.0.1:7233")
    deadline = asyncio.get_running_loop().time() + timeout
    pause = 0.1
    while True:
        try:
            return await Client.connect(**config, data_converter=data_converter(keyring), runtime=runtime)
        except RuntimeError as error:
            address, reason = config["target_host"], reason_of(str(error))
            if asyncio.get_running_loop().time() + pause > deadline:
                raise TemporalUnreachable(f"Temporal at {address} cannot be reached: {reason}") from error
            log.warning("waiting for Temporal", address=address, reason=reason, retry_in=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 5.0)


def reason_of(text: str) -> str:
    """Return the cause in a message of the SDK, which nests those of several libraries."""
    innermost: list[str] = re.findall(r'(?:message|error): "([^"]+)"', text)
    found = next((cause for part, cause in CAUSES.items() if part in text), None)
    if found is None:
        return innermost[-1] if innermost else text
    detail = re.search(r"InvalidCertificate\((.+?)\) }", text)
    return f"{found}: {detail[1]}" if detail else found
