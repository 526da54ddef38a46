"""The registry: its database, and all that is stored there."""

from types import TracebackType
from typing import Self, cast

from sqlalchemy import inspect, select, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from hookkeeper.crypto.keyring import Keyring
from hookkeeper.registry import migrations
from hookkeeper.registry.audit import AuditLog
from hookkeeper.registry.catalogue import Catalogue
from hookkeeper.registry.events.index import EventIndex
from hookkeeper.registry.events.rows import EventRows
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.schedules import ScheduleRows
from hookkeeper.registry.storage.database import (
    MAX_CONNECTIONS,
    Database,
    RegistryUnprepared,
    errors_translated,
    is_outage,
    open_engine,
    sqlite_file,
)
from hookkeeper.registry.storage.direct_reads import DirectReads
from hookkeeper.registry.storage.transactions import Transactions
from hookkeeper.registry.suppressions import Suppressions
from hookkeeper.registry.tenants.api_keys import ApiKeys
from hookkeeper.registry.tenants.portal import PortalSessions
from hookkeeper.registry.tenants.tenants import Tenants
from hookkeeper.registry.upkeep.re_encryption import re_encrypt
from hookkeeper.registry.upkeep.schema import migrate
from hookkeeper.registry.webhooks.alerts import AlertClaims
from hookkeeper.registry.webhooks.health import HealthStore
from hookkeeper.registry.webhooks.reserved_times import ReservedTimes
from hookkeeper.registry.webhooks.webhooks import Webhooks


class Store:
    """Methods raise RegistryUnavailable. As a context manager, it closes its connections at the end."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.database = database = Database(engine)
        self._direct = DirectReads(engine, database)
        self.webhooks = Webhooks(database, self._direct)
        self.catalogue = Catalogue(database, self._direct)
        self.tenants = Tenants(database)
        self.suppressions = Suppressions(database)
        self.schedules = ScheduleRows(database)
        self.alerts = AlertClaims(database)
        self.health = HealthStore(database)
        self.reserved_times = ReservedTimes(database)
        self.api_keys = ApiKeys(database, self._direct)
        self.portal = PortalSessions(database)
        self.audit = AuditLog(database)
        self._transactions = Transactions(engine, database)
        self.rows = EventRows(database, self._direct, self._transactions)
        self.index = EventIndex(database)

    @classmethod
    def connect(cls, database_url: str, keyring: Keyring | None = None, max_connections: int = MAX_CONNECTIONS) -> Self:
        """Make a store on `sqlite+aiosqlite:///…` or `postgresql+asyncpg://…`; it connects at first use."""
        return cls(open_engine(database_url, keyring, max_connections))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self.rows.close()
        await self._transactions.close()
        await self._direct.close()
        await self._engine.dispose()

    def connections_in_use(self) -> int:
        """Return how many connections are open and not idle, with those that are kept for single statements."""
        return cast(QueuePool, self._engine.pool).checkedout()

    async def ping(self) -> None:
        """Raise RegistryUnavailable unless the database answers."""
        async with self.database.read() as session:
            await session.execute(select(1))

    async def is_new(self) -> bool:
        """Return whether there are no tables yet."""
        if (file := sqlite_file(self._engine.url)) and not file.exists():  # a connection would make it
            return True
        async with self.database.read() as session:
            return not await session.run_sync(lambda sync: inspect(sync.connection()).has_table("alembic_version"))

    async def ready(self) -> None:
        """Raise RegistryUnavailable unless the database answers, is migrated, and can be decrypted."""
        await self.ping()
        async with self.database.read() as session:
            try:
                revision = await session.scalar(text("SELECT version_num FROM alembic_version"))
                await session.scalar(select(Webhook.secret).limit(1))
            except (OperationalError, ProgrammingError) as error:
                if is_outage(error):
                    raise
                raise RegistryUnprepared("the registry has no tables yet: run `hookkeeper migrate`") from error
        if revision < migrations.newest():
            raise RegistryUnprepared("the registry has the schema of an older release: run `hookkeeper migrate`")

    async def migrate(self) -> None:
        """Bring the schema up to date; safe from concurrent processes. Has no timeout."""
        async with errors_translated(seconds=None):
            await migrate(self._engine)

    async def re_encrypt(self) -> int:
        """Encrypt all values with the first key; return the number of changed rows."""
        async with errors_translated(seconds=None):
            return await re_encrypt(self._engine)
