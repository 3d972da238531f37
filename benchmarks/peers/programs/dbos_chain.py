"""DBOS: one process, a workflow whose steps each commit to PostgreSQL.

Argument: the database's URL.
"""

from __future__ import annotations

import sys

from dbos import DBOS, DBOSConfig

from benchmarks.peers.programs import protocol

POOL = 8  # the fastest of 8, 20, 50 and 100 connections on two cores


@DBOS.step()
async def step(n: int) -> int:
    return n + 1


@DBOS.workflow()
async def workflow(length: int) -> int:
    n = 0
    for _ in range(length):
        n = await step(n)
    return n


async def chain(length: int) -> int:
    handle = await DBOS.start_workflow_async(workflow, length)
    return int(await handle.get_result())


async def main() -> None:
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": sys.argv[1],
        "sys_db_pool_size": POOL,
        "log_level": "WARNING",
    }
    DBOS(config=config)
    DBOS.launch()
    await protocol.serve(chain, versions=protocol.versions(["dbos"]))
    DBOS.destroy()


if __name__ == "__main__":
    protocol.run(main())
