"""`examples/`, run as its README says: each in a process of its own, the receivers in each language."""

import asyncio
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import processes
import pytest

from hookkeeper.crypto.signing_keys import new_secret, sign
from timeouts import WAIT_TIMEOUT

pytest_plugins = ["dev_fixtures"]

EXAMPLES = processes.ROOT / "examples"
CLIENT_EXAMPLES = processes.ROOT / "clients/python/examples"
NPM_INSTALL = ("npm", "install", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=8000")
OUT_OF_REACH = re.compile(r"npm error code (E(?:NOTFOUND|AI_AGAIN|CONN\w+|TIMEDOUT|HOST\w+|NET\w+|40[137]|5\d\d))")
Command = tuple[str, ...]


def with_packages(project: Path, copy: Path) -> Path:
    """Return a copy of a Node project with its packages. Skip the test if they cannot be installed."""
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns("build", "package-lock.json", "schema.d.ts"))
    if (copy / "node_modules").is_dir():
        return copy
    missing = f"{project.name}/node_modules is missing: run npm install in this folder"
    if not shutil.which("npm"):
        pytest.skip(missing)
    try:
        done = subprocess.run((*NPM_INSTALL, "--prefix", copy), capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{missing} (npm was too slow)")
    if unreachable := OUT_OF_REACH.search(done.stderr):
        pytest.skip(f"{missing} (npm's registry cannot be reached: {unreachable[1]})")
    assert done.returncode == 0, done.stderr
    return copy


@pytest.fixture(scope="module")
def node_receiver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return receiver.mjs in a folder with its library."""
    return with_packages(EXAMPLES, tmp_path_factory.mktemp("node") / "examples") / "receiver.mjs"


@pytest.fixture(scope="module")
def go_receiver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return receiver.go as a program."""
    if not shutil.which("go"):
        pytest.skip("go is not installed")
    program = tmp_path_factory.mktemp("go") / "receiver"
    command = ("go", "build", "-o", str(program), ".")
    try:
        done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("go was too slow")
    if re.search(r"dial tcp|lookup |: 40[34]|: 5\d\d|go: download", done.stderr):
        pytest.skip("Go's module proxy cannot be reached")
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture(params=["python", "node", "go"])
def receiver(request: pytest.FixtureRequest) -> Command:
    """Return the command that starts a receiver."""
    if request.param == "python":
        return (sys.executable, str(EXAMPLES / "receiver.py"))
    if request.param == "node":
        return ("node", str(request.getfixturevalue("node_receiver")))
    return (str(request.getfixturevalue("go_receiver")),)


def environment(settings: processes.Settings) -> dict[str, str]:
    """Examples stand alone: they do not find Hookkeeper's modules."""
    return processes.environment({"PYTHONPATH": "", "SLACK_SERVICE": "", **settings})


async def run(*command: str, cwd: Path, **settings: str) -> processes.Done:
    """Run an example to its end."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=environment(settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(WAIT_TIMEOUT):
        out, err = await process.communicate()
    assert process.returncode is not None
    return processes.Done(process.returncode, out.decode(), err.decode())


async def order_events(*args: str, cwd: Path, **settings: str) -> processes.Done:
    return await run(sys.executable, str(EXAMPLES / "order_events.py"), *args, cwd=cwd, **settings)


@dataclass
class Receiving:
    process: processes.Process
    url: str

    async def printed(self, count: int, prefix: str) -> list[str]:
        """Wait for at least this many lines that begin with the prefix."""
        await processes.until(lambda: len(self._lines(prefix)) >= count)
        return self._lines(prefix)

    def _lines(self, prefix: str) -> list[str]:
        return [line for line in self.process.out.read_text().splitlines() if line.startswith(prefix)]


@asynccontextmanager
async def receiving(command: Command, secret: str, cwd: Path) -> AsyncIterator[Receiving]:
    """Run a receiver until the block ends."""
    out, err = cwd / "receiver.out", cwd / "receiver.err"
    with out.open("wb") as out_file, err.open("wb") as err_file:
        started = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env=environment({"WEBHOOK_SECRET": secret, "PORT": "0"}),
            stdout=out_file,
            stderr=err_file,
        )
    try:
        process = processes.Process(started, out, err)
        address = re.search(r"http://127\.0\.0\.1:\d+", await process.says("http://127.0.0.1:"))
        assert address
        yield Receiving(process, address[0])
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def test_orders_arrive(running_dev: processes.Dev, receiver: Command, tmp_path: Path) -> None:
    registered = await order_events("register", cwd=running_dev.folder)
    again = await order_events("register", cwd=running_dev.folder)
    assert (registered.code, registered.err) == (0, "")
    assert registered.out.startswith("whsec_")
    assert again == registered, "there is one webhook, however often it is registered"

    async with receiving(receiver, registered.out.strip(), tmp_path) as inbox:
        done = await order_events(cwd=running_dev.folder, RECEIVER_URL=inbox.url)
        assert (done.code, done.err) == (0, ""), done
        events = await inbox.printed(2, "evt_")
        notes = await inbox.printed(2, "notification ")

    ids = re.findall(r"^order\.paid  order (\d+)  (?:succeeded|no_webhook)  (evt_\w+)$", done.out, re.M)
    assert [order for order, _ in ids] == ["4711", "4712", "4713"]
    sent = [ids[0][1], ids[2][1]]
    assert sorted(line.split()[0] for line in events) == sorted(sent)
    assert all(re.search(r"""\{.from.: ?.example., ?.order.: ?\{""", line) for line in events), "as the template says"
    assert [any(id_ in line for line in notes) for _, id_ in ids] == [True, False, True]
    assert done.out.count(f"  webhook  {inbox.url}/hook  succeeded\n    attempt 1  ") == 2
    assert done.out.count(f"  notification  POST {inbox.url}  succeeded\n    attempt 1  ") == 2
    assert "  email  ann@example.com  succeeded\n    attempt 1  " in done.out
    assert "  no deliveries: the amount is 12.5, the filter event.data.amount >= 100\n" in done.out
    (email,) = (running_dev.folder / ".hookkeeper" / "emails").glob(f"{sent[0]}.*.eml")
    assert "Ann paid 129.9 EUR for order 4711." in email.read_text()


async def test_prints_failures(running_dev: processes.Dev) -> None:
    unreachable = f"http://127.0.0.1:{processes.free_ports().api}"
    done = await order_events(cwd=running_dev.folder, RECEIVER_URL=f"{unreachable}/")
    assert (done.code, done.err) == (1, "")
    assert done.out.count(f"  webhook  {unreachable}/hook  failed\n") == 2
    assert len(re.findall(r"attempt 3  \d+ ms  connection_refused$", done.out, re.M)) == 4
    assert done.out.count("@example.com  succeeded\n") == 2


async def test_a_slack_service_gets_the_note(running_dev: processes.Dev) -> None:
    service = f"https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/{'x' * 24}"
    assert (await order_events("register", cwd=running_dev.folder, SLACK_SERVICE=service)).code == 0
    (webhook,) = (await running_dev.http.get("/v1/webhooks", params={"tenant": "example"})).json()["items"]
    assert webhook["notifications"][0]["service"].startswith("slack://")
    refused = await order_events("register", cwd=running_dev.folder, SLACK_SERVICE="https://hooks.slack.com/services/T")
    assert refused.code == 1
    assert "was answered with 422" in refused.err


async def test_reports_missing_settings(running_dev: processes.Dev, tmp_path: Path) -> None:
    unreachable = f"http://127.0.0.1:{processes.free_ports().api}"
    for settings, sentence in (
        ({}, "No key for http://127.0.0.1:8080: run `make dev`"),
        ({"HOOKKEEPER_URL": unreachable, "HOOKKEEPER_API_KEY": "hk_x"}, f"Cannot reach {unreachable}/v1/"),
        ({"HOOKKEEPER_URL": running_dev.url, "HOOKKEEPER_API_KEY": "hk_x"}, "was answered with 401"),
    ):
        done = await order_events(cwd=tmp_path, **settings)
        assert (done.code, done.out) == (1, "")
        assert sentence in done.err
        assert "Traceback" not in done.err


async def test_receivers_accept_signed_requests_once(receiver: Command, tmp_path: Path) -> None:
    secret, body = new_secret("v1"), b'{"amount": 1.50,  "text": "\xc3\xa9"}'
    now = int(time.time())
    good = signed(secret, now, body)
    refused = {
        "a tampered body": (good, body.replace(b"1.50", b"9.50")),
        "the same JSON in other bytes": (good, body.replace(b",  ", b", ")),
        "a body that is no text": (good, b"\xff"),
        "another key": (signed(new_secret("v1"), now, body), body),
        "an old request": (signed(secret, now - 600, body), body),
        "no signature": ({}, body),
        "garbage": (good | {"webhook-signature": "v1 v1,, v2,x"}, body),
    }
    async with receiving(receiver, secret, tmp_path) as inbox, httpx.AsyncClient(trust_env=False) as http:
        for what, (headers, content) in refused.items():
            answer = await http.post(f"{inbox.url}/hook", headers=headers, content=content)
            assert answer.status_code == 400, what
        for word in ("accepted", "duplicate", "duplicate"):
            answer = await http.post(f"{inbox.url}/hook", headers=good, content=body)
            assert answer.status_code == 202
            assert word in answer.text
        other = signed(secret, now, body, "evt_2")
        assert (await http.post(f"{inbox.url}/hook", headers=other, content=body)).status_code == 202
        assert (await http.post(f"{inbox.url}/nowhere", headers=good, content=body)).status_code == 404
        lines = await inbox.printed(2, "evt_")
    assert [line.split()[0] for line in lines] == ["evt_1", "evt_2"]


async def test_receivers_refuse_large_bodies(receiver: Command, tmp_path: Path) -> None:
    async with receiving(receiver, new_secret("v1"), tmp_path) as inbox, httpx.AsyncClient(trust_env=False) as http:
        try:
            status = (await http.post(f"{inbox.url}/hook", content=b" " * 3_000_000)).status_code
        except httpx.TransportError:
            status = 413  # the connection was cut: that is an answer, too
        assert status == 413
        assert (await http.post(f"{inbox.url}/hook")).status_code == 400, "it is still there"


def signed(secret: str, timestamp: int, body: bytes, id_: str = "evt_1") -> dict[str, str]:
    signature = sign([secret], message_id=id_, timestamp=timestamp, body=body)
    return {"webhook-id": id_, "webhook-timestamp": str(timestamp), "webhook-signature": signature}


async def test_receivers_need_a_key(receiver: Command, tmp_path: Path) -> None:
    done = await run(*receiver, cwd=tmp_path, WEBHOOK_SECRET="")
    assert (done.code, done.out) == (1, "")
    assert done.err == "Set WEBHOOK_SECRET to the signing key of the webhook: whsec_…\n"


@pytest.mark.parametrize("framework", ["fastapi", "flask", "django"])
async def test_receivers_of_the_client_take_its_orders(
    framework: str, running_dev: processes.Dev, tmp_path: Path
) -> None:
    settings = {"HOOKKEEPER_URL": running_dev.url, "HOOKKEEPER_API_KEY": running_dev.key}
    orders = (sys.executable, str(CLIENT_EXAMPLES / "orders.py"))
    registered = await run(*orders, "secret", cwd=tmp_path, **settings)
    assert (registered.code, registered.err) == (0, "")

    command = (sys.executable, str(CLIENT_EXAMPLES / f"{framework}_receiver.py"))
    async with receiving(command, registered.out.strip(), tmp_path) as inbox:
        done = await run(*orders, cwd=tmp_path, RECEIVER_URL=inbox.url, **settings)
        assert (done.code, done.err) == (0, "")
        (line,) = await inbox.printed(1, "evt_")
    id_ = line.split()[0]
    assert line == f"{id_}  order.paid  order 4711"
    assert done.out == f"order.paid  succeeded  {id_}\n  webhook  {inbox.url}/hook  succeeded\n    attempt 1  202\n"


def test_the_page_of_the_client_names_every_example() -> None:
    page = (CLIENT_EXAMPLES.parent / "README.md").read_text()
    named = set(re.findall(r"^\| `examples/([\w.]+)` \|", page, re.MULTILINE))
    assert named == {path.name for path in CLIENT_EXAMPLES.glob("*.py")}


def test_the_page_names_every_file() -> None:
    page = (EXAMPLES / "README.md").read_text()
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file() and not path.name.startswith(".")}
    assert {name for name in files if f"`{name}`" not in page} <= {"README.md", "package-lock.json"}
    for name in re.findall(r"examples/([\w.]+)", page):
        assert name in files, name
