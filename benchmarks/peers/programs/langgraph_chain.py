"""LangGraph: one process, a graph whose nodes are checkpointed to PostgreSQL.

Argument: the database's URL.
"""

from __future__ import annotations

import itertools
import sys
import uuid
from typing import Any, TypedDict

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from benchmarks.peers.programs import protocol

SAVERS = 4  # a saver holds a lock, so one alone would use one connection of the pool
DURABILITY = "sync"  # a checkpoint is in the database before the next step starts


class State(TypedDict):
    n: int


async def step(state: State) -> State:
    return {"n": state["n"] + 1}


def graph(length: int, saver: Any) -> Any:
    builder = StateGraph(State)
    names = [f"s{index}" for index in range(length)]
    for name in names:
        builder.add_node(name, step)
    for source, target in itertools.pairwise([START, *names, END]):
        builder.add_edge(source, target)
    return builder.compile(checkpointer=saver)


async def main() -> None:
    async with AsyncConnectionPool(
        sys.argv[1],
        min_size=SAVERS,
        max_size=SAVERS,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
    ) as pool:
        savers = [AsyncPostgresSaver(pool) for _ in range(SAVERS)]
        await savers[0].setup()
        graphs: dict[int, Any] = {}

        async def chain(length: int) -> int:
            if length not in graphs:
                graphs[length] = itertools.cycle([graph(length, saver) for saver in savers])
            config = {"configurable": {"thread_id": uuid.uuid4().hex}, "recursion_limit": length + 5}
            state = await next(graphs[length]).ainvoke({"n": 0}, config, durability=DURABILITY)
            return int(state["n"])

        packages = ["langgraph", "langgraph-checkpoint-postgres"]
        await protocol.serve(chain, versions=protocol.versions(packages))


if __name__ == "__main__":
    protocol.run(main())
