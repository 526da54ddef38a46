"""Count the members of lists and objects before they are validated.

Each bad member makes an error, and a body can have 20,000: describing them all would block the event loop for a tenth
of a second and more.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, get_args

from annotated_types import MaxLen
from pydantic import BaseModel

MAX_FIELDS = 100
"""Fields of one object, known or not."""


class _Field(NamedTuple):
    at_most: int | None
    """Members of the list or object."""
    model: type[BaseModel] | None
    """The model of the value, or of each of its members."""


def check_field(model: type[BaseModel], name: str, value: Any, *, slack: int = 1) -> None:
    """Raise ValueError if the value of a field, or anything in it, has more members than is allowed.

    Below the field, only twice the allowed number is refused here: Pydantic reports the exact path of a smaller excess.
    """
    field = _fields(model)[name]
    if not isinstance(value, list | dict):
        return
    if field.at_most is not None and len(value) > field.at_most * slack:
        raise ValueError(f"has {len(value)} members, and may have {field.at_most}")
    if field.model is None:
        return
    for member in value if isinstance(value, list) else [value]:
        if isinstance(member, dict):
            _check_object(field.model, member)


def check_fields(value: dict[str, Any]) -> None:
    """Raise ValueError for an object with too many fields."""
    if len(value) > MAX_FIELDS:
        raise ValueError(f"more than {MAX_FIELDS} fields")


def names_at(model: type[BaseModel] | None, path: Sequence[str | int]) -> list[str]:
    """Return the fields of the object at a path, such as `emails`, 0; none if that is no object of a known model."""
    for step in path:
        if isinstance(step, str) and model:
            known = _fields(model).get(step)
            model = known.model if known else None
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _check_object(model: type[BaseModel], value: dict[str, Any]) -> None:
    check_fields(value)
    for name in _fields(model).keys() & value.keys():
        try:
            check_field(model, name, value[name], slack=2)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


@cache
def _fields(model: type[BaseModel]) -> dict[str, _Field]:
    return {name: _field(field.annotation, field.metadata) for name, field in model.model_fields.items()}


def _field(annotation: Any, metadata: list[Any]) -> _Field:
    bounds = [bound.max_length for bound in metadata if isinstance(bound, MaxLen)]
    types = list(_types(annotation))
    if not bounds and dict in types and Any not in types:
        bounds = [MAX_FIELDS]
    models = [kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return _Field(bounds[0] if bounds else None, models[0] if models else None)


def _types(annotation: Any) -> Any:
    """Yield a type and those it is made of: for `tuple[Email, ...] | None` also `tuple` and `Email`."""
    yield getattr(annotation, "__origin__", annotation)
    for argument in get_args(annotation):
        yield from _types(argument)
