"""The fields of a webhook that its kinds of targets bring."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, create_model

from hookkeeper.kind import Items
from hookkeeper.kinds import KINDS, LISTS

*_FIRST, _LAST = (kind.field for kind in KINDS.values())
NEEDS_TARGET = f"a webhook needs a {', '.join(_FIRST)} or {_LAST}"
Model = TypeVar("Model", bound=BaseModel)


def with_lists(field_of: Callable[[Items], Any]) -> Callable[[type[Model]], type[Model]]:
    """Add a field to a model for each kind of which a webhook can have several: its type, and what Pydantic knows."""

    def add(model: type[Model]) -> type[Model]:
        fields: dict[str, Any] = {kind.field: field_of(items) for kind, items in LISTS}
        return create_model(
            model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **fields
        )

    return add


def has_target(fields: Mapping[str, Any]) -> bool:
    """Return whether a webhook with these fields has a target."""
    return any(fields[kind.field] for kind in KINDS.values())
