"""JSON Schema 2020-12 of an event type's data. Nothing is ever fetched: a `$ref` must stay within its schema."""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_FAULTS = 20
MASK = "this"
"""Said in place of the value, which can be long, and a customer's."""
# A linear-time engine: a pattern of a schema cannot be made to run for ever.
_PATTERNS = RegexOptions(size_limit=1_000_000, dfa_size_limit=1_000_000)


def check_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema; ValueError, with a sentence for people, where it is none or refers to another document."""
    if schema.get("$schema", DIALECT) != DIALECT:
        raise ValueError(f"must be JSON Schema 2020-12: leave $schema out, or make it {DIALECT}")
    try:
        _validator(json.dumps(schema))
    except ValidationError as error:
        raise ValueError(f"is not a JSON Schema that can be used: {error.message}") from None
    return schema


def faults(schema: dict[str, Any], data: Any) -> Iterator[tuple[str, str]]:
    """Give what is wrong with the data: a JSON pointer (RFC 6901) and a sentence each, the first 20."""
    for number, error in enumerate(_validator(json.dumps(schema)).iter_errors(data)):
        if number == MAX_FAULTS:
            return
        yield _pointer(error.instance_path), error.message


@lru_cache(maxsize=256)
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(
        json.loads(schema), offline=True, pattern_options=_PATTERNS, validate_formats=True, mask=MASK
    )


def _pointer(path: list[str | int]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
