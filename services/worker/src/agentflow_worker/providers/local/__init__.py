"""The offline provider: classical language processing, deterministic, no key and no network.

Models: `extractive-1` (fast, short) and `extractive-pro` (weighs structure, avoids redundancy, says
more).
"""

from agentflow_worker.providers.local.provider import MODELS, TASKS, LocalProvider

__all__ = ["MODELS", "TASKS", "LocalProvider"]
