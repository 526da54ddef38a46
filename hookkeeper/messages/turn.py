"""The question whether it is the turn of an ordered delivery (`workflows.turns`)."""

from hookkeeper.messages import Message


class TurnRequest(Message):
    tenant: str
    event_id: str
    delivery: str
    webhook_id: str
    line: str
    has_waited: bool = False
    """It has waited for some time, so what is in the way is checked."""


class Turn(Message):
    has_come: bool
    has_place: bool = True
    """Its row has a place in its line."""
    ahead: int = 0
    """Deliveries ahead of it, as far as they are counted."""
