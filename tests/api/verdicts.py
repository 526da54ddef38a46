"""What is wrong with an answer, going by the OpenAPI document."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
from jsonschema_rs import Draft202012Validator
from made_up import NO_KEYS, NOTHING, Call
from problems import problem

JSON = ("application/json", "application/problem+json")


class Judge:
    """Knows the document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._validators: dict[str, Draft202012Validator] = {}

    def verdicts(self, call: Call, sent: bytes | None, answer: httpx.Response) -> Iterator[str]:
        """Say everything that is wrong."""
        documented = call.operation["responses"].get(str(answer.status_code))
        if answer.status_code >= 500:
            yield f"{answer.status_code}"
        elif documented is None:
            yield f"{answer.status_code} is not documented"
        else:
            yield from self._of_content(answer, documented.get("content", {}))
        if answer.is_error and answer.headers.get("content-type") != "text/html; charset=utf-8":
            yield from _of_problem(answer)
        if answer.is_success and call.key in NO_KEYS and "security" in call.operation:
            yield "let in without a key"
        if answer.is_success and sent:
            yield from self._of_what_was_taken(call, sent)

    def _of_content(self, answer: httpx.Response, documented: dict[str, Any]) -> Iterator[str]:
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        if not answer.content:
            if documented and not answer.has_redirect_location:
                yield f"{answer.status_code} without a body"
        elif media_type not in documented:
            yield f"content type {media_type!r} of {answer.status_code} is not documented"
        elif media_type in JSON and (fault := self._fault(documented[media_type].get("schema", {}), answer.json())):
            yield f"{answer.status_code} is not as documented: {fault}"

    def _of_what_was_taken(self, call: Call, sent: bytes) -> Iterator[str]:
        """Tell of a body that was taken although the document forbids it."""
        content = call.operation.get("requestBody", {}).get("content", {})
        if call.body is NOTHING or "application/json" not in content:
            return
        try:
            fault = self._fault(content["application/json"]["schema"], json.loads(sent))
        except ValueError as error:
            fault = str(error)
        if fault:
            yield f"taken, though not as documented: {fault}"

    def _fault(self, schema: dict[str, Any], value: Any) -> str:
        key = json.dumps(schema)
        if key not in self._validators:
            whole = {**schema, "components": self._document["components"]}
            self._validators[key] = Draft202012Validator(whole, validate_formats=False)
        for error in self._validators[key].iter_errors(value):
            return f"{'.'.join(map(str, error.instance_path))}: {error.message[:200]}"
        return ""


def _of_problem(answer: httpx.Response) -> Iterator[str]:
    try:
        problem(answer, answer.status_code)
    except (AssertionError, ValueError, KeyError) as fault:
        yield f"{answer.status_code} is no problem document: {str(fault)[:200]}"
