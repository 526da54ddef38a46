"""The fields of a model as texts, and back: a form and the options of a command are made of its types and words.

A field has the path that the API names in errors: `payload.template`, `emails.0.to`. Its label is its title, its help
its description, and the text in its place its first example.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

from hookkeeper.content.text import LINES, SECONDS, WORD
from hookkeeper.services.errors import BadField, Invalid
from hookkeeper.wording import read_durations, write_durations

Parse = Callable[[str], Any]
"""Reads JSON. Raises ValueError."""
MAX_NAME_SHOWN = 64
REMOVE = "remove"
"""Ends the name of the text that removes an item of a list."""
_WORDS: dict[Any, str] = {True: "true", False: "false"}
_STEP = re.compile(r"\.(\d{1,3})(?=\.|$)", re.ASCII)


class Codec(NamedTuple):
    """How a value is read and written. `read` raises ValueError."""

    read: Callable[[str, Parse], Any]
    write: Callable[[Any], str]
    widget: Literal["line", "area", "choice"] = "line"
    can_repeat: bool = False
    """Several texts are one, with a line for each."""
    hint: str = ""
    """How a text has to look."""


class Field(NamedTuple):
    """A field, or a group of fields; a list of groups has the parts of each item."""

    name: str
    title: str
    help: str
    example: str
    default: Any
    is_required: bool
    codec: Codec | None
    choices: tuple[str, ...] = ()
    """The texts of all values. That of the default is empty."""
    parts: "tuple[Field, ...]" = ()
    is_list: bool = False

    @property
    def is_flag(self) -> bool:
        """Whether it is true or false."""
        return bool(self.choices) and isinstance(self.default, bool)

    @property
    def form_help(self) -> list[str]:
        """The sentences of the help in a form."""
        lines = "One a line." if self.codec and self.codec.can_repeat and self.codec.widget == "area" else ""
        words = (self.help, self.codec.hint if self.codec else "", lines)
        return [text.replace("`", "") for text in words if text]

    @property
    def option_help(self) -> str:
        """The help on the command line."""
        repeated = "Can be repeated." if self.is_list or (self.codec and self.codec.can_repeat) else ""
        return " ".join(filter(None, (self.help or f"{self.title}.", self.codec and self.codec.hint, repeated)))

    @property
    def shown_choices(self) -> dict[str, str]:
        """The words for each text."""
        default = {True: "yes", False: "no"}.get(self.default, self.default)
        return {text: {"true": "yes", "false": "no"}.get(text, text) or default for text in self.choices}


@cache
def fields_of(model: type[BaseModel]) -> dict[str, Field]:
    """Return the fields of a model by their names, with those inside them as parts."""
    return {info.alias or name: _field(info.alias or name, info) for name, info in model.model_fields.items()}


@cache
def by_path(model: type[BaseModel]) -> dict[str, Field]:
    """Return all fields and groups by their paths, with `*` for the number of an item."""
    return dict(_paths(fields_of(model).values()))


def pattern_of(path: str) -> str:
    """Return the path with `*` for the number of an item."""
    return _STEP.sub(".*", path, count=1)


def read_fields(model: type[BaseModel], texts: Mapping[str, str], parse: Parse) -> dict[str, Any]:
    """Read texts as fields of the model; empty ones are left out. Raises Invalid, which names each bad field."""
    fields: dict[str, Any] = {}
    errors: list[BadField] = []
    for path, text in texts.items():
        field = by_path(model).get(pattern_of(path))
        if field is None or field.codec is None or not text.strip():
            continue
        try:
            put(fields, path.split("."), field.codec.read(text, parse))
        except ValueError as error:
            errors.append(BadField(path=path, detail=str(error)))
    if errors:
        raise Invalid("The form is invalid: see errors.", errors)
    return _nested(fields_of(model).values(), fields)


def write_fields(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, str]:
    """Write the values of fields, as JSON has them, as texts."""
    return dict(_written("", fields_of(model).values(), values))


def changed_fields(
    model: type[BaseModel], texts: Mapping[str, str], before: Mapping[str, str], parse: Parse
) -> dict[str, Any]:
    """Return the fields whose texts differ from those before; an empty one has its default. Raises Invalid."""
    names = {
        path.partition(".")[0]
        for path in {*texts, *before}
        if pattern_of(path) in by_path(model) and _text(texts, path) != _text(before, path)
    }
    given = read_fields(model, {path: text for path, text in texts.items() if path.partition(".")[0] in names}, parse)
    return {name: given.get(name, fields_of(model)[name].default) for name in sorted(names)}


def item_count(texts: Mapping[str, str], list_: str) -> int:
    """Return how many items of a list tidied texts have."""
    return len({_number_in(path, list_) for path in texts} - {None})


def tidied(model: type[BaseModel], texts: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """Return texts without items that are removed or empty, and with exact texts where those before are unchanged.

    Browsers change line ends, and drop them from a field of one line.
    """
    exact = {path: _exact(model, path, text.replace("\r\n", "\n"), before.get(path)) for path, text in texts.items()}
    for list_ in (path for path, field in by_path(model).items() if field.is_list):
        exact = _renumbered(exact, list_)
    return exact


def _paths(fields: Collection[Field], prefix: str = "") -> Iterator[tuple[str, Field]]:
    for field in fields:
        path = f"{prefix}{field.name}"
        yield path, field
        if field.is_list:
            path += ".*"
            yield path, field._replace(is_list=False)
        yield from _paths(field.parts, f"{path}.")


def put(fields: dict[str, Any], steps: list[str], value: Any) -> None:
    """Set a field at a path."""
    *outer, last = steps
    for step in outer:
        fields = fields.setdefault(step, {})
    fields[last] = value


def _nested(fields: Collection[Field], values: dict[str, Any]) -> dict[str, Any]:
    """Turn numbered items into lists."""
    nested = {}
    for field in fields:
        if (value := values.get(field.name)) is None:
            continue
        if field.is_list:
            value = [_nested(field.parts, value[number]) for number in sorted(value, key=int)]
        elif field.parts:
            value = _nested(field.parts, value)
        nested[field.name] = value
    return nested


def _written(prefix: str, fields: Collection[Field], values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for field in fields:
        path, value = f"{prefix}{field.name}", values.get(field.name)
        if value is None:
            continue
        if field.codec:
            yield path, field.codec.write(value)
        for start, item in (
            ((f"{path}.{n}.", item) for n, item in enumerate(value)) if field.is_list else [(f"{path}.", value)]
        ):
            yield from _written(start, field.parts, item)


def _text(texts: Mapping[str, str], path: str) -> str:
    """Return the text of a field; of one that has nothing but blanks, nothing."""
    text = texts.get(path, "")
    return text if text.strip() else ""


def _exact(model: type[BaseModel], path: str, text: str, before: str | None) -> str:
    if before is None or not (codec := by_path(model)[pattern_of(path)].codec):
        return text
    shown = before.replace("\r\n", "\n") if codec.widget == "area" else before.replace("\r", "").replace("\n", "")
    return before if text == shown else text


def _renumbered(texts: dict[str, str], list_: str) -> dict[str, str]:
    """Drop the removed and empty items of a list, and number the others."""
    numbers = sorted({number for path in texts if (number := _number_in(path, list_)) is not None})
    kept = [number for number in numbers if _is_kept(texts, f"{list_}.{number}.")]
    renumbered = {}
    for path, text in texts.items():
        number = _number_in(path, list_)
        if number is None:
            renumbered[path] = text
        elif number in kept:
            rest = path.removeprefix(f"{list_}.").partition(".")[2]
            renumbered[f"{list_}.{kept.index(number)}.{rest}"] = text
    return renumbered


def _is_kept(texts: Mapping[str, str], item: str) -> bool:
    is_removed = texts.get(f"{item}{REMOVE}") == "true"
    return not is_removed and any(text.strip() for path, text in texts.items() if path.startswith(item))


def _number_in(path: str, list_: str) -> int | None:
    """Return the number of the item that a field belongs to, if it is one of the list."""
    match = _STEP.match(path, len(list_)) if path.startswith(list_) else None
    return int(match[1]) if match else None


# What a model says


def _field(name: str, info: FieldInfo) -> Field:
    kind, marks = _unwrapped(info.annotation)
    item = next(iter(get_args(kind)), None) if get_origin(kind) in (list, tuple) else None
    group = next((of for of in (kind, item) if isinstance(of, type) and issubclass(of, BaseModel)), None)
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    codec = None if group else _codec(kind, [*marks, *info.metadata], default)
    return Field(
        name,
        info.title or name.replace("_", " ").capitalize(),
        " ".join((info.description or "").split()),
        codec.write(info.examples[0]) if codec and info.examples else "",
        default,
        info.is_required(),
        codec,
        tuple("" if value == default else _WORDS.get(value, value) for value in _values(kind)),
        tuple(fields_of(group).values()) if group else (),
        is_list=group is item is not None,
    )


def _unwrapped(annotation: Any) -> tuple[Any, list[Any]]:
    """Return a type without `None` and what annotates it, and the latter."""
    if get_origin(annotation) is Annotated:
        annotated, *marks = get_args(annotation)
        kind, inner = _unwrapped(annotated)
        return kind, [*inner, *marks]
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        if len(kinds) == 1:
            return _unwrapped(kinds[0])
    return annotation, []


def _values(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is Literal else (False, True) if kind is bool else ()


def _codec(kind: Any, marks: list[Any], default: Any) -> Codec:
    held = [_unwrapped(part) for part in get_args(kind) if get_origin(kind) in (list, tuple, dict)]
    parts, inner = [part for part, _ in held], [mark for _, marks_of in held for mark in marks_of]
    if _values(kind):
        read = (lambda text, _: text.strip() == "true") if kind is bool else _strip
        return Codec(read, lambda value: "" if value == default else _WORDS.get(value, value), "choice")
    if parts and parts != [Any] and get_origin(kind) is not dict:
        return DURATIONS if SECONDS in inner else PATTERNS if WORD in inner else LIST
    if SECONDS in marks:
        return DURATION
    if get_origin(kind) in (Union, UnionType):  # true or false, or an object with one text
        (name,) = next(each for each in get_args(kind) if each is not bool).model_fields
        return Codec(
            lambda text, _: {"true": True, "false": False}.get(text.strip(), {name: text.strip()}),
            lambda value: value[name] if isinstance(value, dict) else "true" if value else "",
            hint=f"`true`, `false`, or a {name}.",
        )
    if kind is str:
        return TEXT if LINES in marks else LINE
    return PAIRS if parts == [str, str] else {int: COUNT, float: NUMBER, AwareDatetime: TIME}.get(kind, JSON)


# How values are written


def _strip(text: str, _: Parse) -> str:
    return text.strip()


def _number(text: str, _: Parse) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number") from None


def _count(text: str, _: Parse) -> int:
    if not text.strip().isdecimal() or len(text) > 9:
        raise ValueError("must be a whole number")
    return int(text)


def _duration(text: str, _: Parse) -> float:
    found = read_durations(text)
    if len(found) != 1:
        raise ValueError("must be one duration such as 5s, 5m, 2h")
    return found[0]


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not line.strip():
            continue
        if not colon:
            raise ValueError(f"line {number} has no colon: write each line as name: value")
        if name in pairs:
            raise ValueError(f"line {number} repeats {name[:MAX_NAME_SHOWN]}")
        pairs[name] = value
    return pairs


def _pairs_or_json(text: str, parse: Parse) -> Any:
    return parse(text) if text.lstrip().startswith("{") else _pairs(text)


def _write_pairs(pairs: Mapping[str, str]) -> str:
    """Write one pair a line; as JSON if that would read as something else, or a browser could change it."""
    text = "\n".join(f"{name}: {value}" for name, value in pairs.items())
    with suppress(ValueError):
        if not text.startswith("{") and all(map(str.isprintable, text.split("\n"))) and _pairs(text) == pairs:
            return text
    return JSON.write(pairs)


LINE = Codec(_strip, str)
TIME = Codec(_strip, str, hint="RFC 3339.")
TEXT = Codec(lambda text, _: text, str, "area")
LIST = Codec(
    lambda text, _: [line.strip() for line in text.split("\n") if line.strip()], "\n".join, "area", can_repeat=True
)
PATTERNS = Codec(lambda text, _: list(dict.fromkeys(text.replace(",", " ").split())), ", ".join, can_repeat=True)
PAIRS = Codec(_pairs_or_json, _write_pairs, "area", can_repeat=True, hint="`name: value`.")
JSON = Codec(
    lambda text, parse: parse(text),
    lambda value: json.dumps(value, indent=2, ensure_ascii=False) if value else "",
    "area",
    hint="JSON.",
)
NUMBER = Codec(_number, lambda value: f"{value:.12g}")
COUNT = Codec(_count, str)
DURATION = Codec(_duration, lambda value: write_durations([value]), hint="Such as 30s, 5m, 2h, 1d.")
DURATIONS = Codec(
    lambda text, _: read_durations(text), write_durations, hint="Such as 5s, 5m, 1h; `never` for none at all."
)
