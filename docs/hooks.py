"""MkDocs hooks: the decision records in the navigation, and lists as GitHub reads them."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig

LIST_ITEM = re.compile(r"- |1\. ")
PARAGRAPH = re.compile(r"(?!- |\d+\. |#|\||>|```)\S")


def on_config(config: MkDocsConfig) -> None:
    """Add the records to the section that has only their README."""
    docs = Path(config.docs_dir)
    internals = next(section["Internals"] for section in config.nav or () if "Internals" in section)
    decisions = next(section["Decisions"] for section in internals if "Decisions" in section)
    decisions += [path.relative_to(docs).as_posix() for path in sorted(docs.glob("internals/decisions/0*.md"))]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Insert the blank line that Python-Markdown, unlike GitHub, needs between a paragraph and a list."""
    lines: list[str] = []
    in_code = False
    for line in markdown.splitlines():
        in_code ^= line.startswith("```")
        if not in_code and LIST_ITEM.match(line) and lines and PARAGRAPH.match(lines[-1]):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)
