"""The scenarios: what is measured of each contender."""

from benchmarks.scenarios import isolation, keys, latency, recovery, throughput, volume
from benchmarks.scenarios.scenario import Column, Scenario

CPU = Column("cpu_ms", "CPU per event, ms", is_ratio=True, by_process=True)
MEMORY = (Column("memory_before_mb", "Memory before, MB"), Column("memory_mb", "after, MB"))

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "throughput",
            "1,000 events of 1 KB, posted by 50 clients, one webhook",
            throughput.throughput,
            (Column("events_per_s", "Events/s", is_ratio=True), CPU, *MEMORY),
        ),
        Scenario(
            "batches",
            "4,000 events of 1 KB in requests of 1,000 events, one webhook",
            throughput.batches,
            (Column("events_per_s", "Events/s", is_ratio=True), CPU),
            contenders=("hookkeeper",),
        ),
        Scenario(
            "fanout",
            "300 events of 1 KB, posted by 50 clients, ten webhooks",
            throughput.fanout,
            (Column("deliveries_per_s", "Deliveries/s", is_ratio=True), CPU),
        ),
        Scenario(
            "idle",
            "one event at a time",
            latency.idle,
            (
                Column("answered_p50_ms", "POST answered, p50 ms"),
                Column("answered_p95_ms", "p95"),
                Column("socket_p50_ms", "POST to socket, p50 ms", is_ratio=True),
                Column("socket_p95_ms", "p95"),
            ),
        ),
        Scenario(
            "bursts",
            "50 events at once, every two seconds",
            latency.bursts,
            (Column("socket_p50_ms", "POST to socket, p50 ms", is_ratio=True), Column("socket_p95_ms", "p95"), CPU),
        ),
        Scenario(
            "moderate",
            "10, 50 and 300 events/s of 100 tenants, after a first event of each",
            latency.moderate,
            tuple(
                column
                for rate in latency.MODERATE_RATES
                for column in (
                    Column(f"socket_p50_ms_at_{rate}", f"{rate}/s: POST to socket, p50 ms"),
                    Column(f"socket_p95_ms_at_{rate}", "p95"),
                    Column(f"cores_at_{rate}", "cores"),
                    Column(f"cpu_ms_at_{rate}", "CPU per event, ms", by_process=True),
                    Column(f"events_per_run_at_{rate}", "events per run"),
                    Column(f"temporal_kb_at_{rate}", "KB per event in Temporal"),
                    Column(f"registry_kb_at_{rate}", "in the registry"),
                )
            ),
            contenders=("hookkeeper",),
            is_default=False,
            needs_fresh_stack_after=True,
        ),
        Scenario(
            "tenants",
            "500 tenants, one event a second each, after a first event of each",
            latency.tenants,
            (
                Column("socket_p50_ms", "POST to socket, p50 ms"),
                Column("socket_p95_ms", "p95"),
                Column("within_1s_percent", "within 1 s, %"),
                CPU,
            ),
            contenders=("hookkeeper", "celery"),
            needs_fresh_stack_after=True,
        ),
        Scenario(
            "isolation",
            "10 events/s to a healthy endpoint, beside 10 events/s of the same tenant to another one",
            isolation.dead_endpoint,
            (
                Column("alone_p50_ms", "Alone, p50 ms"),
                Column("alone_p99_ms", "p99"),
                Column("healthy_p99_ms", "Beside a healthy one, p99"),
                Column("dead_p50_ms", "Beside a dead one, p50"),
                Column("dead_p99_ms", "p99"),
                Column("dead_ratio", "p99 beside the dead one / alone"),
            ),
            contenders=("hookkeeper",),
            needs_fresh_stack_after=True,
        ),
        Scenario(
            "flood",
            "4 events/s of one tenant, while another posts 5,000 by 50 clients",
            isolation.flood,
            (
                Column("quiet_p50_ms", "The quiet tenant, p50 ms"),
                Column("quiet_p95_ms", "p95"),
                Column("flood_s", "The flood was delivered in, s"),
            ),
            contenders=("hookkeeper",),
            is_default=False,
            timeout=600,
        ),
        Scenario(
            "keys",
            "the same request with the admin key, which is not in the registry, and with a tenant's key",
            keys.keys,
            (
                Column("get_admin_p50_ms", "GET, admin key, p50 ms"),
                Column("get_tenant_p50_ms", "tenant's key"),
                Column("post_admin_p50_ms", "POST, admin key, p50 ms"),
                Column("post_tenant_p50_ms", "tenant's key"),
            ),
            contenders=("hookkeeper",),
            is_default=False,
        ),
        Scenario(
            "ingest",
            "500 events of 1 KB, posted by 50 clients, while the worker is stopped",
            throughput.ingest,
            (Column("accepted_per_s", "Accepted/s", is_ratio=True), CPU),
            needs_fresh_stack_after=True,
        ),
        Scenario(
            "kill",
            "`kill -9` of all processes while 500 events are posted",
            recovery.kill,
            (
                Column("ready_s", "Ready after, s"),
                Column("first_s", "First delivery after, s"),
                Column("last_s", "Last, s"),
                Column("lost", "Lost"),
                Column("duplicates", "Duplicates"),
            ),
            contenders=("hookkeeper",),
            needs_fresh_stack_after=True,
        ),
        Scenario(
            "waiting",
            "10,000 events that wait for a retry, and 500 others",
            volume.waiting,
            (
                Column("worker_mb", "Worker, MB"),
                Column("api_mb", "API, MB"),
                Column("temporal_mb", "Temporal, MB"),
                Column("idle_cpu_percent", "CPU while they wait, % of a core"),
                Column("events_per_s", "Events/s beside them"),
            ),
            contenders=("hookkeeper",),
            is_default=False,
            needs_fresh_stack_after=True,
            timeout=1800,
        ),
        Scenario(
            "growth",
            "throughput after 0, 10,000 and 100,000 closed events (`--closed`)",
            volume.growth,
            (
                Column("events_per_s_empty", "Events/s at first"),
                Column("events_per_s_full", "at last"),
                Column("growth_ratio", "Ratio"),
                Column("cpu_ms_empty", "CPU per event at first, ms"),
                Column("cpu_ms_full", "at last"),
                Column("memory_mb_empty", "Memory at first, MB"),
                Column("memory_mb_full", "at last"),
            ),
            contenders=("hookkeeper",),
            is_default=False,
            needs_fresh_stack_after=True,
            timeout=7200,
        ),
    )
}
"""By name, in the order of a run."""
