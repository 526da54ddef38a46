"""List the cases that hold each page of the docs: `python -m scripts.promises` writes docs/internals/promises.md.

The name of a case is the sentence that it proves, and its marker `promise` names the page (tests/tiers.py).
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = ROOT / "docs/internals/promises.md"
HEAD = """# Promises, and the cases that hold them

`make test` runs each of them ([decision 67](decisions/0067-two-tiers-of-tests.md)).
`python -m scripts.promises` writes this page from the markers of the tests.
"""


def promises() -> dict[str, list[tuple[str, str]]]:
    """Return the cases by page: the file of each, and its name."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for page, name in _marked(ast.parse(file.read_text())):
            found[page].append((str(file.relative_to(ROOT)), name))
    return dict(sorted(found.items()))


def _marked(module: ast.Module) -> Iterator[tuple[str, str]]:
    for case in module.body:
        if isinstance(case, ast.FunctionDef | ast.AsyncFunctionDef):
            for mark in case.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.promise":
                    yield ast.literal_eval(mark.args[0]), case.name


def page() -> str:
    """Return the list as Markdown."""
    parts = [HEAD]
    for name, cases in promises().items():
        link = f"../{name.removeprefix('docs/')}" if name.startswith("docs/") else None
        parts.append(f"\n## {f'[{name}]({link})' if link else name}\n\n")
        parts += [f"- {case.removeprefix('test_').replace('_', ' ')} (`{file}`)\n" for file, case in cases]
    return "".join(parts)


if __name__ == "__main__":
    LIST.write_text(page())
