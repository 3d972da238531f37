"""PromptService: asks the prompt service on behalf of the caller's org."""

from __future__ import annotations

from typing import Any

from agentflow.v1 import prompt_pb2 as pb
from agentflow_common import rpc
from agentflow_common.errors import InvalidError
from agentflow_gateway.api import convert
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.pages import Page


class PromptService:
    async def CreatePrompt(self, request: Any, call: Call) -> Any:
        if request.max_output_tokens < 0:
            text = f"max_output_tokens {request.max_output_tokens} is negative"
            raise InvalidError.at("max_output_tokens", text, "give at least 1, or 0 for 1024")
        question = convert.struct_of(
            rpc.CreatePromptRequest,
            request,
            org=call.org,
            inputs_schema=convert.from_struct(request.inputs_schema, "inputs_schema"),
            labels=tuple(request.labels),
            max_output_tokens=request.max_output_tokens or 1024,
            temperature=convert.exact_number(request.temperature, "temperature"),
            created_by=call.identity.actor,
        )
        return pb.CreatePromptResponse(prompt=_prompt(await call.ask(rpc.PROMPT_CREATE, question)))

    async def GetPrompt(self, request: Any, call: Call) -> Any:
        ref = f"{request.name}@{request.version}" if request.version else request.name
        prompt = await call.ask(rpc.PROMPT_GET, rpc.GetPromptRequest(org=call.org, ref=ref))
        return pb.GetPromptResponse(prompt=_prompt(prompt))

    async def ListPrompts(self, request: Any, call: Call) -> Any:
        page = Page(request, "prompts", request.name_prefix, default=100)
        question = rpc.ListPromptsRequest(
            org=call.org, name_prefix=request.name_prefix, limit=page.limit + 1, after=page.after_name
        )
        reply = await call.ask(rpc.PROMPT_LIST, question)
        prompts, token = page.cut(reply.prompts, lambda prompt: (0, prompt.name))
        return pb.ListPromptsResponse(prompts=[_prompt(prompt) for prompt in prompts], next_page_token=token)

    async def ListPromptVersions(self, request: Any, call: Call) -> Any:
        page = Page(request, "prompt versions", request.name, default=100)
        before = page.after.number if page.after is not None else 0
        question = rpc.ListPromptVersionsRequest(
            org=call.org, name=request.name, limit=page.limit + 1, before=min(before, 2**31 - 1)
        )
        reply = await call.ask(rpc.PROMPT_VERSIONS, question)
        shown, token = page.cut(reply.versions, lambda row: (row.version, ""))
        versions = [convert.message_of(pb.PromptVersion, row) for row in shown]
        return pb.ListPromptVersionsResponse(versions=versions, next_page_token=token)

    async def SetPromptLabel(self, request: Any, call: Call) -> Any:
        if not request.remove and request.version < 1:
            text = f"version {request.version} does not exist: versions count from 1"
            raise InvalidError.at("version", text, "name a version, or set `remove`")
        question = rpc.SetPromptLabelRequest(
            org=call.org, name=request.name, label=request.label, version=0 if request.remove else request.version
        )
        reply = await call.ask(rpc.PROMPT_LABEL, question)
        return pb.SetPromptLabelResponse(version=reply.version, changed=reply.changed)


def _prompt(prompt: rpc.PromptVersion) -> Any:
    message = convert.message_of(pb.Prompt, prompt, inputs_schema=None)
    convert.set_struct(message.inputs_schema, prompt.inputs_schema)
    return message
