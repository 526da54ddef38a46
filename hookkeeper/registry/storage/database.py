"""The database: engine, errors, and differences between SQLite and PostgreSQL."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    ExceptionContext,
    FromClause,
    Table,
    and_,
    delete,
    event,
    func,
    literal_column,
    make_url,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from hookkeeper.crypto.keyring import CipherError, Keyring
from hookkeeper.registry.storage.encryption import use_keyring

CONNECT_TIMEOUT = 3.0
CALL_TIMEOUT = 3.5
TURN_TIMEOUT = 2.0
"""Seconds to wait for other writers of the process. The rest of `CALL_TIMEOUT` is enough for a new connection: writers
with too little time would lose their connections one after the other, and none would write."""
DIRECT_CONNECTIONS = 4
"""Connections that `hookkeeper.registry.storage.direct_reads` keeps."""
DIRECT_WRITERS = 1
"""The connection that `hookkeeper.registry.storage.transactions` keeps."""
POOLED_CONNECTIONS = 5
"""Connections that stay open for everything else. More are closed after use."""
KEPT_CONNECTIONS = POOLED_CONNECTIONS + DIRECT_CONNECTIONS + DIRECT_WRITERS
MAX_CONNECTIONS = 16
"""Connections of a process, unless a setting says otherwise."""
ROWS_PER_DELETION = 500
"""Many rows are deleted in small transactions, so that others write in between."""
ROW_ID: ColumnElement[int] = literal_column("rowid")
"""SQLite's own id of a row."""
PAUSE = 0.05
"""Seconds between two deletions."""
PLANS_THAT_READ_ALL = ("enable_sort", "enable_seqscan", "enable_bitmapscan", "enable_hashagg", "jit")
NO_TRANSACTION = "no_transaction"
"""Name of the execution option of `without_transactions` for SQLite."""
READ_ONLY = "25006"
"""PostgreSQL's code for a write where a server, database or user is read-only, such as after a failover."""
OUTAGES = ("08", "40", "53", "57", "58", READ_ONLY, "42501")
"""PostgreSQL's SQLSTATE classes: connection, rolled back (a deadlock), out of resources, operator intervention, system
error. And two codes: the server is read-only, as after a failover, or the user lacks a permission."""
POOLED_STATEMENTS = ("26000", "42P05")
"""PostgreSQL's codes for a prepared statement that is missing, or that another client has made: a pooler gives the
transactions of a client to different connections, and knows nothing of statements."""
POOLER_REMEDY = "Use PgBouncer 1.21 or newer with max_prepared_statements, or session mode"

IN_MEMORY = (":", "file:")
"""Beginnings of what SQLAlchemy gives SQLite in place of the name of a file."""
URL_OPTIONS = frozenset(
    {
        *("host", "port", "ssl", "direct_tls", "passfile", "target_session_attrs", "krbsrvname", "gsslib"),
        *("command_timeout", "prepared_statement_cache_size"),
    }
)
"""Options after `?` that asyncpg, or SQLAlchemy for it, takes as text. Others raise a TypeError at each connection."""
MAX_PORT = 65535


class RegistryUnavailable(Exception):
    """The registry is unavailable; the same call may succeed later."""


class RegistryUnprepared(RegistryUnavailable):
    """The registry's tables are missing or old. The message has no names of internal machines."""


class SQLiteConnection(sqlite3.Connection):
    """A connection that ends its transaction when it is closed, and makes a missing file for its owner alone.

    SQLite keeps a closed connection, and its lock, as long as a cursor has unread rows. The traceback of a cancelled
    write holds such a cursor until garbage is collected, and no other process could write for minutes.
    """

    def __init__(self, database: str, *arguments: Any, **options: Any) -> None:
        if not database.startswith(IN_MEMORY):
            with suppress(OSError):  # it exists, or SQLite says what is wrong
                os.close(os.open(database, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        super().__init__(database, *arguments, **options)

    def close(self) -> None:
        if self.in_transaction:
            with suppress(sqlite3.Error):
                self.execute("ROLLBACK")
        super().close()


def check_database_url(text: str) -> str:
    """Return the URL, or raise ValueError, which contains no part of the URL that may be secret."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("is not a URL such as postgresql+asyncpg://user:password@host:5432/database") from None
    if "@" in (url.host or ""):
        raise ValueError("has more than one @: write %40 for one in the password, and %2F for a /")
    if url.port is not None and not 1 <= url.port <= MAX_PORT:
        raise ValueError(f"the port is not between 1 and {MAX_PORT}")
    if url.get_backend_name() == "postgresql":
        _check_options(url.query)
    return text


def _check_options(names: Iterable[str]) -> None:
    """Refuse options of other drivers: `sslmode` is in the URLs that many providers show."""
    if unknown := sorted({*names} - URL_OPTIONS):
        hint = "; write ssl=require in place of sslmode=require" if "sslmode" in unknown else ""
        raise ValueError(f"the driver asyncpg has no option {', '.join(unknown)}{hint}")


def open_engine(
    database_url: str, keyring: Keyring | None = None, max_connections: int = MAX_CONNECTIONS
) -> AsyncEngine:
    """Make an engine, which connects at first use. With keys, secret columns are encrypted."""
    kept = min(KEPT_CONNECTIONS, max_connections)
    # For asyncpg the time to connect, for SQLite the time to wait for another writer.
    connect_args: dict[str, Any] = {"timeout": CONNECT_TIMEOUT}
    if make_url(database_url).get_backend_name() == "sqlite":
        connect_args["isolation_level"] = None  # the driver begins no transactions, `_begin_immediate` does
        connect_args["factory"] = SQLiteConnection
    engine = create_async_engine(
        database_url,
        pool_pre_ping=True,
        pool_size=kept,
        max_overflow=max_connections - kept,
        connect_args=connect_args,
    )
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_immediate)
    else:
        event.listen(engine.sync_engine, "handle_error", _replace_read_only)
    use_keyring(engine, keyring)
    return engine


def sqlite_file(url: URL) -> Path | None:
    """Return the file of a SQLite database, unless it is in memory."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith(IN_MEMORY):
        return None
    return Path(url.database)


def without_transactions(engine: AsyncEngine) -> AsyncEngine:
    """Return the engine with an option by which each statement is a transaction of its own.

    SQLAlchemy's AUTOCOMMIT is not for SQLite: it costs several calls of the driver's thread, and a cancellation in one
    of them loses the connection until the garbage collector finds it.
    """
    if engine.dialect.name == "sqlite":
        return engine.execution_options(**{NO_TRANSACTION: True})
    return engine.execution_options(isolation_level="AUTOCOMMIT")


class Database:
    """Sessions on an engine. Errors and timeouts of the database become RegistryUnavailable."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.dialect = engine.dialect
        # A read is one statement: a transaction would cost PostgreSQL round trips, and SQLite its lock.
        self._reads = async_sessionmaker(without_transactions(engine))
        self._writes = async_sessionmaker(engine, expire_on_commit=False)
        # SQLite has one writer, and others retry with growing pauses: some wait far too long, each with a connection
        # that readers need. With a lock, writers proceed in order and without pauses.
        self._turns = asyncio.Lock() if engine.dialect.name == "sqlite" else None

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Return a session for single statements that only read."""
        async with errors_translated(CALL_TIMEOUT), self._reads() as session:
            yield session

    @asynccontextmanager
    async def scan(self) -> AsyncIterator[AsyncSession]:
        """Return a session for queries that follow an index and stop early.

        PostgreSQL would rather read and sort all rows if it expects few.
        """
        if self.dialect.name != "postgresql":
            async with self.read() as session:
                yield session
            return
        async with errors_translated(CALL_TIMEOUT), self._writes.begin() as session:
            await session.execute(select(*(func.set_config(name, "off", True) for name in PLANS_THAT_READ_ALL)))
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """Return a session with a transaction, which is committed when the block ends."""
        async with errors_translated(CALL_TIMEOUT), self.turn(), self._writes.begin() as session:
            yield session

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until this process may write, and let no other writer of it begin until the block ends.

        Raises RegistryUnavailable if other writers take too long.
        """
        if self._turns is None:
            yield
            return
        async with errors_translated(TURN_TIMEOUT):
            await self._turns.acquire()
        try:
            yield
        finally:
            self._turns.release()


def _set_up_sqlite(connection: Any, _: object) -> None:
    """Enable WAL, foreign keys, overwriting of deleted data, and waiting for the disk at each commit."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")  # the default in most builds of SQLite, not in all
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA secure_delete=ON")
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        # The mode belongs to the file, and SQLite does not wait here: the process with the lock sets the mode.
        if _primary_code(error) != sqlite3.SQLITE_BUSY:
            raise
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    """Take SQLite's write lock at once: a transaction that reads before it writes fails without waiting."""
    if not connection.get_execution_options().get(NO_TRANSACTION):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _replace_read_only(context: ExceptionContext) -> None:
    """Let new connections replace all that are open: a session stays read-only for as long as it lasts."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


@asynccontextmanager
async def errors_translated(seconds: float | None) -> AsyncIterator[None]:
    """Raise RegistryUnavailable for errors of the database, and after `seconds`; None is no limit."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (OSError, PoolTimeout) as error:  # asyncio's timeouts are OSErrors
        raise RegistryUnavailable(f"the registry is unavailable: {str(error) or 'timeout'}") from error
    except DBAPIError as error:
        if not is_outage(error):
            raise
        question = f" (is there a pooler in transaction mode, such as PgBouncer? {POOLER_REMEDY})"
        hint = question if sqlstate(error) in POOLED_STATEMENTS else ""
        raise RegistryUnavailable(f"the registry is unavailable: {error.orig}{hint}") from error
    except CipherError as error:
        raise RegistryUnavailable(f"the registry cannot be read: {error}") from error


def is_outage(error: DBAPIError) -> bool:
    """Return whether the database is unavailable, rather than the statement wrong."""
    if error.connection_invalidated or error.statement is None:  # no statement: it failed to connect
        return True
    if isinstance(error.orig, sqlite3.OperationalError):  # SQLite calls a missing table operational too
        return _primary_code(error.orig) != sqlite3.SQLITE_ERROR
    return sqlstate(error).startswith((*OUTAGES, *POOLED_STATEMENTS))


def sqlstate(error: DBAPIError) -> str:
    """Return PostgreSQL's code of an error."""
    return str(getattr(error.orig, "sqlstate", None))


def _primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's result code without what it adds in the upper bits."""
    return error.sqlite_errorcode & 0xFF


def insert_into(table: FromClause, dialect: str) -> Any:
    """Return an INSERT that can update rows that exist already."""
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)


async def delete_rows(session: AsyncSession, table: Table, where: ColumnElement[bool]) -> int:
    """Delete at most 500 of these rows, and return their number."""
    if session.get_bind().dialect.name == "sqlite":
        some = select(ROW_ID).select_from(table).where(where).limit(ROWS_PER_DELETION)
        deleted = await session.execute(delete(table).where(ROW_ID.in_(some)))
        return deleted.rowcount  # type: ignore[attr-defined,no-any-return]
    columns = list(table.primary_key.columns)
    rows = (await session.execute(select(*columns).where(where).limit(ROWS_PER_DELETION))).all()
    if rows:
        await session.execute(delete(table).where(tuple_(*columns).in_([tuple(row) for row in rows])))
    return len(rows)


def rows_with(columns: Sequence[ColumnElement[Any]], keys: Collection[Sequence[Any]]) -> ColumnElement[bool]:
    """Select the rows with these values of the columns. The first column is that of an index, and has few rows a value.

    Where only the combinations are listed, two of them or more, SQLite uses no index and reads the whole table.
    """
    return and_(columns[0].in_({key[0] for key in keys}), tuple_(*columns).in_([tuple(key) for key in keys]))


async def lock(session: AsyncSession, name: str) -> None:
    """Serialise transactions that lock the same name. SQLite has only one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
