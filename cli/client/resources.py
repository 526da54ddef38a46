"""The commands that resources of the API share: list, create, show, update, delete, and those that are one POST.

The options of `create` and `update` are the fields of a model, which is imported when such a command is used.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from typer.core import TyperCommand
from typer.models import ArgumentInfo

from cli.client.api import Api, present
from cli.client.options import AsJson, Cursor, Limit, Yes, confirm, only, read_json, read_json_file, time_of
from cli.console import Failed, Json, print_fields, print_json_or, print_page, print_result

if TYPE_CHECKING:
    from pydantic import BaseModel

    from hookkeeper.services.field_texts import Field

Cell = str | Callable[[Json], str]
"""The field whose text a column has, or what writes it as markup."""
Short = Mapping[str, Callable[[str], Json]]
"""What makes an item of a list of a text that is not JSON, by the name of the list."""
NONE: Short = {}


def parameter(name: str, annotation: Any, default: Any = None) -> Parameter:
    """Make an option or argument of a command."""
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


ID = parameter("id_", Annotated[str, typer.Argument(metavar="ID", help="The id.")], Parameter.empty)
AS_JSON = parameter("as_json", AsJson, False)
YES = parameter("yes", Yes, False)
WIDE = parameter("wide", Annotated[bool, typer.Option("--wide", help="One line for each row, however long.")], False)
PAGE = (parameter("limit", Limit, 50), parameter("cursor", Cursor), WIDE, AS_JSON)
FILE = parameter(
    "file", only("The same as JSON, in the format of the API; - for standard input. Options override its fields.")
)


def query_of(filters: Json) -> Json:
    """Return the query of a list with these options: ages become times."""
    return {
        name: time_of(value) if name in ("since", "until") else value
        for name, value in filters.items()
        if value != ()  # an absent one that can be repeated
    }


class Resource:
    """The commands of one resource. Its methods add them in the order of `--help`."""

    def __init__(
        self, path: str, help_: str, print_one: Callable[[Json], None] = print_fields, tenant: Any = None
    ) -> None:
        """`tenant`: the option that names the tenant, if ids belong to one."""
        self.app = typer.Typer(no_args_is_help=True, help=help_)
        self._path = path
        self.print = print_one
        self._of = (ID, parameter("tenant", tenant), AS_JSON) if tenant else (ID, AS_JSON)

    def list(
        self,
        help_: str,
        columns: Mapping[str, Cell],
        empty: str,
        of: str | None = None,
        complete: Callable[[Api, Sequence[Json]], None] | None = None,
        **filters: Any,
    ) -> None:
        """Add `list`, or a list of what one has, with a table and the annotation of each filter.

        `complete` adds to the rows of a table what the list does not have.
        """

        def run(as_json: bool, wide: bool, id_: str = "", **given: Any) -> None:
            api, query = Api.of_environment(), query_of(given)
            page = api.call("GET", self._path, *((id_, of) if of else ()), **query)
            if complete and not as_json:
                complete(api, page["items"])
            print_page(as_json, page, [*columns], partial(_cells, columns.values()), empty, query, wide=wide)

        options = [parameter(name, about) for name, about in filters.items()]
        self._add(of or "list", help_, run, ((ID,) if of else ()) + (*options, *PAGE))

    def show(self, help_: str, of: str | None = None) -> None:
        """Add `show`, or a command that shows something of one."""
        self._add(of or "show", help_, self._call("GET", *([of] if of else ())), self._of)

    def delete(self, help_: str, loss: str) -> None:
        """Add `delete`, which asks first. `loss` is a sentence about what goes with it."""

        def run(id_: str, yes: bool, as_json: bool, **query: Any) -> None:
            confirm(f"Delete {id_}? {loss}", yes)
            Api.of_environment().call("DELETE", self._path, id_, **query)
            print_result(as_json, {"id": id_, "deleted": True}, f"{id_} is deleted")

        self._add("delete", f"{help_} {loss}", run, (*self._of, YES))

    def post(self, name: str, help_: str, say: Callable[[Json], str] | None = None, **body: Any) -> None:
        """Add a command that is a POST of these fields; without a sentence, it prints the resource."""
        fields = [parameter(each, about, _default_of(about)) for each, about in body.items()]
        self._add(name, help_, self._call("POST", name, body=body, say=say), (self._of[0], *fields, *self._of[1:]))

    def create(self, model: str, help_: str, *, argument: str, short: Short = NONE) -> None:
        """Add `create`; one field is also the argument."""

        def run(file: str | None, argument_: str | None, as_json: bool, **options: Any) -> None:
            if argument_ is not None:
                options[_option(argument)] = argument_
            body = fields_of_file(file, model) | fields_of_options(load_model(model), options, short)
            print_json_or(as_json, Api.of_environment().call("POST", self._path, body=body), self.print)

        self._add("create", help_, run, (FILE, AS_JSON), lambda: _options(load_model(model), short, argument))

    def update(self, model: str, help_: str, *, short: Short = NONE) -> None:
        """Add `update`, which changes what is given."""

        def run(id_: str, file: str | None, as_json: bool, tenant: str | None = None, **options: Any) -> None:
            body = fields_of_file(file, model) | fields_of_options(load_model(model), options, short)
            if not body:
                raise typer.BadParameter("nothing to change: give an option that sets a field, or --file")
            changed = Api.of_environment().call("PATCH", self._path, id_, body=body, tenant=tenant)
            print_json_or(as_json, changed, self.print)

        self._add("update", help_, run, (*self._of, FILE), lambda: _options(load_model(model), short))

    def _call(self, method: str, *path: str, body: Any = (), say: Callable[[Json], str] | None = None) -> Any:
        def run(id_: str, as_json: bool, **given: Any) -> None:
            fields = present(**{name: given.pop(name) for name in body}) if method == "POST" else None
            result = Api.of_environment().call(method, self._path, id_, *path, body=fields, **given)
            if say:
                print_result(as_json, result, say(result))
            else:
                print_json_or(as_json, result, self.print)

        return run

    def _add(
        self,
        name: str,
        help_: str,
        run: Callable[..., None],
        parameters: Sequence[Parameter],
        later: Callable[[], Sequence[Parameter]] = tuple,
    ) -> None:
        own = {each.name for each in parameters}
        given_later: dict[str, Any] = {}

        class Command(TyperCommand):
            """A command that has further parameters once it is used."""

            is_complete = False

            def get_params(self, ctx: Any) -> Any:
                if not self.is_complete:
                    self.is_complete = True
                    self.params[:0] = _made(later())
                return super().get_params(ctx)

            def invoke(self, ctx: Any) -> Any:
                """Typer calls functions with the parameters that it knows of."""
                given_later.clear()
                given_later.update({each: ctx.params.pop(each) for each in ctx.params.keys() - own})
                return super().invoke(ctx)

        self.app.command(name, cls=Command, help=help_)(
            with_parameters(parameters, lambda **given: run(**given, **given_later))
        )


def with_parameters(parameters: Sequence[Parameter], run: Callable[..., None]) -> Callable[..., None]:
    """Return a function with these parameters, for Typer."""

    def act(**given: Any) -> None:
        run(**given)

    act.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    act.__annotations__ = {each.name: each.annotation for each in parameters}
    return act


def _made(parameters: Sequence[Parameter]) -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(with_parameters(parameters, lambda **_: None))
    return typer.main.get_command(app).params


def _cells(columns: Any, row: Json) -> Sequence[str]:
    return [escape(str(row[cell] or "")) if isinstance(cell, str) else cell(row) for cell in columns]


def _default_of(about: Any) -> Any:
    return Parameter.empty if isinstance(about.__metadata__[0], ArgumentInfo) else None


# Fields as options


def load_model(model: str) -> "type[BaseModel]":
    """Return a model of requests by its name, `module:Class`."""
    module, _, name = model.partition(":")
    return getattr(import_module(f"hookkeeper.services.{module}"), name)  # type: ignore[no-any-return]


def _option(path: str) -> str:
    return path.replace(".", "_")


def _settable(model: "type[BaseModel]") -> "dict[str, tuple[str, Field]]":
    """Return path and field of each option, by the option's name. The parts of items have none."""
    from hookkeeper.services.field_texts import by_path

    fields = by_path(model).items()
    return {
        _option(path): (path, field) for path, field in fields if "*" not in path and (field.codec or field.is_list)
    }


def _options(model: "type[BaseModel]", short: Short, argument: str | None = None) -> list[Parameter]:
    steps = {name: step for step, names in _of_module(model, "STEPS", {}).items() for name in names}
    found = []
    for name, (path, field) in _settable(model).items():
        about = typer.Option(
            f"--{name.replace('_', '-')}" + (f"/--no-{name.replace('_', '-')}" if field.is_flag else ""),
            help=f"{field.option_help} {short[field.name].__doc__}" if field.is_list else field.option_help,
            rich_help_panel=steps.get(path.partition(".")[0], "Fields"),
            show_default=False,
        )
        found.append(parameter(name, Annotated[_kind(field), about]))
        if path == argument:
            given = typer.Argument(metavar=field.title.upper(), help=field.help, show_default=False)
            required = Parameter.empty if field.is_required else None
            found.append(parameter("argument_", Annotated[str if field.is_required else str | None, given], required))
    return found


def _kind(field: "Field") -> Any:
    if field.is_flag:
        return bool | None
    if field.choices:
        return Literal[tuple(field.shown_choices.values())] | None
    return list[str] | None if field.is_list or (field.codec and field.codec.can_repeat) else str | None


def fields_of_options(model: "type[BaseModel]", options: Mapping[str, Any], short: Short) -> Json:
    """Return the fields that options set; an empty text sets the default."""
    from hookkeeper.services.errors import Invalid
    from hookkeeper.services.field_texts import fields_of, put, read_fields

    texts: dict[str, str] = {}
    lists: dict[str, list[Json]] = {}
    for name, (path, field) in _settable(model).items():
        value = options.get(name)
        if value is None or value == ():
            continue
        if field.is_list:
            lists[path] = [_item(text, short[field.name]) for text in value if text]
        elif isinstance(value, bool):
            texts[path] = str(value).lower()
        else:
            texts[path] = value if isinstance(value, str) else "\n".join(value)
    try:
        fields = read_fields(model, texts, partial(read_json, option="the value"))
    except Invalid as error:
        bad = error.errors[0]
        raise typer.BadParameter(bad.detail, param_hint=f"--{bad.path.replace('.', '-').replace('_', '-')}") from None
    for path, items in lists.items():
        if items:
            put(fields, path.split("."), items)
    touched = dict.fromkeys(path.partition(".")[0] for path in (*texts, *lists))
    return {name: fields.get(name, fields_of(model)[name].default) for name in touched}


def _item(text: str, make: Callable[[str], Json]) -> Any:
    is_json = text.startswith(("{", "@")) and not text.startswith(("{{", "{%"))  # that is a template
    try:
        return read_json(text, "the value") if is_json else make(text)
    except ValueError as error:
        raise Failed(str(error)) from None


def fields_of_file(file: str | None, model: str) -> Json:
    """Read a file in the format of the API's requests or answers: fields of answers that cannot be set are left out."""
    fields = read_json_file(file, "--file") if file else {}
    if not isinstance(fields, dict):
        raise Failed("--file is not a JSON object")
    about = load_model(model)
    shown = _of_module(about, "SHOWN", ())
    return {name: value for name, value in fields.items() if name in about.model_fields or name not in shown}


def _of_module(model: "type[BaseModel]", name: str, default: Any) -> Any:
    return getattr(import_module(model.__module__), name, default)
