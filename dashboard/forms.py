"""Forms that are made of the description of an object's fields: what was typed is read, and shown again with errors."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel, ValidationError

from api.errors import EXPECTED
from api.problems import Forbidden, Problem
from api.requests import in_thread
from api.strict_json import fault_of, parse
from dashboard.rendering import problem_of, render
from dashboard.routes import PageRoute
from hookkeeper.services import field_texts
from hookkeeper.services.errors import BadField
from hookkeeper.services.field_texts import MAX_NAME_SHOWN, PAIRS, by_path, fields_of, pattern_of

REFUSED: tuple[type[Exception], ...] = (ValidationError, *EXPECTED, Problem)
"""Why what was typed is not saved."""


class FormRoute(PageRoute):
    """A form with templates or schemas, as large as a request to the API."""

    max_form_bytes = 256 * 1024
    max_form_fields = 1000


def json_of(text: str) -> Any:
    """Read JSON that was typed. Raises ValueError."""
    try:
        return parse(text.encode())
    except Problem as error:
        raise ValueError(fault_of(error)) from None


async def read(request: Request, model: type[BaseModel], texts: Mapping[str, str]) -> dict[str, Any]:
    """Read texts as the fields of a model, in a thread. Raises Invalid."""
    return await in_thread(request, field_texts.read_fields, model, texts, json_of)


async def changes(
    request: Request, model: type[BaseModel], texts: Mapping[str, str], before: Mapping[str, str]
) -> dict[str, Any]:
    """Read the fields that differ from those before, in a thread. Raises Invalid."""
    return await in_thread(request, field_texts.changed_fields, model, texts, before, json_of)


def field_at(model: type[BaseModel], path: str) -> str:
    """Return the field or group of a path, which can name a part of it; empty if there is none."""
    while path and pattern_of(path) not in by_path(model):
        path = path.rpartition(".")[0]
    return path


async def show(
    request: Request,
    model: type[BaseModel],
    texts: Mapping[str, str],
    *,
    error: Exception | None = None,
    first: Sequence[str] = (),
    without: frozenset[str] = frozenset(),
    **context: Any,
) -> Response:
    """Show the form of a model's fields, with what is wrong. `context` has its title and address. Raises Forbidden.

    The fields named `first` are a section of their own, before all others.
    """
    problem = problem_of(error) if error else None
    if isinstance(problem, Forbidden):
        raise problem
    errors: dict[str, list[str]] = {}
    for bad in problem.errors if problem else ():
        name, detail = placed(model, bad)
        errors.setdefault(name, []).append(detail)
    fields = {name: field for name, field in fields_of(model).items() if name not in without}
    above = [fields.pop(name) for name in first if name in fields]
    sections = [section for section in (above, list(fields.values())) if section]
    return await render(
        request, "form.html", form=texts, sections=sections, problem=problem, errors=errors, **{"kept": {}, **context}
    )


def placed(model: type[BaseModel], error: BadField) -> tuple[str, str]:
    """Return the field of an error, and its text with the part of the field."""
    field = field_at(model, error.path)
    part = error.path[len(field) :].strip(".")[:MAX_NAME_SHOWN]
    entry = re.fullmatch(r"(\d{1,3})([./].*)?", part)
    codec = by_path(model)[pattern_of(field)].codec if field else None
    if entry and codec and codec is not PAIRS:  # names of pairs can be numbers
        part = f"entry {int(entry[1]) + 1}{entry[2] or ''}"
    return field, f"{part}: {error.detail}" if part else error.detail
