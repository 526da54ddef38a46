"""JSON as the input of a command: an argument, a file, or standard input."""

import json
import sys
from pathlib import Path
from typing import Any

from hookkeeper.cli.console import Failed

STDIN = "-"


def read_json(argument: str, option: str) -> Any:
    """Read JSON, `@file`, or `-` for standard input. Raises `Failed`, naming the option."""
    try:
        return json.loads(_text_of(argument))
    except OSError as error:
        raise Failed(f"cannot read {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise Failed(f"{option} is not JSON: {error}") from error


def read_json_file(file: str, option: str) -> Any:
    """Read JSON from a file, or from standard input if it is `-`. Raises `Failed`, naming the option."""
    return read_json(file if file == STDIN else f"@{file}", option)


def _text_of(argument: str) -> str:
    if argument == STDIN:
        return sys.stdin.read()
    return Path(argument[1:]).read_text() if argument.startswith("@") else argument
