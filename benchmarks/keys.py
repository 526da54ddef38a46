"""What a key costs: the same request with the admin key, which no registry is asked for, and with a key of a tenant.

`python -m benchmarks.keys`. These are times of this machine at this moment: compare the ratio, not the figures.
"""

import statistics
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.rig import loud, out, quiet
from hookkeeper.cli import stack
from hookkeeper.cli.datadir import DataDir
from hookkeeper.cli.demo import free_ports
from hookkeeper.cli.processes import run

ROUNDS, REQUESTS = 20, 50


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = DataDir(Path(folder))
        async with (
            stack.running(data, "127.0.0.1", free_ports(), on_ready=quiet, on_event=loud) as house,
            httpx.AsyncClient(base_url=house.url, timeout=60) as http,
        ):
            admin = {"authorization": f"Bearer {house.admin_key}"}
            made = await http.post("/v1/keys", json={"name": "bench", "tenant": "bench"}, headers=admin)
            of_tenant = {"authorization": f"Bearer {made.json()['key']}"}
            for method, path, body in (
                ("GET", "/v1/webhooks/wh_nowhere", None),
                ("POST", "/v1/events", {"type": "bench.ran", "tenant": "bench"}),
            ):
                await compare(http, method, path, body, {"admin key": admin, "tenant's key": of_tenant})


async def compare(
    http: httpx.AsyncClient, method: str, path: str, body: object, keys: dict[str, dict[str, str]]
) -> None:
    """Take turns, so that whatever else this machine does falls on both."""
    taken: dict[str, list[float]] = {name: [] for name in keys}
    for _ in range(ROUNDS):
        for name, headers in keys.items():
            for _ in range(REQUESTS):
                begun = time.perf_counter()
                await http.request(method, path, json=body, headers=headers)
                taken[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(seconds) * 1e3 for name, seconds in taken.items()}
    admin, tenant = medians.values()
    told = ", ".join(f"{name} {median:.2f} ms" for name, median in medians.items())
    out.print(f"  {method} {path:<26} {told}: {tenant - admin:+.2f} ms, ratio {tenant / admin:.2f}")


if __name__ == "__main__":
    run(main())
