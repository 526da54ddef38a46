"""The contenders. They are not in `__init__.py`, because their processes would import all of them."""

from benchmarks.contenders import hookkeeper, others
from benchmarks.contenders.contender import Contender

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("bare", "bare Temporal, one run an event", others.running_bare_temporal),
        Contender(
            "before",
            "Hookkeeper of another revision",
            hookkeeper.running_before,
            hookkeeper.why_no_other_revision,
            is_default=False,
        ),
        Contender("unshared", "Hookkeeper, one run an event", hookkeeper.running_unshared),
        Contender("hookkeeper", "Hookkeeper", hookkeeper.running),
        Contender("dev", "hookkeeper dev", hookkeeper.running_dev, is_default=False),
        Contender(
            "production",
            "Hookkeeper as in production",
            hookkeeper.running_as_in_production,
            hookkeeper.why_not_as_in_production,
            is_default=False,
        ),
        Contender("celery", "Celery and Redis", others.running_celery, others.why_no_celery),
    )
}
"""By name, in the order of their turns. Ratios compare with the first one that runs."""
