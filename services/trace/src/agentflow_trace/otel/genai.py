"""The names of the OpenTelemetry semantic conventions for GenAI that spans use. Pure.

They are those of https://github.com/open-telemetry/semantic-conventions-genai, release 0.1.0, whose status is
"development". `gen_ai.workflow.name` is the older name of `gen_ai.agent.name` for workflows; viewers read either.
"""

from __future__ import annotations

from typing import Final

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
AGENT_NAME: Final = "gen_ai.agent.name"
AGENT_VERSION: Final = "gen_ai.agent.version"
WORKFLOW_NAME: Final = "gen_ai.workflow.name"
TOOL_NAME: Final = "gen_ai.tool.name"
PROMPT_NAME: Final = "gen_ai.prompt.name"
ERROR_TYPE: Final = "error.type"
HTTP_STATUS: Final = "http.response.status_code"

CHAT: Final = "chat"
EXECUTE_TOOL: Final = "execute_tool"
INVOKE_AGENT: Final = "invoke_agent"
INVOKE_WORKFLOW: Final = "invoke_workflow"

# what the conventions have no name for
COST: Final = "agentflow.cost.nano_usd"  # of one call: the sum over spans is the cost of the run
COST_TOTAL: Final = "agentflow.cost.total_nano_usd"  # of a step or a run, with everything beneath it
ORG: Final = "agentflow.org"
RUN: Final = "agentflow.run"
STEP: Final = "agentflow.step"
ATTEMPT: Final = "agentflow.attempt"
CALL: Final = "agentflow.call"
STATUS: Final = "agentflow.status"
KIND: Final = "agentflow.step.kind"
WAIT_MS: Final = "agentflow.wait_ms"
WORKER: Final = "agentflow.worker"
CACHE_HIT: Final = "agentflow.cache_hit"
PROMPT_VERSION: Final = "agentflow.prompt.version"

_PROVIDERS: Final = {
    "google": "gcp.gemini",
    "gemini": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
    "moonshot": "moonshot_ai",
}


def provider_name(provider: str) -> str:
    """Returns the name of a provider in the conventions. One that they do not list keeps its own."""
    return _PROVIDERS.get(provider, provider)
