"""The names by which clients address workflows are those that the worker serves."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.service import RPCError

from activities.runs import RunActivities
from hookkeeper import temporal_names
from hookkeeper.command_rules import COMMANDS
from hookkeeper.messages.alert import IncidentInput
from hookkeeper.messages.bulk_work import RecoveryCommand, RecoveryScope, RecoveryState, ReleaseState
from hookkeeper.messages.event import EventInput, EventState
from hookkeeper.messages.shared_run import SharedRunInput
from instances import Instance

ACTIVITIES = Path(__file__).parents[2] / "activities"
NOW = datetime.now(UTC)
EVENT = EventInput(id="evt_1", type="order.paid", tenant="acme", timestamp=NOW, accepted_at=NOW)
RECOVERY = RecoveryState(
    id="rec_1_wh_1", scope=RecoveryScope(tenant="acme", webhook_id="wh_1", since=NOW, until=NOW, began=NOW), rate=1
)
RUN_SIGNALS = {*COMMANDS.keys() - {"redeliver"}, temporal_names.RECEIPT, temporal_names.RELEASE_WEBHOOK}
RUN_UPDATES = {*COMMANDS, temporal_names.RESCHEDULE}

WORKFLOWS: dict[str, tuple[Any, type | None, set[str], set[str]]] = {
    temporal_names.EVENT: (EVENT, EventState, {*RUN_SIGNALS, temporal_names.TURN}, RUN_UPDATES),
    temporal_names.SHARED_RUN: (SharedRunInput(), None, set(), {temporal_names.COMMAND}),
    temporal_names.RELEASE: (
        ReleaseState(webhook_id="wh_1", tenant="acme"),
        ReleaseState,
        {temporal_names.RESTART_RELEASE},
        set(),
    ),
    temporal_names.RECOVERY: (RECOVERY, RecoveryState, set(get_args(RecoveryCommand)), set()),
    temporal_names.INCIDENT: (
        IncidentInput(webhook_id="wh_1", tenant="acme", wait=3600),
        None,
        {temporal_names.LOOK},
        set(),
    ),
}
"""For each type: an input, the type of its state, its signals and its updates."""


@pytest.mark.parametrize("workflow_type", WORKFLOWS)
async def test_a_workflow_has_the_signals_and_updates_that_clients_send(instance: Instance, workflow_type: str) -> None:
    argument, state_type, signals, updates = WORKFLOWS[workflow_type]
    handle = await instance.temporal.start_workflow(
        workflow_type, argument, id=f"{workflow_type}-{instance.tenant}", task_queue=instance.settings.task_queue
    )
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    definition = metadata.definition
    assert definition.type == workflow_type
    assert signals <= {signal.name for signal in definition.signal_definitions}
    assert updates <= {update.name for update in definition.update_definitions}
    if workflow_type == temporal_names.EVENT:  # the web UI shows them
        handlers = (*definition.signal_definitions, *definition.update_definitions)
        described = {handler.name: handler.description for handler in handlers}
        assert all(described.values())
        assert described["cancel"] == COMMANDS["cancel"].summary
    if state_type:
        assert isinstance(await handle.query(temporal_names.STATE, result_type=state_type), state_type)
    with suppress(RPCError):  # some have completed
        await handle.terminate()


@pytest.mark.parametrize(
    "path", sorted({*ACTIVITIES.glob("*.py")} - {ACTIVITIES / "targets.py"}), ids=lambda path: path.stem
)
def test_activities_are_named_as_their_methods(path: Path) -> None:
    """`run_until_done` sends the name of the method. The activities of targets have the names of their kinds."""
    assert "activity.defn(" not in path.read_text()


def test_the_activity_that_keeps_the_final_state_has_the_name_by_which_clients_find_it() -> None:
    assert RunActivities.close_as_cancelled.__name__ == temporal_names.CLOSE_AS_CANCELLED
