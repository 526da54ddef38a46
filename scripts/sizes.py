"""Count the lines of each folder, and what an event passes: `python -m scripts.sizes`. `make check` adds `--check`.

The way of an event is the first block of docs/internals/architecture.md under *Request flow*: its files, and the
classes in them that only hold data (shapes). Starts, readers and writers are counted in the whole product.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUDGETS = {
    "activities": 3_120,
    "api": 6_900,
    "cli": 6_285,
    "dashboard": 4_925,
    "extensions": 4_920,
    "hookkeeper/content": 2_985,
    "hookkeeper/crypto": 360,
    "hookkeeper/egress": 1_585,
    "hookkeeper/mail": 750,
    "hookkeeper/messages": 1_200,
    "hookkeeper/registry": 9_275,
    "hookkeeper/sandbox": 765,
    "hookkeeper/services": 6_010,
    "hookkeeper/targets": 385,
    "hookkeeper/temporal": 4_690,
    "hookkeeper": 2_930,
    "workflows": 2_655,
}
"""Lines of Python that a folder may have, without those of folders that have a budget of their own. A budget is raised
in a commit of its own that says why."""
STARTS = ("start_child_workflow", "start_run", "start_shared_run", "start_again")
"""Calls that start the run of an event, in the code of events."""
EVENT_CODE = (
    "hookkeeper/services/starts/*.py", "hookkeeper/temporal/events/*.py",
    "workflows/event.py", "workflows/shared_run.py", "activities/runs.py",
)  # fmt: skip
STATES = re.compile(r"\b(EventState|EventSnapshot)\b")
"""What a reader of events returns, from rows or from a run."""
SHAPES = {"NamedTuple", "Message", "BaseModel", "ResponseModel"}
READERS = "hookkeeper/temporal/events/*.py"
WRITERS = "hookkeeper/registry/events/rows.py"
Counts = dict[str, int]


def files(*patterns: str) -> list[Path]:
    command = ["git", "ls-files", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603 - constants
    return [ROOT / name for name in listed.stdout.split()]


def lines(paths: Iterable[Path]) -> int:
    return sum(len(path.read_text().splitlines()) for path in paths)


def folders() -> Counts:
    """Return the lines of each folder that has a budget."""
    found = dict.fromkeys(BUDGETS, 0)
    for path in files(*(f"{folder}/*.py" for folder in BUDGETS if "/" not in folder)):
        of = [folder for folder in BUDGETS if (ROOT / folder) in path.parents]
        found[max(of, key=len)] += lines([path])
    return found


def way() -> list[Path]:
    """Return the files of the request flow, in their order."""
    text = (ROOT / "docs/internals/architecture.md").read_text().partition("## Request flow")[2].partition("\n## ")[0]
    block = text.partition("    POST /v1/events")[2].partition("    IncidentWorkflow")[0]
    block += text.partition("    GET /v1/events/{event_id} ")[2].partition("    GET /v1/events ")[0]
    found: dict[Path, None] = {}
    for line in block.splitlines():
        folder = ROOT
        for name in re.findall(r"[\w/]+\.py(?=[\s,;:)]|$)", line):
            path = _resolve(name, folder)
            folder = path.parent
            found[path] = None
    return [*found]


def _resolve(name: str, folder: Path) -> Path:
    """Return the file: of the project, of the folder of the file before it, or of `hookkeeper`."""
    choices = [base / name for base in (ROOT, folder, folder.parent, ROOT / "hookkeeper")]
    for path in choices:
        if path.exists():
            return path
    raise SystemExit(f"docs/internals/architecture.md names {name}, which does not exist")


def of_way() -> Counts:
    """Return what an event passes."""
    paths = way()
    return {
        "files": len(paths),
        "lines": lines(paths),
        "shapes": sum(_is_shape(node) for path in paths for node in ast.walk(ast.parse(path.read_text()))),
        "starts": sum(1 for _ in _calls(files(*EVENT_CODE), STARTS)),
        "readers": sum(_reads(node) for path in files(READERS, WRITERS) for node in _functions(path)),
        "writers": sum(1 for node in _functions(ROOT / WRITERS) if _writes(node)),
    }


def _is_shape(node: ast.AST) -> bool:
    if not isinstance(node, ast.ClassDef):
        return False
    bases = {ast.unparse(base) for base in node.bases}
    return bool(bases & SHAPES) or any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _functions(path: Path) -> Iterator[ast.AsyncFunctionDef]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.AsyncFunctionDef))


def _calls(paths: Iterable[Path], names: Iterable[str]) -> Iterator[str]:
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in names:
                yield f"{path.name}:{node.lineno}"


def _reads(function: ast.AsyncFunctionDef) -> bool:
    returned = ast.unparse(function.returns) if function.returns else ""
    return bool(STATES.search(returned)) and not function.name.startswith("_")


def _writes(function: ast.AsyncFunctionDef) -> bool:
    return "_transactions.run(" in ast.unparse(function)


def main() -> None:
    counted = folders()
    width = max(map(len, counted))
    for folder, count in counted.items():
        print(f"{folder:{width}} {count:7,} of {BUDGETS[folder]:7,}")  # noqa: T201
    print(f"{'product':{width}} {sum(counted.values()) + lines([ROOT / 'worker.py']):7,}")  # noqa: T201
    print("way of an event: " + ", ".join(f"{count:,} {name}" for name, count in of_way().items()))  # noqa: T201
    over = [folder for folder, count in counted.items() if count > BUDGETS[folder]]
    if over and "--check" in sys.argv:
        sys.exit(f"over its budget of lines: {', '.join(over)} (scripts/sizes.py)")


if __name__ == "__main__":
    main()
