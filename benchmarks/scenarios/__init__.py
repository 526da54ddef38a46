"""The scenarios: what is measured of each contender."""

from benchmarks.scenarios.isolation import flood, isolation
from benchmarks.scenarios.keys import keys
from benchmarks.scenarios.latency import bursts, idle, moderate, tenants
from benchmarks.scenarios.recovery import kill
from benchmarks.scenarios.throughput import batches, fanout, ingest, throughput
from benchmarks.scenarios.volume import growth, waiting

ALL = (
    throughput,
    batches,
    fanout,
    idle,
    bursts,
    moderate,
    tenants,
    isolation,
    flood,
    keys,
    ingest,
    kill,
    waiting,
    growth,
)
SCENARIOS = {each.name: each for each in ALL}
"""By name, in the order of a run."""
