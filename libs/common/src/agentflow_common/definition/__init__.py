"""Workflow definitions: the model, how text becomes one, and how two of them differ."""

__all__ = [
    "checks",
    "dependencies",
    "diff",
    "durations",
    "edge_arguments",
    "inputs",
    "json_schema",
    "model",
    "nodes",
    "parse",
    "rates",
    "walks",
    "yaml_text",
]
