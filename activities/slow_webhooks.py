"""Which webhooks are slow, by the share of their latest attempts that took long. Each worker process has its own view.

One long attempt among many says little: under load, every webhook has some.
"""

from collections import OrderedDict

SLOW_MS = 1000
"""An attempt that takes longer is long."""
WEIGHT = 0.1
"""Weight of the latest attempt in the share of long ones."""
SLOW_SHARE = 0.18
"""Two long attempts in a row exceed it."""
MAX_WEBHOOKS = 10_000


class SlowWebhooks:
    """Remembers the webhooks with long attempts, the latest ones."""

    def __init__(self) -> None:
        self._shares: OrderedDict[str, float] = OrderedDict()
        """Shares of long attempts, by webhook; without those that are next to nothing."""

    def note(self, webhook_id: str, duration_ms: float) -> bool:
        """Note the duration of an attempt; return whether it was long, and so were too many of the latest."""
        is_long = duration_ms > SLOW_MS
        share = self._shares.pop(webhook_id, 0.0) * (1 - WEIGHT) + WEIGHT * is_long
        if share > WEIGHT / 100:
            self._shares[webhook_id] = share
            if len(self._shares) > MAX_WEBHOOKS:
                self._shares.popitem(last=False)
        return is_long and share > SLOW_SHARE
