"""The documentation builds as a site, with every page and no broken link, and needs no other host."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from test_docs import ROOT

LOADED = re.compile(r"""<(?:script|img|iframe)[^>]*\ssrc=["']?(?:https?:)?//|<link[^>]*\shref=["']?(?:https?:)?//""")


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Run what `make docs` runs."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=150, check=False
    )


def test_the_site_has_every_page_and_loads_nothing_from_another_host(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        html = tmp_path / page.relative_to(docs).with_suffix(".html")
        text = html.with_name(html.name.replace("README", "index")).read_text()
        assert not LOADED.search(text), page
        assert "```mermaid" not in page.read_text(), f"{page}: the theme would load a script from another host"
    for style in tmp_path.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", style.read_text()), style


def test_a_broken_link_and_a_missing_anchor_fail(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs/rates.md").open("a") as page:
        page.write("\n[one](no-such-page.md), [another](retries.md#no-such-section)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "no-such-page.md" in done.stderr
    assert "no-such-section" in done.stderr
