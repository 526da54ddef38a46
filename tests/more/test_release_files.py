"""A release has the same bytes wherever it is built, consists of what is committed, and says what is in it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom

from hookkeeper.version import VERSION
from scripts.release import UNPINNED, Release, bill_of_materials, write_chart, write_image
from test_docs import ROOT
from test_helm_chart import needs_helm, template
from test_packaging import locked, version

RELEASE = Release("c" * 40, 1_800_000_000, f"python:3.12@sha256:{'b' * 64}", "https://example.com/hookkeeper")


def git(folder: Path, *arguments: str) -> str:
    owner = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    command = ["git", *owner, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the files of this one as they are now, without its tests, in one commit."""
    folder = tmp_path_factory.mktemp("release") / "repository"
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All of it")
    return folder


def release(
    repository: Path, *arguments: str, umask: int = 0o022, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run what `make release` runs."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.release", *arguments],
        cwd=repository,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | variables,
        umask=umask,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def contents(packed: Path) -> dict[str, str]:
    """Return the text of each file of a package."""
    with tarfile.open(packed) as tar:
        return {each.name: tar.extractfile(each).read().decode(errors="replace") for each in tar}  # type: ignore[union-attr]


def test_a_release_has_the_same_bytes_wherever_it_is_built(repository: Path, tmp_path: Path) -> None:
    """Setup: a repository and its clone, whose files have other times, with another time zone, language and umask.
    Proves: a release that is doubted can be built again and compared.
    """
    git(tmp_path, "clone", "--quiet", str(repository), "clone")
    first, second = tmp_path / "first", tmp_path / "second"
    options = ("--version", VERSION, "--base", RELEASE.base, "--source", RELEASE.source, "--output")
    one = release(repository, *options, str(first), TZ="Asia/Tokyo")
    other = release(tmp_path / "clone", *options, str(second), umask=0o077, TZ="UTC", LC_ALL="C")
    assert one.returncode == other.returncode == 0, one.stderr + other.stderr
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in first.iterdir()}
    assert files == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in second.iterdir()}

    del files["SHA256SUMS"]
    assert one.stdout == (first / "SHA256SUMS").read_text()
    assert {name: digest for digest, name in map(str.split, one.stdout.splitlines())} == files

    del files["provenance.json"]
    statement = json.loads((first / "provenance.json").read_text())
    assert {each["name"]: each["digest"]["sha256"] for each in statement["subject"]} == files
    commit, base = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert commit["digest"] == {"gitCommit": git(repository, "rev-parse", "HEAD")}
    assert base["digest"] == {"sha256": "b" * 64}
    assert files.keys() == {
        f"hookkeeper-{VERSION}-py3-none-any.whl",
        f"hookkeeper-{VERSION}.tar.gz",
        f"hookkeeper-{VERSION}.cdx.json",
        f"hookkeeper-chart-{VERSION}.tgz",
        f"hookkeeper-docs-{VERSION}.tar.gz",
        f"hookkeeper-image-{VERSION}.tar.gz",
        f"hookkeeper_client-{VERSION}-py3-none-any.whl",
        f"hookkeeper_client-{VERSION}.tar.gz",
    }
    assert f"hookkeeper-docs-{VERSION}/index.html" in contents(first / f"hookkeeper-docs-{VERSION}.tar.gz")
    sources = contents(first / f"hookkeeper-{VERSION}.tar.gz")
    for name in zipfile.ZipFile(first / f"hookkeeper-{VERSION}-py3-none-any.whl").namelist():
        assert ".dist-info/" in name or f"hookkeeper-{VERSION}/{name}" in sources


def test_only_a_commit_with_the_tag_of_its_version_is_released(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", str(repository), "clone")
    clone = tmp_path / "clone"
    output = ("--output", str(tmp_path / "release"))

    assert f"this commit has no tag v{VERSION}" in release(clone, *output).stderr
    assert f"hookkeeper/version.py says {VERSION}, not 99.0" in release(clone, *output, "--version", "99.0").stderr

    changes = clone / "CHANGELOG.md"
    changes.write_text(f"# Changelog\n\n## {VERSION} (unreleased)\n")
    assert "there are changes that no commit has:\nM CHANGELOG.md" in release(clone, *output).stderr
    git(clone, "commit", "--all", "--quiet", "--message", "Change it")
    git(clone, "tag", f"v{VERSION}")
    refused = release(clone, *output)
    assert f"CHANGELOG.md still calls {VERSION} unreleased" in refused.stderr
    assert refused.returncode == 1
    assert not (tmp_path / "release").exists()


def test_the_bill_of_materials_has_each_package_of_the_image() -> None:
    bill = json.loads(bill_of_materials((ROOT / "requirements.lock").read_text(), RELEASE))
    packages = [each for found in locked("requirements.lock").values() for each in found]
    assert sorted(each["purl"] for each in bill["components"]) == sorted(
        f"pkg:pypi/{each.name}@{version(each)}" for each in packages
    )
    assert bill["metadata"]["component"]["version"] == VERSION
    assert bill["metadata"]["timestamp"] == "2027-01-15T08:00:00+00:00"
    (aiohttp,) = (each for each in bill["components"] if each["name"] == "aiohttp")
    assert aiohttp["licenses"] == [{"expression": "Apache-2.0 AND MIT"}]
    assert len(Bom.from_json(bill).components) == len(packages)  # type: ignore[attr-defined]


def test_the_recipe_of_the_image_has_its_base_its_labels_and_its_code(repository: Path, tmp_path: Path) -> None:
    assert f"ARG BASE={UNPINNED}\n" in (repository / "Dockerfile").read_text()
    write_image(repository, tmp_path / "context", tmp_path, RELEASE)
    files = contents(tmp_path / f"hookkeeper-image-{VERSION}.tar.gz")
    assert dict(re.findall(r"^ARG (\w+)=(.*)$", files["Dockerfile"], re.MULTILINE)) == {
        "BASE": RELEASE.base,
        "VERSION": VERSION,
        "REVISION": RELEASE.commit,
        "CREATED": "2027-01-15T08:00:00+00:00",
        "SOURCE": RELEASE.source,
    }
    recipe = files.pop("Dockerfile").splitlines()
    assert [step for step in recipe if step.startswith("FROM")] == ["FROM ${BASE}"]
    labels = {name.upper() for name in re.findall(r"image\.(\w+)=\$", "\n".join(recipe))}
    assert labels == {"VERSION", "REVISION", "CREATED", "SOURCE"}
    assert {name.split("/")[0] for name in files} == {
        *(".dockerignore", "LICENSE", "README.md", "pyproject.toml", "requirements.lock", "worker.py"),
        *("activities", "api", "cli", "dashboard", "extensions", "hookkeeper", "workflows"),
    }


@needs_helm
def test_the_packed_chart_renders_as_the_folder_does(repository: Path, tmp_path: Path) -> None:
    write_chart(repository, tmp_path, RELEASE)
    chart = tmp_path / f"hookkeeper-chart-{VERSION}.tgz"
    packed = template(chart=chart)
    assert packed.returncode == 0, packed.stderr
    assert packed.stdout == template().stdout
    assert not [name for name in contents(chart) if "/ci/" in name]
