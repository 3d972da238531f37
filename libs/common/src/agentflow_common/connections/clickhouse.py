"""ClickHouse on one thread: embedded (chDB) when `clickhouse_path` is set, else a server over HTTP.

Every call of the client blocks, and chDB hands out one engine per process, so one thread of its own does all the work
and the loop awaits it. Calls are served in the order in which they were made.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from agentflow_common import tasks
from agentflow_common.connections import native, tls
from agentflow_common.errors import RetryableError
from agentflow_common.settings import ClickHouseSettings

log = logging.getLogger(__name__)
Result = TypeVar("Result")

OPEN_S_MAX: Final = 30.0  # a predecessor that is being killed may hold the embedded engine's lock for a moment
QUERY_S_MAX: Final = 20.0  # a question never holds up ingestion for longer: both share the thread
CONNECT_S_MAX: Final = 5
ANSWER_S_MAX: Final = 60  # a server that went away silently holds up the thread for so long at most
BUSY_S_MAX: Final = QUERY_S_MAX + 5.0  # an embedded engine that works on one call for longer counts as lost
RETRY_AFTER_MS: Final = 1_000
_SESSION_LOCKED: Final = 373
_REFUSED: Final = 395  # throwIf
_NO_DATABASE: Final = (60, 81)  # unknown table, unknown database
_AWAY: Final = (3, 159, 202, 203, 209, 210, 236, 241, 242, 243, 252, 373, 394, 425, 516, 999)  # full, busy or stopping

# One insert is one part, or a prefix of it: whole blocks, in order, acknowledged when they are stored.
INSERT_SETTINGS: Final[dict[str, Any]] = {
    "async_insert": 0,
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 1_048_576,
    "min_insert_block_size_bytes": 256 * 1024 * 1024,
}


class ClickHouse:
    """One client on one thread; `open` first, `close` last.

    session: with a server, the name under which this client works. A server runs one request of a session at a time,
    so a writer that took the name over never overlaps with an insert that its killed predecessor had sent.
    """

    def __init__(self, settings: ClickHouseSettings, session: str = "") -> None:
        self._settings = settings
        self._session = session
        self._path = str(Path(settings.clickhouse_path).absolute()) if settings.clickhouse_path else ""
        self._spool = Path(self._path) / "agentflow-inserts"
        self._thread = ThreadPoolExecutor(1, "clickhouse")
        self._client: Any = None
        self._asking = ThreadPoolExecutor(1, "clickhouse-probe")
        self._asker: Any = None
        self._busy_since = 0.0

    def preload(self) -> None:
        """Loads the engine on its thread right away: half a second of work that needs nobody else."""
        self._thread.submit(self._import)

    def _import(self) -> None:
        import clickhouse_connect  # noqa: F401
        from clickhouse_connect.driver import options

        # The client asks of every insert whether it is a data frame, and loads pandas for that: a second of start-up
        # and 60 MB. Nothing here is one; these names are the driver's own way of saying "not installed".
        for name in ("pd", "pd_time_test", "np", "arrow", "pl"):
            setattr(options, name, None)
        if self._path:
            import chdb  # noqa: F401

    async def open(self, timeout_s: float = OPEN_S_MAX) -> None:
        """Connects and makes the database. Raises RetryableError when that did not succeed in `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        for pause_s in tasks.pauses(0.05, 1.0):
            try:
                await self._call(self._connect)
                break
            except Exception as error:
                if time.monotonic() + pause_s > deadline:
                    raise RetryableError(self._advice(), kind="clickhouse_unavailable") from error
                log.info("clickhouse is not there yet", extra={"error_type": type(error).__name__})
                await asyncio.sleep(pause_s)

    def _advice(self) -> str:
        if self._path:
            return (
                f"ClickHouse can't be opened in {self._path}: another process holds it, or the folder is not writable"
            )
        settings = self._settings
        scheme = "https" if settings.clickhouse_secure else "http"
        return (
            f"ClickHouse does not answer at {scheme}://{settings.clickhouse_host}:{settings.clickhouse_port_used}: "
            "check CLICKHOUSE_HOST, CLICKHOUSE_PORT, CLICKHOUSE_SECURE, CLICKHOUSE_CA_CERT, user and password"
        )

    def _connect(self) -> None:
        import clickhouse_connect

        self._import()
        settings = self._settings
        if self._path:
            Path(self._path).mkdir(parents=True, exist_ok=True)
            client = clickhouse_connect.get_client(interface="chdb", path=self._path)
            shutil.rmtree(self._spool, ignore_errors=True)  # the engine is ours now, so nobody else spools
            self._spool.mkdir(mode=0o700)
        else:
            client = self._connect_server(self._session)
        try:
            name = settings.clickhouse_database
            found = client.query("SELECT count() FROM system.databases WHERE name = {name:String}", {"name": name})
            if not found.result_rows[0][0]:
                client.command("CREATE DATABASE IF NOT EXISTS {name:Identifier}", {"name": name})
            client.database = name
        except BaseException:
            client.close()
            raise
        self._client = client

    def _connect_server(self, session: str) -> Any:
        import clickhouse_connect

        settings = self._settings
        return clickhouse_connect.get_client(
            host=settings.clickhouse_host,
            port=settings.clickhouse_port_used,
            username=settings.clickhouse_user,
            password=settings.clickhouse_password,
            **tls.for_clickhouse(settings),
            session_id=session or None,
            connect_timeout=CONNECT_S_MAX,
            send_receive_timeout=ANSWER_S_MAX,
            query_retries=0,  # an insert whose answer was lost must be looked up, not sent again
        )

    async def probe(self) -> None:
        """Returns if ClickHouse answers a query. A server is asked beside the work in hand; the embedded engine has one
        thread, so work that it does is an answer, unless it takes longer than BUSY_S_MAX."""
        if self._client is None:
            raise RetryableError(self._advice(), kind="clickhouse_unavailable")
        if not self._path:
            await asyncio.get_running_loop().run_in_executor(self._asking, self._ask)
        elif not 0.0 < time.monotonic() - self._busy_since < BUSY_S_MAX:
            await self._call(self._query, "SELECT 1", {})

    def _ask(self) -> None:
        if self._asker is None:
            self._asker = self._connect_server("")
        try:
            self._asker.query("SELECT 1", settings={"max_execution_time": 1})
        except Exception:
            self._asker.close()
            self._asker = None
            raise

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Returns the rows of a SELECT. Values are bound by name: `{org:String}`."""
        return await self._call(self._query, sql, dict(parameters or {}))

    def _query(self, sql: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        settings = {"max_execution_time": int(QUERY_S_MAX)}
        rows: list[tuple[Any, ...]] = self._client.query(sql, parameters, settings=settings).result_rows
        return rows

    async def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Runs a statement without a result."""
        await self._call(self._command, sql, dict(parameters or {}))

    def _command(self, sql: str, parameters: dict[str, Any]) -> None:
        self._client.command(sql, parameters)

    async def insert(self, table: str, columns: Mapping[str, str], data: Sequence[Sequence[Any]]) -> None:
        """Inserts whole columns, in the order of `columns` (name -> ClickHouse type). DateTime64(3) takes ms as int."""
        await self._call(self._insert, table, dict(columns), data)

    async def insert_once(
        self,
        table: str,
        columns: Mapping[str, str],
        data: Sequence[Sequence[Any]],
        token: str,
        condition: str,
        parameters: Mapping[str, Any],
    ) -> None:
        """Inserts as `insert` does, if a condition holds and no insert with this token took effect before.

        condition: SQL that is evaluated when the insert begins. If it is false, the insert fails (see `refused`).
        Of two inserts that run at the same time with one token, the second one does nothing: the table remembers the
        newest tokens (`non_replicated_deduplication_window`).
        """
        await self._call(self._insert_once, table, dict(columns), data, token, condition, dict(parameters))

    def _insert_once(
        self,
        table: str,
        columns: dict[str, str],
        data: Sequence[Sequence[Any]],
        token: str,
        condition: str,
        parameters: dict[str, Any],
    ) -> None:
        block = native.block(columns, data)
        names, shape = ", ".join(columns), _quoted(", ".join(f"{name} {kind}" for name, kind in columns.items()))
        settings = {**INSERT_SETTINGS, "max_threads": 1, "insert_deduplicate": 1, "insert_deduplication_token": token}
        clause = ", ".join(f"{name} = {_quoted(str(value))}" for name, value in settings.items())
        refused = _quoted("another writer has written")

        def sql(source: str) -> str:
            return (
                f"INSERT INTO {table} ({names}) SETTINGS {clause} SELECT {names} FROM {source} "  # noqa: S608
                f"WHERE throwIf(NOT ({condition}), {refused}) = 0"
            )

        if not self._path:  # the client sends the data of a command once, whatever happens
            self._client.command(sql(f"input({shape})") + " FORMAT Native", parameters, data=block)
            return
        with tempfile.NamedTemporaryFile(dir=self._spool) as file:
            file.write(block)
            file.flush()
            self._client.command(sql(f"file({_quoted(file.name)}, 'Native', {shape})"), parameters)

    @contextlib.contextmanager
    def _spooling(self) -> Iterator[None]:
        """Keeps chDB's temporary files in the engine's folder: it reads each insert from one.

        The next process removes there what a killed one left, and other users of the machine can't look in.
        """
        if not self._path:
            yield
            return
        before, tempfile.tempdir = tempfile.tempdir, str(self._spool)
        try:
            yield
        finally:
            tempfile.tempdir = before

    def _insert(self, table: str, columns: dict[str, str], data: Sequence[Sequence[Any]]) -> None:
        block = native.block(columns, data)
        with self._spooling():
            self._client.raw_insert(
                table,
                list(columns),
                iter((block,)),  # the client sends bytes again after a closed connection, and rows would be doubled
                settings=INSERT_SETTINGS,
                fmt="Native",
            )

    async def close(self) -> None:
        await self._call(self._close)
        self._thread.shutdown(wait=False)
        self._asking.shutdown(wait=False)

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _call(self, function: Callable[..., Result], *args: Any) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, functools.partial(self._timed, function, *args))

    def _timed(self, function: Callable[..., Result], *args: Any) -> Result:
        """Runs on the thread. Raises RetryableError if ClickHouse is away, full or overloaded."""
        self._busy_since = time.monotonic()
        try:
            return function(*args)
        except Exception as error:
            if _is_away(error):
                raise RetryableError(
                    "ClickHouse is not reachable or can't take the query now; try again",
                    kind="clickhouse_unavailable",
                    retry_after_ms=RETRY_AFTER_MS,
                ) from error
            raise
        finally:
            self._busy_since = 0.0


def _quoted(text: str) -> str:
    """Returns a text as a literal of SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _code(error: BaseException) -> Any:
    """Returns ClickHouse's number of the error, also of one that `_timed` has translated."""
    return getattr(error.__cause__ if isinstance(error, RetryableError) else error, "code", None)


def _is_away(error: Exception) -> bool:
    from clickhouse_connect.driver.exceptions import OperationalError

    code = getattr(error, "code", None)
    return isinstance(error, OSError) or code in _AWAY or (isinstance(error, OperationalError) and code is None)


def session_locked(error: BaseException) -> bool:
    """True if a server refused because another request of the same session is still running."""
    return bool(_code(error) == _SESSION_LOCKED)


def refused(error: BaseException) -> bool:
    """True if the condition of `insert_once` did not hold: another writer has written."""
    return bool(_code(error) == _REFUSED)


def has_no_tables(error: BaseException) -> bool:
    """True if the database or a table of it is gone: the server came back without its data."""
    return _code(error) in _NO_DATABASE


async def migrate(clickhouse: ClickHouse, folder: Path) -> list[str]:
    """Applies `NNNN_name.sql` files that have not been applied; returns the names applied now.

    ClickHouse has no transactions over DDL, so each statement (they end with `;` at a line's end) must be safe to run
    again: a file that was cut short is run again from its start. Raises RuntimeError if an applied file has changed.
    """
    files = sorted(folder.glob("[0-9]*.sql"))  # noqa: ASYNC240 - once, at start
    if not files:
        raise RuntimeError(f"no migrations in {folder}")
    await clickhouse.command(
        "CREATE TABLE IF NOT EXISTS schema_migrations "
        "(name String, sha256 String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) "
        "ENGINE = MergeTree ORDER BY name"
    )
    known = dict(await clickhouse.query("SELECT name, sha256 FROM schema_migrations"))
    applied_now: list[str] = []
    for file in files:
        sql = file.read_text()
        sha = hashlib.sha256(sql.encode()).hexdigest()
        if file.name in known:
            if known[file.name] != sha:
                raise RuntimeError(f"migration {file.name} changed after it was applied; add a new file")
            continue
        for statement in statements(sql):
            await clickhouse.command(statement)
        await clickhouse.insert("schema_migrations", {"name": "String", "sha256": "String"}, [[file.name], [sha]])
        applied_now.append(file.name)
        log.info("migration applied", extra={"migration": file.name})
    return applied_now


def statements(sql: str) -> list[str]:
    """Returns the statements of a file, without `--` comment lines."""
    text = "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--"))
    return [part.strip() for part in (text + "\n").split(";\n") if part.strip()]
