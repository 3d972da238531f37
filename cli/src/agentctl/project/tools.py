"""Tools and functions of this project: `agentctl up --load tools.py` gives them to the worker."""

from typing import Any

from agentflow_worker.registry import function


@function("PROJECT.greet")
def greet(name: str) -> dict[str, str]:
    """Returns a greeting."""
    return {"text": f"Hello, {name}."}


@function("PROJECT.gather")
def gather(files: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the texts of files as one text."""
    return {"count": len(files), "text": "\n\n".join(file["text"] for file in files)}
