"""PromptService: the questions of clients, asked of the prompt service in the name of the key's org."""

from __future__ import annotations

from typing import Any

from agentflow.v1 import prompt_pb2 as pb
from agentflow.v1 import prompt_pb2_grpc
from agentflow_common import rpc
from agentflow_common.errors import InvalidError, Problem
from agentflow_gateway.api import call_context, convert, pages
from agentflow_gateway.dependencies import Deps


class PromptService(prompt_pb2_grpc.PromptServiceServicer):
    def __init__(self, deps: Deps) -> None:
        self._nc = deps.nc

    async def CreatePrompt(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call = call_context.current()
        if request.max_output_tokens < 0:
            place = "max_output_tokens"
            problem = Problem(place, f"{request.max_output_tokens} is negative", "give at least 1, or 0 for 1024")
            raise InvalidError(str(problem), problems=(problem,))
        question = rpc.CreatePromptRequest(
            org=call.org,
            name=request.name,
            template=request.template,
            system=request.system,
            description=request.description,
            inputs_schema=convert.from_struct(request.inputs_schema, "inputs_schema"),
            labels=tuple(request.labels),
            task=request.task,
            max_output_tokens=request.max_output_tokens or 1024,
            temperature=convert.exact_number(request.temperature, "temperature"),
            created_by=call.identity.actor,
        )
        return pb.CreatePromptResponse(prompt=_prompt(await call.ask(self._nc, rpc.PROMPT_CREATE, question)))

    async def GetPrompt(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call = call_context.current()
        ref = f"{request.name}@{request.version}" if request.version else request.name
        found = await call.ask(self._nc, rpc.PROMPT_GET, rpc.GetPromptRequest(org=call.org, ref=ref))
        return pb.GetPromptResponse(prompt=_prompt(found))

    async def ListPrompts(self, request: Any, _context: Any) -> Any:  # noqa: N802
        call = call_context.current()
        limit = pages.page_size(request.page_size, default=100)
        filters = (request.name_prefix,)
        after = pages.after_name("prompts", request.page_token, filters)
        question = rpc.ListPromptsRequest(org=call.org, name_prefix=request.name_prefix, limit=limit + 1, after=after)
        found = (await call.ask(self._nc, rpc.PROMPT_LIST, question)).prompts
        shown, token = pages.cut("prompts", found, limit, lambda prompt: prompt.name, filters)
        return pb.ListPromptsResponse(prompts=[_prompt(prompt) for prompt in shown], next_page_token=token)


def _prompt(found: rpc.PromptVersion) -> Any:
    message = pb.Prompt(
        name=found.name,
        version=found.version,
        template=found.template,
        system=found.system,
        description=found.description,
        labels=found.labels,
        task=found.task,
        max_output_tokens=found.max_output_tokens,
        temperature=found.temperature,
        created_at=found.created_at,
        created_by=found.created_by,
        sha256=found.sha256,
    )
    convert.set_struct(message.inputs_schema, found.inputs_schema)
    return message
