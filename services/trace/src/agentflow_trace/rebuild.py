"""`python -m agentflow_trace.rebuild`: drops the rows, so that the trace service reads the log
again.

The events of runs that were purged from the log are set aside first. If ClickHouse is embedded,
stop the trace service before: chDB allows one process.
"""

from __future__ import annotations

import asyncio
import sys

from agentflow_common import package_files, subjects
from agentflow_common.connections.clickhouse import ClickHouse, migrate
from agentflow_common.errors import RetryableError
from agentflow_trace.settings import TraceSettings
from agentflow_trace.store import Store
from agentflow_trace.store_archive import ArchiveStore

OPEN_S_MAX = 5.0


async def rebuild(settings: TraceSettings) -> None:
    """Drops the tables; the log is untouched.

    Raises RetryableError if ClickHouse can't be opened.
    """
    clickhouse = ClickHouse(settings, session="agentflow-trace")
    try:
        await clickhouse.open(OPEN_S_MAX)
        # tables of an earlier version lack columns of this one
        await migrate(clickhouse, package_files.find(__file__, "migrations"))
        await ArchiveStore(clickhouse).keep(subjects.EVENTS_STREAM)  # these have left the log
        await Store(clickhouse).drop_all()
    finally:
        await clickhouse.close()


def main() -> int:
    try:
        asyncio.run(rebuild(TraceSettings()))
    except RetryableError as error:
        sys.stderr.write(f"{error.message}. Is the trace service still running? Stop it and try again.\n")
        return 1
    sys.stderr.write("The traces are dropped. Start the trace service: it reads the whole log again.\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
