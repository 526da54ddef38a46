"""Commands to a run: signals (Temporal's web UI and CLI) and updates (the API, which needs an answer).

Both do the same. An update is refused if the command makes no sense; a signal is then logged and ignored.
`hookkeeper.commands` has the rules and the descriptions.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from temporalio import workflow

from hookkeeper.command_rules import COMMANDS, Command
from hookkeeper.commands import Refused, RunIsClosing, UnknownDelivery, select
from hookkeeper.messages.event import DeliveryReceipt
from workflows.batches import Batches
from workflows.deliver_at import DeliverAt
from workflows.delivery import DeliveryState

APPLY: dict[Command, Callable[[DeliveryState], None]] = {
    "cancel": DeliveryState.cancel,
    "retry": DeliveryState.retry,
    "redeliver": DeliveryState.redeliver,
    "hold": DeliveryState.hold,
    "release": DeliveryState.release,
}


class Commands:
    """Applies commands to the deliveries of a run."""

    def __init__(
        self,
        deliveries: Mapping[str, DeliveryState],
        deliver_at: DeliverAt,
        batches: Batches,
        report: Callable[[Sequence[DeliveryState]], None],
        until_recorded: Callable[[], Awaitable[None]],
    ) -> None:
        """`report`: called with the deliveries that a command has changed. `until_recorded`: called after an update."""
        self._deliveries = deliveries
        self._deliver_at = deliver_at
        self._batches = batches
        self._report = report
        self._until_recorded = until_recorded
        self._is_closed = False

    def close(self) -> None:
        """Accept no further command: the run has its final state."""
        self._is_closed = True

    async def signal(self, command: Command, delivery: str | None) -> None:
        """Apply a command; log it if it makes no sense."""
        try:
            self.apply(command, delivery)
        except (Refused, RunIsClosing, UnknownDelivery) as refusal:
            workflow.logger.warning("signal %s ignored: %r", command, refusal)

    async def update(self, command: Command, delivery: str | None) -> None:
        """Apply a command that is not in the history yet."""
        self.apply(command, delivery)
        await self._until_recorded()

    def apply(self, command: Command, delivery: str | None) -> None:
        """Apply a command to one delivery, or to all that it can be applied to."""
        selected = self.select(command, delivery)
        if command == "release" and delivery is None and self._deliver_at.is_pending:
            self._deliver_at.release()
        deliveries = [self._deliveries[id_] for id_ in selected]
        for state in deliveries:
            APPLY[command](state)
        self._batches.stop_unwanted()
        self._report(deliveries)

    def select(self, command: Command, delivery: str | None) -> list[str]:
        """Return the ids of the deliveries that a command selects; raise if it makes no sense."""
        if self._is_closed:
            raise RunIsClosing
        snapshots = [state.snapshot for state in self._deliveries.values()]
        if self._deliver_at.is_pending:
            if command in ("retry", "redeliver"):
                raise Refused("the event is scheduled: release it to deliver it now")
            if command == "release" and delivery is None:
                return [snapshot.id for snapshot in snapshots if snapshot.status == "held"]
        return select(command, snapshots, delivery)

    def release_webhook(self, webhook_id: str) -> None:
        """Release the deliveries that are held because this webhook was paused or disabled."""
        held = [
            delivery
            for delivery in self._deliveries.values()
            if delivery.record.webhook_id == webhook_id and delivery.is_held_by_webhook
        ]
        for delivery in held:
            delivery.release_with_webhook()
        self._report(held)

    def add_receipt(self, report: DeliveryReceipt) -> DeliveryState | None:
        """Record a receipt, and return its delivery; None if the run has none, or is closing."""
        delivery = self._deliveries.get(report.delivery)
        if delivery and not self._is_closed:
            delivery.add_receipt(report.receipt)
            return delivery
        return None


def signal_handler(command: Command) -> Callable[..., Any]:
    """Make the signal handler of a command, with the description that Temporal's web UI shows.

    A method of a workflow with `Commands`.
    """

    @workflow.signal(name=command, description=COMMANDS[command].summary)
    async def handle(self, delivery: str | None = None) -> None:  # type: ignore[no-untyped-def]
        await self.commands.signal(command, delivery)

    return handle


def update_handler(command: Command) -> Callable[..., Any]:
    """Make the update handler of a command, and its validator."""

    @workflow.update(name=command, description=COMMANDS[command].summary)
    async def handle(self, delivery: str | None = None) -> None:  # type: ignore[no-untyped-def]
        await self.commands.update(command, delivery)

    @handle.validator
    def check(self, delivery: str | None = None) -> None:  # type: ignore[no-untyped-def]
        self.commands.select(command, delivery)

    return handle
