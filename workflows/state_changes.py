"""What the parts of a delivery's state share. Pure."""

from hookkeeper.messages.event import Delivery


class Kept:
    """A delivery, and the one way to change what is kept of it."""

    delivery: Delivery
    passed: set[str]
    """Names of the times of the delivery whose timers have fired: only those are over, whatever the clock says."""

    def _update(self, **changes: object) -> None:
        self.passed -= changes.keys()  # a time that is set anew has not passed
        self.delivery = self.delivery.model_copy(update=changes)
