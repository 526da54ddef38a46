"""Read the settings of this process, with readable errors."""

from pydantic import ValidationError

from hookkeeper.cli.console import Failed
from hookkeeper.settings import Settings


def read_settings() -> Settings:
    """Read `HOOKKEEPER_…` and `.env`. Raises `Failed`, naming each invalid setting."""
    try:
        return Settings()
    except ValidationError as error:
        lines = (f"\n  HOOKKEEPER_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
        raise Failed("invalid settings:" + "".join(lines)) from error
