"""What a process begins with: its settings and its connection to Temporal. Errors are sentences for operators."""

from typing import TYPE_CHECKING

from pydantic import ValidationError

from hookkeeper.cli.console import Failed
from hookkeeper.crypto.keyring import Keyring
from hookkeeper.settings import Settings

if TYPE_CHECKING:
    from temporalio.client import Client


def read_settings() -> Settings:
    """Read `HOOKKEEPER_…` and `.env`. Raises `Failed`, naming each invalid setting."""
    try:
        return Settings()
    except ValidationError as invalid:
        lines = (f"\n  HOOKKEEPER_{str(error['loc'][0]).upper()}: {error['msg']}" for error in invalid.errors())
        raise Failed("invalid settings:" + "".join(lines)) from invalid


async def connect(keyring: Keyring | None = None) -> "Client":
    """Connect with the settings in `TEMPORAL_…`, waiting up to a minute for the server. Raises `Failed`."""
    from hookkeeper.temporal import connection  # `dev` reads settings before it needs a client

    try:
        return await connection.connect(keyring)
    except connection.TemporalUnreachable as error:
        raise Failed(str(error)) from error
    except RuntimeError as error:
        raise Failed(f"invalid settings of Temporal (TEMPORAL_…): {error}") from error
