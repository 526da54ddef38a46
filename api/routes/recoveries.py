"""Recoveries: redeliver failed deliveries in bulk. Bulk actions on events are recoveries of another kind."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api import views
from api.access import GuardedRoute, needs
from api.deps import AnyTenant, Cursor, GatewayDep, KnownWebhook, Limit, RecoveriesDep, SearchesDep, WebhookFilter
from api.filters import DataQuery, EventSearch
from api.problems import KEYED, responses
from api.schemas.recoveries import RecoveryCommandAccepted, RecoveryView
from hookkeeper.messages.bulk_work import RecoveryCommand, RecoveryState
from hookkeeper.services.events.recoveries import BulkRequest, RecoveryRequest, TenantRecoveryRequest
from hookkeeper.services.fields import EVENT_ID, Page

router = APIRouter(prefix="/v1", tags=["recoveries"], route_class=GuardedRoute, responses=KEYED)
COUNTED = {"model": RecoveryView, "description": "A dry run: events were only counted"}
PathId = Annotated[str, Path(pattern=EVENT_ID)]


@router.post(
    "/webhooks/{webhook_id}/recover",
    status_code=202,
    responses={200: COUNTED, **responses(404, 409)},
    dependencies=[needs("events:write")],
)
async def recover_webhook(
    webhook: KnownWebhook, recovery: RecoveryRequest, recoveries: RecoveriesDep, response: Response
) -> RecoveryView:
    """Redeliver the failed deliveries of a webhook in the background, oldest first, at the given rate, or slower while
    Temporal or the workers are busy. With the status `retrying`, deliveries that wait for their next attempt are
    attempted now.

    A webhook can have one recovery at a time, and none during a recovery of its tenant (409). The recovery pauses if
    the webhook is paused or disabled, and must then be resumed. Each event is redelivered once: events that are
    redelivered or retried otherwise while the recovery runs are skipped.
    """
    return _answer(await recoveries.of_webhook(webhook, recovery), response)


@router.post(
    "/recoveries", status_code=202, responses={200: COUNTED, **responses(409)}, dependencies=[needs("events:write")]
)
async def recover_tenant(
    recovery: TenantRecoveryRequest, recoveries: RecoveriesDep, response: Response
) -> RecoveryView:
    """Redeliver the failed deliveries of all webhooks of a tenant. Paused, disabled and deleted webhooks are skipped.

    A tenant can have one recovery at a time, and none during a recovery of one of its webhooks (409).
    """
    return _answer(await recoveries.for_tenant(recovery), response)


@router.post(
    "/bulk",
    status_code=202,
    responses={200: COUNTED, **responses(409)},
    dependencies=[needs("events:write")],
)
async def command_events(
    search: EventSearch,
    wanted: BulkRequest,
    recoveries: RecoveriesDep,
    searches: SearchesDep,
    response: Response,
    q: DataQuery = None,
) -> RecoveryView:
    """Retry, cancel, redeliver or acknowledge all events that a filter matches, in the background, newest first. The
    filter is the query, with the parameters of `GET /v1/events`; at least one besides `tenant` is necessary. `q` may
    have values at declared paths only.

    A command is sent to those deliveries of an event that meet the conditions on deliveries; a retry or redelivery not
    to those of paused, disabled or deleted webhooks. Events that were accepted later are left alone. A tenant can have
    one such action of each kind at a time (409). `/v1/recoveries/{recovery_id}` shows, pauses, resumes and cancels it.
    """
    return _answer(await recoveries.in_bulk(await searches.by_keys(search, q), wanted), response)


@router.get("/recoveries", dependencies=[needs("events:read")])
async def list_recoveries(
    cursor: Cursor,
    gateway: GatewayDep,
    tenant: AnyTenant,
    webhook: WebhookFilter,
    limit: Limit = 50,
) -> Page[RecoveryView]:
    """List recoveries: open ones first, then finished ones, each newest first.

    One whose workflow does not answer within two seconds is listed with the status `unknown`. It accepts commands, and
    obeys when it answers again.
    """
    states, next_cursor = await gateway.recoveries.page(tenant, webhook, limit, cursor.start)
    return cursor.page([views.recovery(state) for state in states], next_cursor)


@router.get("/recoveries/{recovery_id}", responses=responses(404), dependencies=[needs("events:read")])
async def show_recovery(recovery_id: PathId, recoveries: RecoveriesDep) -> RecoveryView:
    """Show the progress or the result of a recovery."""
    return views.recovery(await recoveries.read(recovery_id))


def _add_command(command: RecoveryCommand, description: str) -> None:
    async def act(recovery_id: PathId, recoveries: RecoveriesDep) -> RecoveryCommandAccepted:
        await recoveries.command(recovery_id, command)
        return RecoveryCommandAccepted(id=recovery_id, command=command)

    router.add_api_route(
        f"/recoveries/{{recovery_id}}/{command}",
        act,
        methods=["POST"],
        status_code=202,
        name=f"{command}_recovery",
        summary=f"{command.capitalize()} recovery",
        description=description,
        responses=responses(404, 409),
        dependencies=[needs("events:write")],
    )


_add_command("pause", "Pause a recovery until it is resumed. Redeliveries in progress finish, in about five seconds.")
_add_command("resume", "Continue a paused recovery.")
_add_command("cancel", "End a recovery. Events that it has redelivered are still delivered; the others do not change.")


def _answer(state: RecoveryState, response: Response) -> RecoveryView:
    """Return the recovery; the answer is 200 if events were only counted."""
    if not state.id:
        response.status_code = 200
    return views.recovery(state)
