"""The contenders. They are not in `__init__.py`, because their processes would import all of them."""

from benchmarks.contenders import bare_temporal, celery_redis, hookkeeper, production
from benchmarks.contenders.contender import Contender

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("bare", "bare Temporal, one run an event", bare_temporal.running),
        Contender(
            "before",
            "Hookkeeper of another checkout",
            hookkeeper.running_before,
            hookkeeper.why_no_other_checkout,
            is_default=False,
        ),
        Contender("unshared", "Hookkeeper, one run an event", hookkeeper.running_unshared),
        Contender("hookkeeper", "Hookkeeper", hookkeeper.running),
        Contender(
            "production",
            "Hookkeeper as in production",
            production.running,
            production.why_missing,
            is_default=False,
        ),
        Contender("celery", "Celery and Redis", celery_redis.running, celery_redis.why_missing),
    )
}
"""By name, in the order of their turns. Ratios compare with the first one that runs."""
