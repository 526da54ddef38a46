"""The metrics are those of docs/metrics.md, and their labels have few values."""

import re
import subprocess
import sys
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from api.problems import BY_STATUS
from hookkeeper import metrics
from test_docs import ROOT

REGISTRIES: tuple[CollectorRegistry, ...] = (metrics.PROCESS, metrics.SOURCES_UP, *metrics.STATE.values())


def contract(title: str) -> dict[str, list[str]]:
    """Return a table of docs/metrics.md: the name in the first column, and the other columns."""
    section = (ROOT / "docs/metrics.md").read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in lines}


def defined() -> dict[str, Any]:
    """Return all metrics of our own by the names under which they are served."""
    collectors = {each for registry in REGISTRIES for each in registry._collector_to_names}
    own = [each for each in collectors if not isinstance(each, ProcessCollector)]
    return {f"{each._name}_total" if each._type == "counter" else each._name: each for each in own}  # type: ignore[attr-defined]


def test_the_contract_has_every_metric_with_its_type_and_labels() -> None:
    rows = contract("Contract").items()
    documented = {name: (kind, re.findall(r"`(\w+)`", labels)) for name, (kind, labels, *_) in rows}
    assert documented == {name: (metric._type, [*metric._labelnames]) for name, metric in defined().items()}


def test_no_label_is_of_a_tenant_or_what_it_makes() -> None:
    made_by_tenants = {"tenant", "event", "event_id", "type", "webhook", "webhook_id", "url", "key"}
    for metric in defined().values():
        assert not made_by_tenants & {*metric._labelnames}


@pytest.mark.parametrize(
    ("error", "class_"),
    [
        (None, "none"),
        ("timeout", "timeout"),
        ("http_404", "http_4xx"),
        ("http_503", "http_5xx"),
        ("http_304", "other"),
        ("smtp_450", "smtp_4xx"),
        ("smtp_550", "smtp_5xx"),
        ("not_accepted", "other"),
        ("http_5xx\n", "http_5xx"),
        ("", "other"),
    ],
)
def test_an_error_code_has_its_class(error: str | None, class_: str) -> None:
    assert metrics.error_class(error) == class_
    assert class_ in metrics.ERRORS


def test_each_problem_of_a_posted_event_has_a_reason() -> None:
    elsewhere = {404, 414, 431}  # no route, or before there is one
    assert {problem.kind for status, problem in BY_STATUS.items() if status not in elsewhere} <= {*metrics.REFUSALS}


@pytest.mark.parametrize("verdict", ["failed", "rejected", "bad_template", "forbidden_address", "gone"])
def test_a_process_begins_with_a_zero_for_each_alert_that_can_fail(verdict: str) -> None:
    """Otherwise `increase()` does not see the first one, and HookkeeperAlertsFail does not fire for it."""
    show = "from hookkeeper import metrics; print(metrics.exposition(metrics.PROCESS).decode())"
    shown = subprocess.run([sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for kind in ("failed", "disabled", "recovered"):
        assert f'hookkeeper_alerts_total{{kind="{kind}",verdict="{verdict}"}} 0.0' in shown
