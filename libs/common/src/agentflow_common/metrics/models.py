"""Model calls and tools, as the workers see them."""

from __future__ import annotations

from typing import Final

from agentflow_common.metrics.bounded import counter, histogram
from agentflow_common.metrics.labels import MODEL, PROVIDER, QUALITY, STATUS, TOOL, TYPE

LLM_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120)
TOOL_BUCKETS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 5, 10, 30, 60, 300)

CACHE_HITS: Final = counter("cache_hits", "Model answers served from the cache", QUALITY)
CACHE_MISSES: Final = counter("cache_misses", "Cacheable model steps that found no answer in the cache", QUALITY)
PROVIDER_REQUESTS: Final = counter(
    "provider_requests",
    "Calls to model providers, each attempt; status: `ok`, `cancelled` or the kind of the failure (`rate_limited`, "
    "`malformed_answer`, `truncated`, `empty_answer`, `content_filter` ...)",
    PROVIDER,
    MODEL,
    STATUS,
)
LLM_REQUESTS: Final = counter("llm_requests", "Model calls of steps, by the same status", PROVIDER, MODEL, STATUS)
LLM_TOKENS: Final = counter("llm_tokens", "Model tokens of all calls, failed ones too", PROVIDER, MODEL, TYPE)
LLM_SECONDS: Final = histogram("llm_response_time_seconds", "Response time of models", LLM_BUCKETS, PROVIDER, MODEL)
TOOL_EXECUTIONS: Final = counter("tool_executions", "Executions of tools", TOOL, STATUS)
TOOL_SECONDS: Final = histogram("tool_duration_seconds", "Duration of tools", TOOL_BUCKETS, TOOL)
for _quality in ("Gold", "Silver", "Bronze"):  # a share needs both series
    CACHE_HITS.labels(_quality)
    CACHE_MISSES.labels(_quality)
