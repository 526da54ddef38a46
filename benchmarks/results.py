"""The results of a run as JSON. They are saved after each measurement, so an interrupted run keeps what it has."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hookkeeper.version import VERSION

SECRET_SETTINGS = ("KEY", "SECRET", "URL", "PASSWORD")
"""Settings whose names contain one of these are saved without their values."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of a contender."""

    scenario: str
    contender: str
    turn: int
    seconds: float
    metrics: dict[str, float]
    error: str | None = None


@dataclass
class Results:
    """All measurements of a run."""

    file: Path
    options: dict[str, object]
    circumstances: dict[str, object] = field(default_factory=lambda: _circumstances())
    skipped: dict[str, str] = field(default_factory=dict)
    """Why a contender was not measured."""
    samples: list[Sample] = field(default_factory=list)
    is_complete: bool = False
    """False: the run was interrupted, or its time was over."""

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)
        self.save()

    def save(self) -> None:
        """Write the file as a whole."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        content = {name: value for name, value in asdict(self).items() if name != "file"}
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(content, indent=1) + "\n")
        fresh.replace(self.file)

    @property
    def failures(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.error]


def new_file(folder: Path) -> Path:
    """Return the file of a run that starts now."""
    return folder / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}.json"


def _circumstances() -> dict[str, object]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": VERSION,
        "commit": _commit(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
        "settings": _settings(),
    }


def _commit() -> str | None:
    """Return the commit that is measured, with `+` if files have changed since; None outside a repository."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


def _settings() -> dict[str, str]:
    """Return the settings in the environment."""
    given = {name: value for name, value in os.environ.items() if name.startswith("HOOKKEEPER_")}
    return {name: "…" if any(part in name for part in SECRET_SETTINGS) else value for name, value in given.items()}
