"""`hookkeeper doctor` as a process: its exit codes, and its JSON."""

import asyncio
import json
from pathlib import Path

import processes
from temporalio.client import Client

from cli.datadir import DataDir
from cli.operators.doctor import EXIT_CODES
from cli.ports import Ports
from hookkeeper.registry.store import Store
from hookkeeper.temporal.server import installation
from hookkeeper.temporal.server.namespace import prepare
from instances import Instance, running_instance
from name_servers import name_server
from timeouts import WAIT_TIMEOUT


async def doctor(folder: Path, *options: str, **variables: str) -> tuple[int, str, str]:
    """Run the command in a folder; return its exit code, its output and its errors."""
    done = await processes.hookkeeper("doctor", *options, cwd=folder, settings={"COLUMNS": "400"} | variables)
    return done.code, done.out, done.err


async def ending_with(code: int, folder: Path, *options: str, **variables: str) -> tuple[int, str, str]:
    """Run the command until it ends with this code: on a busy machine, a check may take too long."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (found := await doctor(folder, *options, **variables))[0] != code:
            assert "no answer within" in found[1] or "timeout" in found[1], found
    return found


def named(instance: Instance) -> dict[str, str]:
    return {
        "HOOKKEEPER_DATABASE_URL": instance.settings.database_url,
        "HOOKKEEPER_TASK_QUEUE": instance.settings.task_queue,
        "TEMPORAL_ADDRESS": instance.temporal.service_client.config.target_host,
        "TEMPORAL_NAMESPACE": instance.temporal.namespace,
    }


async def test_exit_codes_and_json(bare: Client, tmp_path: Path) -> None:
    """All is well; a warning, for a setting that is none; and something is wrong, as Temporal is away.

    In a namespace of its own: doctor counts the failing runs, which other tests make.
    """
    async with running_instance(bare, tmp_path / "instance") as instance:
        await prepare(bare, instance.settings.retention)
        await installation.join(bare, instance.settings.task_queue, instance.store.rows)
        async with instance.working(), name_server() as names:
            await instance.until_polled()
            good = {**named(instance), "HOOKKEEPER_ADMIN_KEY": "a" * 32, "HOOKKEEPER_DNS_SERVERS": names.address}
            well = await ending_with(0, tmp_path, "--json", **good)
            warned = await ending_with(3, tmp_path, "--json", **good, HOOKKEEPER_DATABSE_URL="x")
            broken = await doctor(tmp_path, **{**good, "TEMPORAL_ADDRESS": "127.0.0.1:1"})
    assert json.loads(well[1])["status"] == "well"
    assert json.loads(warned[1])["status"] == "warning"
    [finding] = [each for each in json.loads(warned[1])["findings"] if each["level"] == "warning"]
    assert finding["check"] == "settings"
    assert finding["text"] == "HOOKKEEPER_DATABSE_URL is not a setting: did you mean HOOKKEEPER_DATABASE_URL?"
    assert broken[0] == 1
    assert "wrong  temporal  " in broken[1]
    assert "Connection refused → start the server, or correct TEMPORAL_ADDRESS" in broken[1]
    assert "1 wrong, 0 with a warning" in broken[1]
    assert 2 not in EXIT_CODES.values(), "wrong usage"


async def test_the_dev_of_this_directory_is_examined(temporal: Client, tmp_path: Path) -> None:
    """Its registry, keys and port of Temporal are not in the environment."""
    data = DataDir(tmp_path / ".hookkeeper")
    data.path.mkdir(mode=0o700)
    port = int(temporal.service_client.config.target_host.rpartition(":")[2])
    data.store_api("http://127.0.0.1:8080", data.admin_key(), Ports(temporal=port))
    async with Store.connect(data.database_url) as store:
        await store.migrate()
    code, out, _ = await doctor(tmp_path, "--json")
    found = {each["check"]: each for each in json.loads(out)["findings"]}
    assert code == 1, "no worker runs"
    assert found["workers"]["level"] == "wrong"
    for check in ("settings", "temporal", "registry", "registry schema"):
        assert found[check]["level"] == "well", found[check]
    assert found["temporal"]["text"].endswith(f"at 127.0.0.1:{port}")
