"""A stack as in production, as far as it is pure: names, addresses, configuration, and the verdict of all steps.

`make production-like` runs it: Go builds Temporal's server for that, which takes too long for a test.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.ports import Ports
from drills import temporal_cluster
from drills.drill import Numbers, Outcome, print_outcome, print_step
from drills.postgres import Postgres
from drills.production import HOSTS, Production, pooling
from drills.production_like import STEPS, Row, compare, summarize
from drills.shape import EMBEDDED, WORKERS, Extra, Shape
from drills.temporal_cluster import PORTS, ROOT, Tls, configuration, folder, version

TLS = Tls(Path("/tls/c.pem"), Path("/tls/c.key"), Path("/tls/ca.pem"))


def production(*extras: Extra, server: Any = "production", tls: Tls | None = None) -> Production:
    postgres = Postgres(Path("/data"), Path("/sockets"))
    return Production(Shape(server, frozenset(extras)), Path("/made"), postgres, "127.8.9", Ports(), tls)


def test_the_server_has_the_version_of_the_compose_file() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    image = yaml.safe_load(compose)["services"]["temporal"]["image"]
    assert image == f"temporalio/server:{version(compose)}"


def test_the_server_is_in_the_users_cache_or_where_a_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(temporal_cluster.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert folder().parent == Path("/cache/hookkeeper")
    monkeypatch.setenv(temporal_cluster.VARIABLE, str(tmp_path))
    assert folder() == tmp_path
    (tmp_path / "server").touch()
    assert "has no sql" in str(temporal_cluster.why_missing())
    (tmp_path / "sql").touch()
    assert temporal_cluster.why_missing() is None


def test_a_cluster_has_the_shards_and_the_dynamic_configuration_of_the_compose_file() -> None:
    temporal = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["temporal"]["environment"]
    made = configuration("127.0.0.5", "127.0.0.4", "127.0.0.3", None)
    assert str(made["persistence"]["numHistoryShards"]) == temporal["NUM_HISTORY_SHARDS"]
    assert Path(made["dynamicConfigClient"]["filepath"]).name == Path(temporal["DYNAMIC_CONFIG_FILE_PATH"]).name
    assert all(port < 2**15 for port in PORTS.values()), "Temporal writes ports to a column of two bytes"
    assert {role: each["rpc"]["bindOnIP"] for role, each in made["services"].items()} == dict.fromkeys(
        PORTS, "127.0.0.5"
    )
    assert "tls" not in made["global"]


def test_frontends_demand_certificates_if_there_is_tls() -> None:
    tls = configuration("127.0.0.5", "127.0.0.4", "127.0.0.3", TLS)["global"]["tls"]
    assert tls["frontend"]["server"]["requireClientAuth"] is True
    assert tls["systemWorker"]["client"] == tls["frontend"]["client"]


@pytest.mark.parametrize(("server", "count", "apis"), [("embedded", 1, 1), ("production", 1, 2), ("roles", 7, 2)])
def test_a_shape_names_its_processes(server: Any, count: int, apis: int) -> None:
    shape = Shape(server)
    assert (len(shape.temporal), len(shape.apis)) == (count, apis)
    assert len(set(shape.targets)) == count + apis + len(WORKERS) + 1


def test_processes_connect_as_a_role_that_changes_no_tables_and_migrate_as_their_owner() -> None:
    environments = production().environments({"HOOKKEEPER_RATE_LIMIT": "5/second"})
    urls = {name: variables["HOOKKEEPER_DATABASE_URL"] for name, variables in environments.items()}
    assert urls.pop("migrate") == "postgresql+asyncpg://postgres:none@127.8.9.1:5432/postgres"
    assert set(urls.values()) == {"postgresql+asyncpg://hookkeeper_data:none@127.8.9.1:5432/postgres"}
    assert {variables["HOOKKEEPER_RATE_LIMIT"] for variables in environments.values()} == {"5/second"}
    addresses = [variables["HOOKKEEPER_METRICS_ADDRESS"] for name, variables in environments.items() if name in HOSTS]
    assert len(set(addresses)) == len(addresses) == 4


def test_each_extra_changes_how_processes_connect() -> None:
    pooled = production("pooler").environments({})
    assert "@127.8.9.2:6432/" in pooled["api-1"]["HOOKKEEPER_DATABASE_URL"]
    assert "@127.8.9.1:5432/" in pooled["migrate"]["HOOKKEEPER_DATABASE_URL"]
    encrypted = production("tls", tls=TLS).environments({})["worker-2"]
    assert encrypted["HOOKKEEPER_DATABASE_URL"].endswith("?ssl=verify-full")
    assert encrypted["PGSSLROOTCERT"] == encrypted["TEMPORAL_TLS_SERVER_CA_CERT_PATH"] == str(TLS.authority)


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        ("PgBouncer 1.18.0\nlibevent 2.1", "session"),
        ("PgBouncer 1.21.0", "transaction"),
        ("PgBouncer 1.24.1", "transaction"),
        ("PgBouncer 2.0.0", "transaction"),
        ("another pooler", "session"),
    ],
)
def test_a_pooler_has_the_mode_that_its_version_supports(written: str, mode: str) -> None:
    assert f"pool_mode = {mode}" in pooling(written)


def test_throughput_is_compared_within_each_turn() -> None:
    measured = {"hookkeeper": (100.0, 50.0, 80.0), "production": (60.0, 45.0, 60.0)}
    samples = [
        {"contender": name, "metrics": {"events_per_s": value, "cpu_ms": value / 10}}
        for name, values in measured.items()
        for value in values
    ]
    shown = "60 events/s, embedded 80: 0.75 (aim 0.6); CPU 6.0 ms an event, embedded 8.0"
    assert compare(samples) == (0.75, shown)
    failed: list[dict[str, Any]] = [{"contender": name, "metrics": {}} for name in measured]
    assert compare(failed)[0] == compare([])[0] == 0.0


def row(step: str, passed: bool | None) -> Row:
    return Row(step, passed, Numbers(300, 0, 0, 3, "a figure"), 12.0)


@pytest.mark.parametrize(
    ("rows", "passed"),
    [
        ([row("release", True)], True),
        ([row("release", True), row("faults", False)], False),
        ([row("release", True), row("pooler", None)], True),
        ([row("pooler", None)], False),
        ([], False),
    ],
)
def test_all_steps_have_to_pass(rows: list[Row], passed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert print_outcome(summarize(rows)) is passed
    assert all(row.step in capsys.readouterr().out for row in rows[:1])


def test_brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = "test_commands[/v1/events] [red]"
    print_step(text)
    print_outcome(Outcome({text: (text,)}, {"wrong": [text]}, notes=[text]))
    assert capsys.readouterr().out.count(text) == 5


def test_every_step_has_a_stack_as_in_production() -> None:
    assert EMBEDDED not in {options.shape for _, options in STEPS.values()}
