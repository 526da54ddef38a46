"""What a release has stays: each line of its saved surface is one of the present surface too."""

from pathlib import Path

import pytest

from cases import each
from scripts.surface import surface

SURFACES = sorted((Path(__file__).parent / "surfaces").glob("*.txt"))


@pytest.fixture(scope="module")
def present() -> set[str]:
    return set(surface())


@pytest.mark.parametrize("path", SURFACES, ids=lambda path: path.stem)
def test_nothing_of_a_release_is_missing(path: Path, present: set[str]) -> None:
    missing = set(path.read_text().splitlines()) - present
    assert not missing, "\n".join(sorted(missing))


@each(
    "line",
    [
        "GET /v1/events takes query status?: [string] | null",
        "POST /v1/webhooks takes application/json: NewWebhook",
        "POST /v1/webhooks answers 201 application/json: WebhookWithSecret",
        "schema NewWebhook.url?: null | string",
        "setting HOOKKEEPER_ADMIN_KEY",
        "command hookkeeper webhooks create",
        "command hookkeeper events list --status",
        "command hookkeeper events show id_",
        "metric hookkeeper_attempt_seconds histogram channel",
        "column webhooks.targets",
        "name in Temporal EventWorkflow",
    ],
)
def test_a_surface_has_lines_of_each_kind(line: str, present: set[str]) -> None:
    assert line in present
