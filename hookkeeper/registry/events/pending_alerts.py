"""Failed deliveries that wait until the incident of their webhook tells of them."""

from collections.abc import Iterable

from sqlalchemy import Executable, bindparam, cast, func, null, select

from hookkeeper.messages.rows import DeliveryRow
from hookkeeper.registry.events.tables import pending_alerts
from hookkeeper.registry.storage.database import insert_into
from hookkeeper.registry.storage.transactions import Statement, Steps

MAX_NOTED = 1000
"""Failed deliveries of a webhook that are noted between two looks; more are neither told nor counted."""
pending = pending_alerts.c


def _note(dialect: str) -> Executable:
    """Note a delivery, unless its webhook has as many as may be."""
    columns = [each for each in pending if each.name != "token"]
    given = [cast(bindparam(each.name, type_=each.type), each.type) for each in columns]
    noted = select(func.count()).where(pending.webhook_id == given[0]).scalar_subquery()
    insert = insert_into(pending_alerts, dialect).from_select(columns, select(*given).where(noted < MAX_NOTED))
    keyed: Executable = insert.on_conflict_do_update(
        index_elements=[*pending_alerts.primary_key.columns], set_={"at": insert.excluded["at"], "token": null()}
    )
    return keyed


def note(failed: Iterable[DeliveryRow]) -> Steps[None]:
    """Note deliveries that have failed for good, in the transaction that writes their rows."""
    if many := [{**row._asdict(), "delivery_id": row.id, "at": row.as_of} for row in failed]:
        yield Statement(_note, many=many)
