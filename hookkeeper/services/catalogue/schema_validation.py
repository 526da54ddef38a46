"""Validation by JSON Schema, in the sandbox: validating can cost more than a request may."""

from collections.abc import Sequence
from typing import Any

from hookkeeper import metrics
from hookkeeper.content import json_schemas
from hookkeeper.content.errors import CodeSuspended, ContentError, TooCostly
from hookkeeper.sandbox.pool import SUSPENSION_SECONDS, Sandbox, Share
from hookkeeper.services.errors import BadField, Invalid, Suspended


async def check_event_type(sandbox: Sandbox, schema: dict[str, Any] | None, examples: Sequence[Any]) -> None:
    """Raise Invalid for a schema that cannot be used, or for examples that are not valid against it."""
    if schema is None:
        return
    catalogue = sandbox.for_("")
    try:
        await catalogue.call(json_schemas.check, schema)
    except ContentError as error:
        raise Invalid.field("schema", str(error)) from None
    answers = await _errors(catalogue, schema, examples)
    bad = [
        BadField(path=f"examples.{number}{pointer}", detail=sentence)
        for number, answer in enumerate(answers)
        for pointer, sentence in ([("", str(answer))] if isinstance(answer, ContentError) else answer)
    ]
    if bad:
        raise Invalid("An example does not match the schema: see errors.", bad)


async def check_data(sandbox: Sandbox, tenant: str, type_: str, schema: dict[str, Any], data: Any) -> None:
    """Raise Invalid for data that are not valid against the schema, or too costly to check.

    Raises Suspended for a while after several events in a row of this type and tenant were too costly.
    """
    (answer,) = await _errors(sandbox.for_(tenant), schema, [data], breaker=type_)
    if isinstance(answer, CodeSuspended):
        metrics.count_limit("schema_cost")
        raise Suspended(f"Validating events of the type {type_} against its schema {answer}.", SUSPENSION_SECONDS)
    if isinstance(answer, TooCostly):
        sentence = f"cannot be validated against the schema of this event type, which {answer}"
        raise Invalid("The data is too costly to validate: see errors.", [BadField(path="data", detail=sentence)])
    if isinstance(answer, ContentError):
        raise Invalid.field("data", str(answer))
    if answer:
        bad = [BadField(path=f"data{pointer}", detail=sentence) for pointer, sentence in answer]
        raise Invalid("The data does not match the schema of this event type: see errors.", bad)


async def _errors(
    share: Share, schema: dict[str, Any], items: Sequence[Any], breaker: str | None = None
) -> list[list[tuple[str, str]] | ContentError]:
    return await share.call_each(json_schemas.errors, items, json_schemas.text_of(schema), breaker=breaker)
