"""Tasks in a worker's hands: run their steps, keep them alive, report how they ended.

`executor` takes a task to its end. `task_chain` is the task and `attempt` the step in hand.
"""

__all__ = ["executor", "pool_queues"]
