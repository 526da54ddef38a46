"""`hookkeeper cells …`: which cell has which tenant, and moving one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client.options import AsJson
from cli.console import CONTINUE, Failed, out, print_json_or, print_table
from cli.processes import run, start_without_collections, until_stopped

if TYPE_CHECKING:
    from extensions.cells.cell_map import CellMap, Place

app = typer.Typer(no_args_is_help=True, help="Cells: installations that share the tenants among them.")


def add_to(main: typer.Typer) -> None:
    """Add the commands `cells` and `router`."""
    main.add_typer(app, name="cells", rich_help_panel="Operate")
    main.command(rich_help_panel="Operate")(router)


def router() -> None:
    """Pass each request of /v1 on to the cell that has its tenant, by the map in HOOKKEEPER_CELL_MAP."""
    start_without_collections()
    from extensions.cells.run_router import run_router

    run_router()


@app.command("list")
def list_cells(as_json: AsJson = False) -> None:
    """List the cells, and the tenants that are not in the default one."""
    from cli.operators.startup import cell_map_path, read_settings
    from extensions.cells import cell_map

    with _as_failures():
        known = cell_map.read(cell_map_path(read_settings()))
    print_json_or(as_json, known.model_dump(mode="json", exclude_defaults=True), lambda _: _print_map(known))


def _print_map(known: "CellMap") -> None:
    urls = [(name, cell.url, "default" if name == known.default else "") for name, cell in known.cells.items()]
    print_table(("CELL", "URL", ""), urls)
    if known.tenants:
        out.print()
        places = [(tenant, place.cell, _state(place)) for tenant, place in sorted(known.tenants.items())]
        print_table(("TENANT", "CELL", ""), places)


def _state(place: "Place") -> str:
    if place.moving_to:
        return f"moving to {place.moving_to}"
    if place.draining:
        return f"{place.draining} still delivers"
    return f"earlier events in {', '.join(earlier)}" if (earlier := place.earlier()) else ""


@app.command()
def move(
    tenant: Annotated[str, typer.Argument(help="The tenant.")],
    to: Annotated[str, typer.Option(help="The cell that gets it.")],
    settle: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds after which all routers have a changed map, and requests that they began have ended."
        ),
    ] = 15.0,
) -> None:
    """Move a tenant to another cell without loss, and watch until the old one has delivered what it had accepted.

    Can be interrupted and repeated safely. With the cell that the tenant is in, takes back a move that has just begun.
    """
    run(_move(tenant, to, settle))


async def _move(tenant: str, to: str, settle: float) -> None:
    from cli.operators.startup import cell_map_path, read_settings
    from extensions.cells import cell_map
    from extensions.cells.access import opened
    from extensions.cells.move import Move, left_cell

    with _as_failures():
        path = cell_map_path(read_settings())
        known = cell_map.read(path)
        place = known.place(tenant)
        if to not in known.cells:
            raise Failed(f"there is no cell {to}: cells are {', '.join(known.cells)}")
        if (source := left_cell(place, to)) is None:
            out.print(f"{tenant} is in {to}", markup=False)
            return
        other = (place.moving_to or to) if source == to else to
        async with opened(known, source) as old, opened(known, other) as new:
            moving = Move(path, tenant, old, new, settle, lambda text: out.print(text, markup=False))
            async with until_stopped():
                await (moving.take_back() if source == to else moving.run())
                return
    raise Failed(f"interrupted: {CONTINUE}")


@contextmanager
def _as_failures() -> Iterator[None]:
    """Raise `Failed` for what the operator has to know."""
    from extensions.cells.access import CellUnavailable, MoveFailed
    from extensions.cells.cell_map import BadCellMap
    from hookkeeper.registry.storage.database import RegistryUnavailable

    try:
        yield
    except (BadCellMap, MoveFailed) as error:
        raise Failed(str(error)) from error
    except (CellUnavailable, RegistryUnavailable) as error:
        raise Failed(f"{error}: {CONTINUE}") from error
