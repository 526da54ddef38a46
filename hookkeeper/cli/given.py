"""JSON input of commands: as an argument, in a file, or on standard input."""

import json
import sys
from pathlib import Path
from typing import Any

from hookkeeper.cli.console import Failed

STDIN = "-"


def read_json(given: str, option: str) -> Any:
    """Read JSON, `@file`, or `-` for standard input. Raises `Failed`, naming the option."""
    if given == STDIN:
        return read_json_file(given, option)
    return read_json_file(given[1:], option) if given.startswith("@") else _parse(given, option)


def read_json_file(file: str, option: str) -> Any:
    """Read JSON from a file, or from standard input where it is `-`. Raises `Failed`, naming the option."""
    try:
        return _parse(sys.stdin.read() if file == STDIN else Path(file).read_text(), option)
    except OSError as error:
        raise Failed(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Failed(f"{option} is not JSON: {error}") from error


def _parse(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Failed(f"{option} is not JSON: {error}") from error
