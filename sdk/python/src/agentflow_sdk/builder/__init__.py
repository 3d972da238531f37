"""The fluent builder of workflow definitions.

>>> flow = (
...     Workflow("document_analysis").version(1)
...     .tool("ingest", "file.read", path="{{document_key}}")
...     .llm("analyze", "document_analyzer@1").quality("Gold").sla(seconds=30)
...     .inputs(content="ingest.output.text").depends_on("ingest")
... )

`tool`, `llm`, `function`, `map`, `approval`, ... add a node; the modifiers after it (`quality`, `inputs`, `retry`, ...)
apply to that node.
The result is the same definition that YAML gives; the server checks it in full, `validate()` checks its structure here.
"""

from __future__ import annotations

from agentflow_sdk.builder import body
from agentflow_sdk.builder.workflow import Workflow

__all__ = ["Workflow", "body"]
