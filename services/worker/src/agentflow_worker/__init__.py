"""The worker service: it runs the steps: tools, functions and model calls.

Authors of tools import from `agentflow_worker.registry` and `agentflow_worker.context`.
"""

__all__ = ["context", "registry"]
