"""Gives a client's method the name, signature and docstring that `help()` and editors show."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from typing import Any, Final

_ANSWER: Final = re.compile(r"(?:[\w.]*\.)?Call\[(.*)\]\Z", re.S)


def dress(method: Any, build: Callable[..., Any], name: str, owner: type, *, unbound: bool) -> Any:
    """Returns `method` with the parameters and docstring of `build` and the answer's type as what it returns.

    unbound: the method of the class, which takes `self` first.
    """
    method.__name__ = name
    method.__qualname__ = f"{owner.__qualname__}.{name}"
    method.__module__ = owner.__module__
    method.__doc__ = build.__doc__
    method.__signature__ = signature(build, unbound=unbound)
    return method


def signature(build: Callable[..., Any], *, unbound: bool) -> inspect.Signature:
    """Returns the signature of the method that sends what `build` builds."""
    plain = inspect.signature(build)
    try:
        hints = typing.get_type_hints(build)
    except NameError:  # a name that only type checkers see
        hints = {}
    parameters = [
        parameter.replace(annotation=hints.get(parameter.name, parameter.annotation))
        for parameter in plain.parameters.values()
    ]
    if unbound:
        parameters.insert(0, inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY))
    answer = hints.get("return", plain.return_annotation)
    if isinstance(answer, str):
        match = _ANSWER.match(answer)
        answer = match[1] if match else answer
    else:
        (answer,) = typing.get_args(answer) or (answer,)
    return plain.replace(parameters=parameters, return_annotation=answer)
