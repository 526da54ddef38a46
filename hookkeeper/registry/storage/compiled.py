"""Statements of SQLAlchemy's core as the database's own driver takes them: compiled once, with the conversions of their
parameters and of their rows.

Making a statement for many values costs more than executing it. So one about many rows takes their keys as JSON.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Dialect,
    Executable,
    Float,
    FromClause,
    String,
    bindparam,
    cast,
    column,
    func,
    select,
    type_coerce,
)
from sqlalchemy import literal_column as literal
from sqlalchemy.types import TypeEngine

Convert = Callable[[Any], Any]
Query = Executable | Callable[[str], Executable]
"""A statement, or what makes it for the name of a dialect."""


class Compiled:
    def __init__(self, query: Query, dialect: Dialect) -> None:
        made: Any = query if isinstance(query, Executable) else query(dialect.name)
        compiled = made.compile(dialect=dialect)
        self.text: str = compiled.string
        self._defaults = {name: value for name, value in compiled.params.items() if value is not None}
        self._order: Sequence[str] = compiled.positiontup or ()
        self._in_order = itemgetter(*self._order) if len(self._order) > 1 else self._one_or_none
        binds = [_bind(compiled.binds[name].type, dialect) for name in self._order]
        self._binds = [(n, bind) for n, bind in enumerate(binds) if bind is not None]
        conversions = [_conversion(each.type, dialect) for each in made.exported_columns]
        self._conversions = [(n, convert) for n, convert in enumerate(conversions) if convert is not None]

    def ordered(self, parameters: Mapping[str, Any] | tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the values of the parameters in the order in which the text has them. A tuple has it."""
        if isinstance(parameters, tuple):
            return parameters
        values = {**self._defaults, **parameters} if self._defaults else parameters
        return _converted(self._in_order(values), self._binds)

    def row(self, row: Sequence[Any]) -> tuple[Any, ...]:
        """Convert a row of the driver, as SQLAlchemy would. Raises CipherError."""
        return _converted(row, self._conversions)

    def _one_or_none(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(values[name] for name in self._order)


def rows_of_json(dialect: str, *kinds: TypeEngine[Any]) -> FromClause:
    """Return the rows of the parameter `rows`, lists in JSON, with the columns `v0`, `v1` …, and their number `n`."""
    given = bindparam("rows", type_=String)
    values: list[ColumnElement[Any]]
    number: ColumnElement[Any]
    if dialect == "sqlite":
        each = func.json_each(given).table_valued("key", "value", name="k")
        parts = (func.json_extract(each.c.value, literal(f"'$[{n}]'")) for n in range(len(kinds)))
        values = [type_coerce(part, kind) for part, kind in zip(parts, kinds, strict=True)]
        number = each.c.key
    else:
        elements = func.json_array_elements(cast(given, JSON))
        each = elements.table_valued(column("value", JSON), with_ordinality="key", name="k").render_derived()
        values = [cast(each.c.value.op("->>")(literal(str(n))), kind) for n, kind in enumerate(kinds)]
        number = each.c.key - literal("1")
    named = (value.label(f"v{n}") for n, value in enumerate(values))
    return select(*named, number.label("n")).subquery("k")


def _converted(row: Sequence[Any], conversions: Sequence[tuple[int, Convert]]) -> tuple[Any, ...]:
    if not conversions:
        return tuple(row)
    found = [*row]
    for n, convert in conversions:
        found[n] = convert(found[n])
    return tuple(found)


def _bind(kind: TypeEngine[Any], dialect: Dialect) -> Convert | None:
    bind: Convert | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return bind


def _conversion(kind: TypeEngine[Any], dialect: Dialect) -> Convert | None:
    """Return what makes a value of Python from the driver's; None if they are the same."""
    if isinstance(kind, Float):  # as it is with both drivers; SQLAlchemy would need the type in the database
        return None
    conversion: Convert | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return conversion
