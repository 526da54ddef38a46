"""JSON Schema 2020-12 of an event type's data. Nothing is fetched: a `$ref` must point into its own schema.

Nothing here limits the time and memory of a validation: it is done in `hookkeeper.sandbox.pool`.
"""

import json
from functools import lru_cache
from itertools import islice
from typing import Any

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from hookkeeper.content.errors import ContentError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_ERRORS = 20
MAX_SENTENCE = 1000
MAX_STEP = 64
"""Maximum characters of a key in a pointer, which can have 64 keys."""
PLAIN_VALUES: tuple[Any, ...] = ({}, [], "", 0)
MASK = "this"
"""Replaces the value in messages, which can be long and confidential."""
# A linear-time engine: no pattern of a schema takes exponential time.
_PATTERNS = RegexOptions(size_limit=1_000_000, dfa_size_limit=1_000_000)


def check(schema: dict[str, Any]) -> None:
    """Raise ContentError for an invalid schema or a reference to another document.

    Plain values are validated with it, so that the sandbox ends what could never be evaluated: a schema that refers to
    itself without descending into the data, or doubles its subschemas again and again.
    """
    if schema.get("$schema", DIALECT) != DIALECT:
        raise ContentError(f"must be JSON Schema 2020-12: omit $schema, or set it to {DIALECT}")
    try:
        _validator(text_of(schema))
    except ValidationError as error:
        at = f" at {_pointer(error.instance_path)}" if error.instance_path else ""
        raise ContentError(f"is not a valid JSON Schema{at}: {error.message}"[:MAX_SENTENCE]) from None
    for value in PLAIN_VALUES:
        errors(value, text_of(schema))


def text_of(schema: dict[str, Any]) -> str:
    """Return a schema as text, by which a child caches its validators."""
    return json.dumps(schema)


def errors(data: Any, schema: str) -> list[tuple[str, str]]:
    """Return the first 20 errors in the data, each as a JSON pointer (RFC 6901) and a sentence."""
    found = islice(_validator(schema).iter_errors(data), MAX_ERRORS)
    return [(_pointer(error.instance_path), error.message[:MAX_SENTENCE]) for error in found]


@lru_cache(maxsize=64)
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(
        json.loads(schema), offline=True, pattern_options=_PATTERNS, validate_formats=True, mask=MASK
    )


def _pointer(path: list[str | int]) -> str:
    return "".join(f"/{str(part)[:MAX_STEP].replace('~', '~0').replace('/', '~1')}" for part in path)
