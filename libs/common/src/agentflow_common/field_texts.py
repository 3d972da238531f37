"""The texts below the fields of a model, which docs/schema and docs/settings.md show.

They are read from the source when a document is made. A process that makes none does not pay for them.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise

from pydantic import BaseModel


def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """Returns the text below each field of a model, by the field's name. A base's text counts until a subclass's."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if getattr(base, "model_fields", None):
            found |= _by_class(base.__module__)[base.__name__]
    return {name: found[name] for name in model.model_fields if name in found}


@cache
def _by_class(module: str) -> dict[str, dict[str, str]]:
    """Returns the texts below the fields of each class of a module. No two models of a module share a name."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: _below_fields(node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def _below_fields(node: ast.ClassDef) -> dict[str, str]:
    found: dict[str, str] = {}
    for statements in pairwise(node.body):
        match statements:
            case ast.AnnAssign(ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                found[name] = inspect.cleandoc(text)
    return found
