"""Build the files of a release from a commit: `make release`. docs/internals/releasing.md describes them.

The commit and the arguments decide every byte: contents come from git, and each time is that of the commit.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement

from hookkeeper.version import VERSION

UNPINNED = "python:3.12-slim-bookworm"


@dataclass(frozen=True)
class Release:
    commit: str
    seconds: int
    """The time of the commit, since 1970."""
    base: str = UNPINNED
    """The image that the recipe begins with, with its digest."""
    source: str = ""
    """The URL of the repository."""

    @property
    def created(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)


def main() -> None:
    parser = ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("--version", default="", help="the version, to build a commit that has no tag")
    parser.add_argument("--base", default=UNPINNED, help="the base image, with its digest")
    parser.add_argument("--source", default="", help="the URL of the repository")
    parser.add_argument("--output", type=Path, default=Path("build/release"))
    given = parser.parse_args()
    os.umask(0o022)
    release = read_release(given.version, given.base, given.source)
    os.environ["SOURCE_DATE_EPOCH"] = str(release.seconds)
    shutil.rmtree(given.output, ignore_errors=True)
    given.output.mkdir(parents=True)
    with TemporaryDirectory() as folder:
        git("-c", "tar.umask=0022", "archive", "--output", f"{folder}/tree.tar", release.commit)
        shutil.unpack_archive(f"{folder}/tree.tar", f"{folder}/tree")
        write(Path(folder) / "tree", Path(folder), given.output, release)
    sys.stdout.write((given.output / "SHA256SUMS").read_text())
    if "@sha256:" not in release.base:
        sys.stdout.write(f"The image's base is not pinned: make release BASE={release.base}@sha256:…\n")


def read_release(version: str, base: str, source: str) -> Release:
    """Return what is released. Refuse uncommitted changes, and another version than that of the code."""
    if changes := git("status", "--porcelain"):
        sys.exit(f"make release: there are changes that no commit has:\n{changes}")
    if version not in ("", VERSION):
        sys.exit(f"make release: hookkeeper/version.py says {VERSION}, not {version}")
    if not version and f"v{VERSION}" not in git("tag", "--points-at", "HEAD").split():
        sys.exit(f"make release: this commit has no tag v{VERSION}. Without one, VERSION={VERSION} builds it")
    if not version and f"## {VERSION} (unreleased)" in Path("CHANGELOG.md").read_text():
        sys.exit(f"make release: CHANGELOG.md still calls {VERSION} unreleased")
    commit, seconds = git("log", "-1", "--format=%H %ct").split()
    return Release(commit, int(seconds), base, source)


def write(tree: Path, scratch: Path, output: Path, release: Release) -> None:
    """Write all files of a release into a folder."""
    write_distributions(tree, scratch, output, release)
    write_image(tree, scratch / "image", output, release)
    write_chart(tree, output, release)
    write_site(tree, scratch / "site", output, release)
    (output / f"hookkeeper-{VERSION}.cdx.json").write_text(
        bill_of_materials((tree / "requirements.lock").read_text(), release)
    )
    (output / "provenance.json").write_text(json.dumps(provenance(digests(output), release), indent=2) + "\n")
    sums = digests(output)
    (output / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def write_distributions(tree: Path, scratch: Path, output: Path, release: Release) -> None:
    """Build the sources of each Python distribution, and from them its wheel."""
    for project in (tree / "pyproject.toml", *sorted(tree.glob("clients/*/pyproject.toml"))):
        built = scratch / project.parent.name / "built"
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(project.parent))
        for path in built.iterdir():
            if path.suffix == ".whl":
                shutil.copy(path, output)
                continue
            # Sources that setuptools packs have the time and the rights of the build.
            shutil.unpack_archive(path, built / "sources")
            pack(built / "sources", output / path.name, release)


def write_image(tree: Path, context: Path, output: Path, release: Release) -> None:
    """Pack what `docker build` reads, with the base image and the labels of this release in its Dockerfile."""
    context.mkdir()
    kept = [line[1:] for line in (tree / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for path in (path for pattern in (".dockerignore", *kept) for path in tree.glob(pattern)):
        shutil.copytree(path, context / path.name) if path.is_dir() else shutil.copy(path, context)
    values = {
        "BASE": release.base,
        "VERSION": VERSION,
        "REVISION": release.commit,
        "CREATED": release.created.isoformat(),
        "SOURCE": release.source,
    }
    steps = (tree / "Dockerfile").read_text()
    for name, value in values.items():
        steps, count = re.subn(rf"^ARG {name}=.*$", f"ARG {name}={value}", steps, flags=re.MULTILINE)
        assert count == 1, name
    (context / "Dockerfile").write_text(steps)
    pack(context, output / f"hookkeeper-image-{VERSION}.tar.gz", release)


def write_chart(tree: Path, output: Path, release: Release) -> None:
    chart = tree / "deploy/helm/hookkeeper"
    ignored = [chart / name for name in (chart / ".helmignore").read_text().split()]
    pack(chart, output / f"hookkeeper-chart-{VERSION}.tgz", release, chart.name, ignored)


def write_site(tree: Path, site: Path, output: Path, release: Release) -> None:
    run(sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site), cwd=tree)
    name = f"hookkeeper-docs-{VERSION}"
    pack(site, output / f"{name}.tar.gz", release, name)


def pack(folder: Path, target: Path, release: Release, root: str = ".", ignored: Sequence[Path] = ()) -> None:
    """Write a .tar.gz in which only names, contents and the right to execute tell two folders apart."""
    with (
        target.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=release.seconds) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or any(path.is_relative_to(each) for each in ignored):
                continue
            entry = tarfile.TarInfo(os.path.normpath(f"{root}/{path.relative_to(folder).as_posix()}"))
            entry.size, entry.mtime = path.stat().st_size, release.seconds
            entry.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            with path.open("rb") as content:
                tar.addfile(entry, content)


def bill_of_materials(lock: str, release: Release) -> str:
    """Return what the image has of other projects, as CycloneDX: each package of the lock, with its licence."""
    licences = LicenseFactory()
    ours = Component(
        name="hookkeeper",
        version=VERSION,
        type=ComponentType.APPLICATION,
        bom_ref="hookkeeper",
        purl=PackageURL("pypi", name="hookkeeper", version=VERSION),
        licenses=[licences.make_from_string("MIT")],
    )
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, f"hookkeeper:{VERSION}:{release.commit}"))
    bom.metadata.component, bom.metadata.timestamp = ours, release.created
    for line in lock.splitlines():
        if not line[:1].isalnum():
            continue  # a comment or a hash
        package = Requirement(line.rstrip("\\"))
        (pin,) = package.specifier
        purl = PackageURL("pypi", name=package.name, version=pin.version)
        licence = declared_licence(package.name)
        bom.components.add(
            Component(
                name=package.name,
                version=pin.version,
                bom_ref=purl.to_string(),
                purl=purl,
                licenses=[licences.make_from_string(licence)] if licence else None,
            )
        )
    bom.register_dependency(ours, bom.components)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2) + "\n"


def declared_licence(package: str) -> str | None:
    """Return the licence in the metadata of an installed package; nothing for its full text, or if there is none."""
    try:
        known = metadata(package)
    except PackageNotFoundError:
        return None  # another platform needs it
    classifiers = [each.split(" :: ")[-1] for each in known.get_all("Classifier", []) if each.startswith("License ::")]
    named = [*known.get_all("License-Expression", []), *known.get_all("License", []), *classifiers]
    return next((each for each in named if 0 < len(each) < 80 and "\n" not in each), None)


def provenance(subjects: dict[str, str], release: Release) -> dict[str, object]:
    """Return the in-toto statement of how files were made (SLSA provenance 1.0). Nothing signs it."""
    image, _, digest = release.base.partition("@sha256:")
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": each}} for name, each in subjects.items()],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:hookkeeper:make-release",
                "externalParameters": {"version": VERSION, "base": release.base, "source": release.source},
                "resolvedDependencies": [
                    {"name": "hookkeeper", "digest": {"gitCommit": release.commit}},
                    {"name": image} | ({"digest": {"sha256": digest}} if digest else {}),
                ],
            },
            "runDetails": {
                "builder": {
                    "id": "urn:hookkeeper:make-release:unsigned",
                    "version": {"python": ".".join(map(str, sys.version_info[:3]))},
                }
            },
        },
    }


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def git(*arguments: str) -> str:
    return run("git", *arguments).strip()


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a command; return its output. End this process with its errors if it fails."""
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"make release: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
