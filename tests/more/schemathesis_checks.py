"""Checks that schemathesis does beside its own: `schemathesis.toml` names this module."""

from typing import Any

import schemathesis
from problems import LEAKS


@schemathesis.check
def no_leak(_: schemathesis.CheckContext, answer: schemathesis.Response, __: schemathesis.Case[Any]) -> None:
    """Find what an error gives away of the machine that answers."""
    leaks = [leak for leak in LEAKS if answer.status_code >= 400 and leak in answer.text]
    assert not leaks, f"gives away {leaks}"
