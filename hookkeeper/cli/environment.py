"""The settings of this process, or a sentence for people on what is wrong with them."""

from pydantic import ValidationError

from hookkeeper.cli.console import Failed
from hookkeeper.settings import Settings


def read_settings() -> Settings:
    """Read `HOOKKEEPER_…` and `.env`. Raises `Failed`, naming each setting that is not right."""
    try:
        return Settings()
    except ValidationError as error:
        lines = (f"\n  HOOKKEEPER_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
        raise Failed("the settings are not right:" + "".join(lines)) from error
