"""How this process reaches Temporal: address and credentials are Temporal's own settings, the converter is ours."""

import asyncio

import structlog
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime

from hookkeeper.crypto.keyring import Keyring
from hookkeeper.temporal.data_converter import data_converter

log = structlog.get_logger("hookkeeper.temporal")


class TemporalUnreachable(Exception):
    """Temporal did not answer within the time given."""


async def connect(keyring: Keyring | None = None, timeout: float = 60.0, runtime: Runtime | None = None) -> Client:
    """Connect as `TEMPORAL_…` and its profiles say, trying for `timeout` seconds. With keys, payloads are encrypted.

    `runtime`: that of the SDK, if not its default.
    """
    config = ClientConfig.load_client_connect_config()
    config.setdefault("target_host", "127.0.0.1:7233")
    deadline = asyncio.get_running_loop().time() + timeout
    pause = 0.1
    while True:
        try:
            return await Client.connect(**config, data_converter=data_converter(keyring), runtime=runtime)
        except RuntimeError as error:
            if asyncio.get_running_loop().time() + pause > deadline:
                raise TemporalUnreachable(f"Temporal at {config['target_host']} cannot be reached: {error}") from error
            log.warning("waiting for Temporal", address=config["target_host"], retry_in=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 5.0)
