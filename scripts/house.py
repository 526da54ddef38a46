"""Draw the house: rooms from the top down, with their lines, and what they import: `python -m scripts.house`.

A room is a folder below the root or below `hookkeeper/`; a module of `hookkeeper/` is a room of its own. A room stands
above all that it imports, and imports for types count. Fails if there is a circle, or if a room is too large.
"""

import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import grimp

from scripts.sizes import files, lines

PACKAGES = ("activities", "api", "cli", "dashboard", "extensions", "hookkeeper", "workflows")
ENTRANCE = "hookkeeper.__main__"
"""`python -m hookkeeper`; it imports the command line, as a script does."""
MAX_SHARE = 0.4
"""Of the product's lines, for a room."""
Imports = Mapping[str, set[str]]


def room(module: str) -> str:
    """Return the room of a module."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "hookkeeper" else 1])


def imports() -> Imports:
    """Return the rooms that each room imports."""
    graph = grimp.build_graph(*PACKAGES)
    found: dict[str, set[str]] = {room(module): set() for module in graph.modules if module != ENTRANCE}
    found.pop("hookkeeper")
    for name in graph.modules - {ENTRANCE, "hookkeeper"}:
        found[room(name)] |= {room(other) for other in graph.find_modules_directly_imported_by(name)}
    return {name: others - {name, "hookkeeper"} for name, others in found.items()}


def levels(imported: Imports) -> dict[str, int]:
    """Return the level of each room: one above the highest that it imports. Raises CycleError."""
    found: dict[str, int] = {}
    for name in TopologicalSorter(imported).static_order():
        found[name] = 1 + max((found[other] for other in imported[name]), default=0)
    return found


def direct(name: str, imported: Imports) -> list[str]:
    """Return what a room imports, without what it also reaches through another of them."""
    return sorted(imported[name] - {far for near in imported[name] for far in below(near, imported)})


def below(name: str, imported: Imports) -> set[str]:
    return {far for near in imported[name] for far in {near} | below(near, imported)}


def size(name: str) -> int:
    path = name.replace(".", "/")
    return lines(files(f"{path}/**.py", f"{path}.py"))


def main() -> None:
    imported = imports()
    try:
        found = levels(imported)
    except CycleError as error:
        sys.exit(f"a circle of rooms: {' -> '.join(error.args[1])}")
    sizes = {name: size(name) for name in imported}
    whole = sum(sizes.values())
    whole = sum(sizes.values())
    for name in sorted(imported, key=lambda name: (-found[name], name)):
        share, near = sizes[name] / whole, " ".join(direct(name, imported))
        print(f"{found[name]:>2}  {name:<27}{sizes[name]:>6,} {share:>4.0%}  {near}".rstrip())  # noqa: T201
    if large := [name for name in imported if sizes[name] > MAX_SHARE * whole]:
        sys.exit(f"larger than {MAX_SHARE:.0%} of the product: {' '.join(large)}")


if __name__ == "__main__":
    main()
