"""Each page that promises something to users has cases that hold it, and the list of them is up to date."""

from pathlib import Path

from scripts.promises import LIST, ROOT, page, promises

NOT_HELD_HERE = {
    "comparison.md": "says what others do",
    "glossary.md": "has words only",
    "index.md": "leads to the other pages",
    "kubernetes.md": "tests/more/test_helm_chart.py: make test-all",
    "performance.md": "has figures only",
    "scaling.md": "has figures only",
    "settings.md": "tests/test_settings.py, whose cases are pure",
    "troubleshooting.md": "tests/test_causes.py, whose cases are pure",
    "typescript.md": "tests/more/test_typescript.py: make test-all",
}
"""Pages whose promises other cases hold, or that promise nothing: which, and why."""


def test_each_page_of_the_docs_has_a_case_that_holds_it() -> None:
    pages = {Path(name).name for name in promises() if name.startswith("docs/")}
    there = {file.name for file in (ROOT / "docs").glob("*.md")}
    assert pages | set(NOT_HELD_HERE) == there
    assert not pages & set(NOT_HELD_HERE)
    assert "README.md" in promises()


def test_the_list_is_up_to_date() -> None:
    assert LIST.read_text() == page(), "run `python -m scripts.promises`"
