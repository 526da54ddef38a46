"""The Helm chart: what it renders is valid, as restricted as the image allows, and sets only settings that exist."""

import importlib.util
import itertools
import json
import re
import shutil
import subprocess
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from pydantic import SecretStr
from temporalio.envconfig import ClientConfig

from cli.operators.startup import describe_unknown
from hookkeeper.addresses import Networks, is_allowed
from hookkeeper.settings import Settings
from hookkeeper.version import VERSION
from test_docs import ROOT

CHART = ROOT / "deploy/helm/hookkeeper"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
SETS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").iterdir())
TEXTS = [
    path for path in [*CHART.rglob("*"), ROOT / "docs/kubernetes.md"] if path.is_file() and "files" not in path.parts
]
CUSTOM = ("PrometheusRule", "ScaledObject", "ServiceMonitor", "WorkerDeployment")
"""Kinds of operators, whose schemas Kubernetes does not have."""
SECRET = {
    "HOOKKEEPER_ADMIN_KEY": "a-key-for-tests-only",
    "HOOKKEEPER_DATABASE_URL": "postgresql+asyncpg://hookkeeper:secret@db.example/hookkeeper",
}
SPECIAL = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
    *("::/127", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    *("2620:4f:8000::/48", "5f00::/16", "fc00::/7", "fe80::/10", "ff00::/8"),
)
NOT_OURS = {"TEMPORAL_DEPLOYMENT_NAME"}
"""Temporal's Worker Controller tells it to workers."""
needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed: docs/kubernetes.md")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["helm", *arguments], cwd=CHART, capture_output=True, text=True, timeout=60, check=False)


def template(*arguments: str, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    # A helm that was built without the release's flags believes that it faces Kubernetes 1.20.
    return helm("template", "hookkeeper", str(chart), "--namespace", "hooks", "--kube-version", "1.34", *arguments)


@cache
def rendered(name: str) -> str:
    done = template("--values", f"ci/{name}-values.yaml")
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(name: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(rendered(name)) if each]


def pods(name: str) -> dict[str, dict[str, Any]]:
    """Return the pod templates of a value set by component."""
    found = (each["spec"]["template"] for each in objects(name) if "template" in each.get("spec", {}))
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in found}


def environment(pod: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"]}


def test_there_is_a_value_set_for_each_way_to_install() -> None:
    ways = {"minimal", "production", "cloud-api-key", "cloud-mtls", "keda", "monitoring", "worker-controller"}
    assert set(SETS) == ways


def test_chart_and_image_have_the_version_of_the_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


@pytest.mark.parametrize("name", ["alerts.yml", "grafana-dashboard.json"])
def test_alerts_and_dashboard_are_those_of_the_folder_monitoring(name: str) -> None:
    assert (CHART / "files" / name).read_bytes() == (ROOT / "monitoring" / name).read_bytes()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_variable_that_the_chart_names_is_a_setting(path: Path) -> None:
    named = set(re.findall(r"\bHOOKKEEPER_[A-Z0-9_]+[A-Z0-9]", path.read_text()))
    assert describe_unknown(named) == []


def test_secrets_cannot_be_given_as_values() -> None:
    refused = set(SCHEMA["properties"]["settings"]["propertyNames"]["not"]["enum"])
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert {f"HOOKKEEPER_{name.upper()}" for name in {*secret, "database_url"}} <= refused
    assert describe_unknown(refused) == []


def examples() -> list[Any]:
    """Return all value sets, and the values that the documentation shows."""
    sets = [pytest.param((CHART / f"ci/{name}-values.yaml").read_text(), id=name) for name in SETS]
    shown = re.findall(
        r"^```yaml\n(image:.*?)^```", (ROOT / "docs/kubernetes.md").read_text(), re.MULTILINE | re.DOTALL
    )
    return [*sets, *(pytest.param(text, id="documentation") for text in shown)]


def test_the_documentation_shows_values() -> None:
    assert len(examples()) == len(SETS) + 1


@pytest.mark.parametrize("example", examples())
def test_values_fit_the_schema(example: str) -> None:
    changes = yaml.safe_load(example)
    validator = jsonschema_rs.validator_for(SCHEMA)
    assert [error.message for error in validator.iter_errors({**VALUES, **changes})] == []


def test_the_schema_knows_exactly_the_values_of_the_file() -> None:
    """A value that the file lacks would not be documented; one that the schema lacks would be refused."""

    def compare(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        if "$ref" in schema:
            schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
        if schema.get("additionalProperties") is not False or path.endswith("resources"):
            return
        assert set(values) == set(schema["properties"]) - {"global"}, path
        for name, value in values.items():
            if isinstance(value, dict):
                compare(value, schema["properties"][name], f"{path}.{name}")

    compare(VALUES, SCHEMA, "")


@needs_helm
@pytest.mark.parametrize("name", SETS)
def test_the_pods_environment_is_read_as_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for pod in pods(name).values():
        variables = environment(pod) | SECRET
        assert describe_unknown(variables) == []
        with monkeypatch.context() as patch:
            for variable, value in variables.items():
                patch.setenv(variable, value)
            settings = Settings()
        assert settings.metrics_address == "0.0.0.0:9464"
        assert settings.deployment_version == pod["metadata"]["labels"]["app.kubernetes.io/version"]
        assert isinstance(settings.admin_key, SecretStr)


@needs_helm
@pytest.mark.parametrize(("name", "secure"), [("minimal", False), ("cloud-api-key", True), ("cloud-mtls", True)])
def test_temporals_sdk_reads_the_connection(name: str, secure: bool, tmp_path: Path) -> None:
    variables = environment(pods(name)["worker"])
    for file in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / file).write_text("a certificate")
    variables = {each: value.replace("/etc/temporal", str(tmp_path)) for each, value in variables.items()}
    config = ClientConfig.load_client_connect_config(override_env_vars=variables)
    assert config["target_host"] == variables["TEMPORAL_ADDRESS"]
    assert config["namespace"] == variables["TEMPORAL_NAMESPACE"]
    assert bool(config.get("tls")) == secure
    if name == "cloud-mtls":
        tls: Any = config["tls"]
        assert tls.client_cert == tls.client_private_key == tls.server_root_ca_cert == b"a certificate"
        assert tls.domain == "acme.a1b2c.tmprl.cloud"
    known = {variable for variable in variables if variable.startswith("TEMPORAL_")} - NOT_OURS
    assert known <= {f"TEMPORAL_{each}" for each in ("ADDRESS", "NAMESPACE", "TLS")} | {
        f"TEMPORAL_TLS_{each}" for each in ("CLIENT_CERT_PATH", "CLIENT_KEY_PATH", "SERVER_CA_CERT_PATH", "SERVER_NAME")
    }


@needs_helm
@pytest.mark.parametrize("name", SETS)
def test_a_pod_may_do_no_more_than_it_must(name: str) -> None:
    found = pods(name)
    assert {"api", "migrate", "worker"} <= set(found)
    for pod in found.values():
        spec, (container,) = pod["spec"], pod["spec"]["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert container["envFrom"][0] == {"secretRef": {"name": "hookkeeper"}}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert not any("hostPath" in volume for volume in spec["volumes"])


@needs_helm
@pytest.mark.parametrize("name", SETS)
def test_each_selector_finds_the_pods_that_it_means(name: str) -> None:
    labels = {component: pod["metadata"]["labels"] for component, pod in pods(name).items()}

    def found(selector: dict[str, str]) -> set[str]:
        return {component for component, has in labels.items() if selector.items() <= has.items()}

    for each in objects(name):
        spec = each.get("spec", {})
        match each["kind"]:
            case "Deployment" | "PodDisruptionBudget":
                component = each["metadata"]["name"].rpartition("-")[2]
                assert found(spec["selector"]["matchLabels"]) == {component}
            case "Service" if each["metadata"]["name"] == "hookkeeper":
                assert found(spec["selector"]) == {"api"}
            case "Service":
                assert found(spec["selector"]) == set(labels)
            case "NetworkPolicy":
                meant = {"api"} if each["metadata"]["name"].endswith("-api") else set(labels)
                assert found(spec["podSelector"]["matchLabels"]) == meant


def test_pods_reach_the_addresses_that_deliveries_may_go_to_and_no_others() -> None:
    """At the borders of the chart's networks, and of networks for special purposes (IANA)."""
    rules = (CHART / "templates/network.yaml").read_text().partition("  egress:\n")[2].partition("    {{-")[0]
    blocks = [rule["ipBlock"] for rule in yaml.safe_load(rules)[1]["to"]]
    reached = {ip_network(block["cidr"]): [ip_network(each) for each in block["except"]] for block in blocks}
    borders: set[IPv4Address | IPv6Address] = set()
    for network in (*reached, *itertools.chain.from_iterable(reached.values()), *map(ip_network, SPECIAL)):
        borders |= {network[0], network[-1]}
        borders |= {network[0] - 1} if int(network[0]) else set()
        borders |= {network[-1] + 1} if int(network[-1]) + 1 < 2**network.max_prefixlen else set()
    for address in borders:
        may = any(address in of and not any(address in each for each in never) for of, never in reached.items())
        assert may == is_allowed(str(address), Networks()), address


@needs_helm
def test_migrate_runs_before_and_promote_after_the_workers_of_a_release() -> None:
    jobs = {each["metadata"]["name"]: each for each in objects("production") if each["kind"] == "Job"}
    hooks = {name: each["metadata"]["annotations"]["helm.sh/hook"] for name, each in jobs.items()}
    assert hooks == {
        "hookkeeper-migrate": "pre-install,pre-upgrade",
        "hookkeeper-promote": "post-install,post-upgrade,post-rollback",
    }
    secrets = {name: pod["spec"]["containers"][0]["envFrom"] for name, pod in pods("production").items()}
    assert [each["secretRef"]["name"] for each in secrets["migrate"]] == ["hookkeeper", "hookkeeper-owner"]
    assert [each["secretRef"]["name"] for each in secrets["worker"]] == ["hookkeeper"]
    deployments = {each["metadata"]["name"]: each for each in objects("production") if each["kind"] == "Deployment"}
    worker = deployments["hookkeeper-worker"]
    assert worker["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": "100%"}
    assert worker["spec"]["minReadySeconds"] == 30


@needs_helm
def test_a_pod_has_time_to_stop() -> None:
    settings = Settings()
    needed = {
        "api": settings.shutdown_delay.total_seconds() + 20,
        "worker": settings.shutdown_timeout.total_seconds() + 10,
    }
    for component, seconds in needed.items():
        assert pods("minimal")[component]["spec"]["terminationGracePeriodSeconds"] > seconds


@needs_helm
def test_the_worker_controller_takes_the_place_of_deployment_and_promote() -> None:
    kinds = {(each["kind"], each["metadata"]["name"]) for each in objects("worker-controller")}
    assert ("WorkerDeployment", "hookkeeper-worker") in kinds
    assert not {("Deployment", "hookkeeper-worker"), ("Job", "hookkeeper-promote")} & kinds
    (worker,) = [each for each in objects("worker-controller") if each["kind"] == "WorkerDeployment"]
    variables = environment(worker["spec"]["template"])
    assert worker["spec"]["workerOptions"]["unsafeCustomBuildID"] == variables["HOOKKEEPER_DEPLOYMENT_VERSION"]
    assert variables["TEMPORAL_DEPLOYMENT_NAME"] == "hooks/hookkeeper-worker"


@needs_helm
def test_rules_and_dashboard_arrive_unchanged() -> None:
    found = {each["kind"]: each for each in objects("monitoring")}
    assert found["PrometheusRule"]["spec"] == yaml.safe_load((ROOT / "monitoring/alerts.yml").read_text())
    dashboard = (ROOT / "monitoring/grafana-dashboard.json").read_text()
    assert json.loads(found["ConfigMap"]["data"]["hookkeeper.json"]) == json.loads(dashboard)
    assert found["ServiceMonitor"]["spec"]["endpoints"][0]["relabelings"][1]["replacement"] == "hookkeeper-$1"


@needs_helm
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("image.tag=latest", "/image/tag"),
        ("settings.HOOKKEEPER_MAX_BACKLOG=3", "got number, want string"),
        ("settings.HOOKKEEPER_ADMIN_KEY=secret", "HOOKKEEPER_ADMIN_KEY"),
        ("worker.replica=3", "'replica' not allowed"),
        ("ingress.enabled=true", "ingress.host"),
        ("worker.controller.enabled=true", "the name of a Connection"),
    ],
)
def test_wrong_values_are_refused(value: str, says: str) -> None:
    done = template("--set", value)
    assert done.returncode != 0
    assert says in done.stderr


@needs_helm
def test_the_chart_passes_helms_own_check_and_its_package_has_what_it_needs(tmp_path: Path) -> None:
    linted = helm("lint", "--strict", ".")
    assert linted.returncode == 0, linted.stdout
    assert helm("package", ".", "--destination", str(tmp_path)).returncode == 0
    (package,) = tmp_path.iterdir()
    shutil.unpack_archive(package, tmp_path / "unpacked")
    packed = tmp_path / "unpacked/hookkeeper"
    assert not (packed / "ci").exists()
    assert (packed / "files/alerts.yml").read_bytes() == (ROOT / "monitoring/alerts.yml").read_bytes()


@pytest.fixture(scope="session")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return Kubernetes' schemas as kubeconform reads them, from the package kubernetes-validate."""
    package = importlib.util.find_spec("kubernetes_validate")
    if shutil.which("kubeconform") is None or package is None or package.origin is None:
        pytest.skip("kubeconform or the package kubernetes-validate is not installed: docs/kubernetes.md")
    source = Path(package.origin).parent / "kubernetes-json-schema"
    target = tmp_path_factory.mktemp("schemas")
    for version in ("1.30", "1.34"):
        (folder,) = source.glob(f"v{version}.*-local-strict")
        (target / version).mkdir()
        for path in folder.glob("*.json"):
            schema = json.loads(path.read_text().replace('"/api/_definitions.json#', '"_definitions.json#'))
            schema.pop("$id", None)
            (target / version / path.name).write_text(json.dumps(schema))
    return target


@needs_helm
@pytest.mark.parametrize("version", ["1.30", "1.34"])
@pytest.mark.parametrize("name", SETS)
def test_kubernetes_accepts_every_object(name: str, version: str, schemas: Path, tmp_path: Path) -> None:
    location = f"{schemas}/{version}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"
    (tmp_path / "objects.yaml").write_text(rendered(name))
    command = ["kubeconform", "-strict", "-output", "json", "-summary", "-schema-location", location]
    command += ["-skip", ",".join(CUSTOM), str(tmp_path / "objects.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    summary = json.loads(done.stdout)["summary"]
    custom = sum(each["kind"] in CUSTOM for each in objects(name))
    assert (summary["valid"], summary["skipped"]) == (len(objects(name)) - custom, custom)
