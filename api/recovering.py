"""From what is asked of a recovery to its scope, and from its state to what is shown."""

from api.schemas.recoveries import Recover, Recovery
from hookkeeper.messages.recovery import RecoveryScope, RecoveryState
from hookkeeper.times import utc_now


def scope_of(wanted: Recover, tenant: str, webhook_id: str | None) -> RecoveryScope:
    now = utc_now()
    return RecoveryScope(
        tenant=tenant,
        webhook_id=webhook_id,
        status=wanted.status,
        types=tuple(wanted.types),
        since=wanted.since,
        until=min(wanted.until or now, now),
        began=now,
    )


def shown(state: RecoveryState) -> Recovery:
    scope = state.scope
    return Recovery(
        id=state.id or None,
        tenant=scope.tenant,
        webhook_id=scope.webhook_id,
        status=state.status if state.id else "dry_run",
        found=state.found,
        redelivered=state.redelivered,
        failed=state.failed,
        skipped=state.skipped,
        since=scope.since,
        until=scope.until,
        types=list(scope.types),
        wanted=scope.status,
        rate=state.rate,
        started_at=scope.began,
        finished_at=state.finished_at,
    )


def counted(scope: RecoveryScope, rate: float, count: int) -> Recovery:
    """Show what a dry run came to."""
    return shown(RecoveryState(id="", scope=scope, rate=rate, found=count))
