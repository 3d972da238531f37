"""The tool that the predecessors' users had written themselves."""

from __future__ import annotations

from typing import Any

from agentflow_worker.registry import tool


@tool("image_analyzer", idempotent=True)
async def image_analyzer(content: str) -> dict[str, Any]:
    """Looks at what is known of an image."""
    return {"image": content.partition(" ")[0], "size": len(content)}
