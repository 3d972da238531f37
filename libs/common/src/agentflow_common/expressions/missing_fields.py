"""The message for a condition that reads a field that does not exist: which fields exist at that place. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from agentflow_common import hints
from agentflow_common.expressions import null_safe
from agentflow_common.json_values import escaped

FIELDS_SHOWN_MAX: Final = 12
_PATH: Final = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*(?!\w|\s*\())+")


def missing(text: str, variables: Mapping[str, Any], key: str) -> str:
    """Returns `there is no field 'scor' in judge.output, which has score, label (did you mean 'score'?)`.

    text: the condition.
    key: the field that was not found.
    """
    for path in _PATH.findall(null_safe.STRING.sub("''", text)):
        first, *parts = (part.strip() for part in path.split("."))
        value: Any = variables.get(first)
        walked = first
        for part in parts:
            if not isinstance(value, Mapping):
                break
            if part not in value:
                if part == key:
                    return _message(walked, value, key)
                break
            value, walked = value[part], f"{walked}.{part}"
    return f"there is no field {key!r}; use has(...) to ask"


def _message(place: str, value: Mapping[str, Any], key: str) -> str:
    names = sorted(map(str, value))
    shown = ", ".join(names[:FIELDS_SHOWN_MAX]) + (", ..." if len(names) > FIELDS_SHOWN_MAX else "")
    hint = hints.did_you_mean(key, names, "use has(...) to ask whether it is there")
    return escaped(f"there is no field {key!r} in {place}, which has {shown or 'no fields'} ({hint})")
