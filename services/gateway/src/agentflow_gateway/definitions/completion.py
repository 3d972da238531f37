"""Completes definitions whose authors left arguments to the edges: looks up what their tools and prompts need."""

from __future__ import annotations

from agentflow_common import rpc
from agentflow_common.definition import edge_arguments
from agentflow_common.definition.checks.tool_arguments import place_of
from agentflow_common.definition.edge_arguments import Needs
from agentflow_common.definition.model import Definition
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.places import Lines
from agentflow_gateway.api.call import Call


async def complete(call: Call, definition: Definition, lines: Lines | None) -> Definition:
    """Returns the definition with its arguments. Raises InvalidError for a parallel node whose list is not known."""
    called = edge_arguments.called(definition)
    if not called:
        return definition
    signatures = await call.deps.registry.signatures({place for place in called if place[0] != "llm"})
    needs = {place: signature.needs() for place, signature in signatures.items()}
    if refs := tuple(sorted(name for kind, name in called if kind == "llm")):
        question = rpc.ResolvePromptsRequest(org=call.org, refs=refs, with_required=True)
        reply = await call.ask(rpc.PROMPT_RESOLVE, question)
        needs |= {("llm", ref): Needs(names) for ref, names in reply.required.items()}
    found = edge_arguments.completed(definition, needs)
    findings = edge_arguments.without_items(found)
    problems = [Problem(place_of(path, lines), message, fix) for path, message, fix in findings]
    if problems:
        raise InvalidError.of(problems, "the workflow definition is not valid", kind="invalid_definition")
    return found
