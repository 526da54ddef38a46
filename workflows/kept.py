"""What the parts of a delivery's state share. Pure."""

from workflows.models import Delivery


class Kept:
    """A delivery, and the one way to change what is kept of it."""

    delivery: Delivery

    def _update(self, **changes: object) -> None:
        self.delivery = self.delivery.model_copy(update=changes)
