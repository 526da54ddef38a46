"""What a key costs: the same request with the admin key, which is not in the registry, and with a tenant's key."""

import time

import httpx

from benchmarks.scenarios.scenario import Bench, Column, Metrics, scenario
from benchmarks.stream import percentiles

ROUNDS, REQUESTS = 10, 25
TENANT = "keys"


@scenario(
    "the same request with the admin key, which is not in the registry, and with a tenant's key",
    Column("get_admin_p50_ms", "GET, admin key, p50 ms"),
    Column("get_tenant_p50_ms", "tenant's key"),
    Column("post_admin_p50_ms", "POST, admin key, p50 ms"),
    Column("post_tenant_p50_ms", "tenant's key"),
    contenders=("hookkeeper",),
    is_default=False,
)
async def keys(bench: Bench) -> Metrics:
    async with bench.system.client() as http:
        created = await http.post("/v1/keys", json={"name": "bench", "tenant": TENANT})
        created.raise_for_status()
        headers = {
            "admin": {"authorization": http.headers["authorization"]},
            "tenant": {"authorization": f"Bearer {created.json()['key']}"},
        }
        event = {"type": "bench.ran", "tenant": TENANT}
        return {
            **await _compare(http, "GET", "/v1/webhooks/wh_nowhere", None, headers),
            **await _compare(http, "POST", "/v1/events", event, headers),
        }


async def _compare(
    http: httpx.AsyncClient, method: str, path: str, body: object, headers: dict[str, dict[str, str]]
) -> Metrics:
    """Alternate between the keys, so that other load affects both."""
    taken: dict[str, list[float]] = {name: [] for name in headers}
    for _ in range(ROUNDS):
        for name, own in headers.items():
            for _ in range(REQUESTS):
                began = time.perf_counter()
                await http.request(method, path, json=body, headers=own)
                taken[name].append(1e3 * (time.perf_counter() - began))
    metrics: Metrics = {}
    for name, times in taken.items():
        metrics |= percentiles(f"{method.lower()}_{name}", times, 50)
    return metrics
