"""A delivery that goes in the order of its webhook's lane: it waits for its turn, and lets the next one go. Pure."""

from hookkeeper.policy import OrderPolicy
from workflows.state_changes import Kept


class Ordering(Kept):
    """The part of `Progress` that stands in a lane. Without order, it is never in anybody's way."""

    touched: int

    @property
    def waits_for_turn(self) -> bool:
        """No attempt before its turn, but what a person asks for."""
        return self.delivery.ordered is not None and not self.delivery.has_turn and not self.delivery.is_final

    @property
    def holds_others_up(self) -> bool:
        """Those behind it have to wait for it."""
        if self.delivery.is_final or self.delivery.ordered is None:
            return False
        return self.delivery.ordered == "block" or not self.delivery.steps_taken

    def enqueue(self) -> None:
        self._update(has_place=True)

    def take_turn(self) -> None:
        """Go: nobody before it is in the way any more."""
        self.touched += 1
        self._update(has_turn=True, reason=None)

    def leave_lane(self) -> None:
        """Stand in no lane any more."""
        self._update(ordered=None)

    def _obey_order(self, wanted: OrderPolicy | None) -> None:
        """Go by what the webhook wants now; whoever stands in no lane enters none."""
        if self.delivery.ordered is not None:
            self._update(ordered=wanted)
