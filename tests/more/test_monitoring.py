"""Dashboard and alert rules use metrics of the contract, and each alert has a section that says what to do."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from test_docs import ROOT
from test_metrics_contract import contract

MONITORING = ROOT / "monitoring"
SUFFIXES = ("_bucket", "_sum", "_count")
GROUPS = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
ALERTS = [rule for group in GROUPS for rule in group["rules"]]
DASHBOARD = json.loads((MONITORING / "grafana-dashboard.json").read_text())
PANELS = DASHBOARD["panels"]


def dashboard_queries() -> list[str]:
    """Return all queries, with the interval that Grafana would fill in."""
    return [target["expr"].replace("$__rate_interval", "1m") for panel in PANELS for target in panel["targets"]]


def documented_queries() -> list[str]:
    """Return those of the objectives."""
    (block,) = re.findall(r"```promql\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)
    return str(block).strip().split("\n\n")


QUERIES = [*dashboard_queries(), *(alert["expr"] for alert in ALERTS), *documented_queries()]


def selectors(query: Any) -> Iterator[Any]:
    """Yield the selectors of a query: metrics with conditions on labels."""
    if isinstance(query, promql_parser.VectorSelector):
        yield query
    for name in ("lhs", "rhs", "expr", "vector_selector"):
        if (part := getattr(query, name, None)) is not None:
            yield from selectors(part)
    for argument in getattr(query, "args", None) or ():
        yield from selectors(argument)


def family_of(name: str) -> str:
    """Return the metric of a histogram's series."""
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_valid_and_uses_metrics_and_labels_of_the_contract(query: str) -> None:
    own = contract("Contract")
    used = list(selectors(promql_parser.parse(query)))
    assert used
    for selector in used:
        name = family_of(selector.name)
        if name.startswith("hookkeeper_"):
            known = {*re.findall(r"`(\w+)`", own[name][1]), "job", "instance", "le"}
            assert {matcher.name for matcher in selector.matchers.matchers} <= known
        else:
            assert name in contract("Temporal's SDK") or name.startswith("process_") or name == "up"


def test_every_metric_of_ours_is_on_the_dashboard_or_in_an_alert() -> None:
    used = {family_of(selector.name) for query in QUERIES for selector in selectors(promql_parser.parse(query))}
    assert {*contract("Contract"), *contract("Temporal's SDK")} - used <= {
        "temporal_request_total",
        "temporal_worker_task_slots_used",
        "temporal_sticky_cache_size",
        "hookkeeper_routed_requests_total",  # few installations have routers
    }


def test_each_alert_has_a_section_and_a_severity() -> None:
    section = (ROOT / "docs/operations.md").read_text().split("\n## Alerts\n")[1].split("\n## ")[0]
    assert re.findall(r"^### (\w+)$", section, re.MULTILINE) == [alert["alert"] for alert in ALERTS]
    for alert in ALERTS:
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"]["summary"]


def test_each_alert_is_tested_to_fire_and_not_to_fire() -> None:
    cases = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]
    seen = {(each["alertname"], bool(each["exp_alerts"])) for case in cases for each in case.get("alert_rule_test", ())}
    assert seen == {(alert["alert"], fires) for alert in ALERTS for fires in (True, False)}


def test_the_dashboards_panels_have_places_of_their_own() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)


def test_grafanas_own_schema_knows_every_field_of_the_dashboard() -> None:
    """What the schema does not know is lost when the dashboard is read and written."""
    assert _is_within(DASHBOARD, json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD))))
    unknown = DASHBOARD | {"panels": [PANELS[0] | {"titel": "a misspelt name"}]}
    assert not _is_within(unknown, json.loads(JSONEncoder().encode(Dashboard.from_json(unknown))))


def _is_within(part: Any, whole: Any) -> bool:
    """Return whether `whole` has everything of `part`, and perhaps further members."""
    if isinstance(part, dict):
        return all(name in whole and _is_within(member, whole[name]) for name, member in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(_is_within, part, whole))
    return bool(part == whole)


@pytest.mark.parametrize(
    "command", ["check config prometheus.yml", "check rules alerts.yml", "test rules alerts_test.yml"]
)
def test_promtool_accepts_rules_and_tests(command: str) -> None:
    """For `alerts_test.yml`, it also checks which alerts fire, and that missing data is one."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        [promtool, *command.split()], cwd=MONITORING, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nobody_can_log_in_to_grafana() -> None:
    """Its administrator would have the password `admin`, and could ask each container of the network."""
    settings = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["environment"]
    assert (settings["GF_AUTH_BASIC_ENABLED"], settings["GF_AUTH_DISABLE_LOGIN_FORM"]) == ("false", "true")
    assert settings["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def test_compose_mounts_existing_files() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["monitoring"]
        for volume in services[name]["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith(".") or (ROOT / Path(source)).exists()
