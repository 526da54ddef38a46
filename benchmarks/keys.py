"""What a key costs: the same request with the admin key, which is not in the registry, and with a tenant's key.

`python -m benchmarks.keys`. Absolute times depend on the machine and its load: compare the ratio.
"""

import statistics
import time

import httpx

from benchmarks.rig import out, running_api
from hookkeeper.cli.processes import run

ROUNDS, REQUESTS = 20, 50


async def main() -> None:
    async with running_api() as http:
        created = await http.post("/v1/keys", json={"name": "bench", "tenant": "bench"})
        admin = {"authorization": http.headers["authorization"]}
        of_tenant = {"authorization": f"Bearer {created.json()['key']}"}
        for method, path, body in (
            ("GET", "/v1/webhooks/wh_nowhere", None),
            ("POST", "/v1/events", {"type": "bench.ran", "tenant": "bench"}),
        ):
            await compare(http, method, path, body, {"admin key": admin, "tenant's key": of_tenant})


async def compare(
    http: httpx.AsyncClient, method: str, path: str, body: object, keys: dict[str, dict[str, str]]
) -> None:
    """Alternate between the keys, so that other load affects both."""
    taken: dict[str, list[float]] = {name: [] for name in keys}
    for _ in range(ROUNDS):
        for name, headers in keys.items():
            for _ in range(REQUESTS):
                begun = time.perf_counter()
                await http.request(method, path, json=body, headers=headers)
                taken[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(seconds) * 1e3 for name, seconds in taken.items()}
    admin, tenant = medians.values()
    shown = ", ".join(f"{name} {median:.2f} ms" for name, median in medians.items())
    out.print(f"  {method} {path:<26} {shown}: {tenant - admin:+.2f} ms, ratio {tenant / admin:.2f}")


if __name__ == "__main__":
    run(main())
