"""Reads definitions of other engines and writes them as definitions of AgentFlow.

Each engine has one module of mapping. They share the parts of an expression (`expression`), the reader of expressions
(`infix`), the steps and links of a workflow (`flow`) and the author's text with its lines (`source`). Pure.
"""

__all__ = ["convert"]
