"""Groups of runs as options name them: `tag:prompt=new,workflow:review@2,since:7d`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agentctl import values
from agentctl.failures import CliError

if TYPE_CHECKING:
    from agentflow_sdk import TraceGroup

_NAMES: Final = ("tag", "workflow", "version", "model", "prompt", "status", "since", "until")
_FIX: Final = f"write NAME:VALUE, several with commas; the names are {', '.join(_NAMES)}"


def parse(text: str) -> TraceGroup:
    """Returns the group that an option names. Raises CliError for what it can't read."""
    from agentflow_sdk import TraceGroup

    tags: list[str] = []
    fields: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, colon, value = part.partition(":")
        if not colon or not value or name not in _NAMES:
            raise CliError(f"--group {text}: {part!r} names no runs", fix=_FIX)
        if name == "tag":
            tags.append(value)
        elif name in {"since", "until"}:
            fields["start_ms" if name == "since" else "end_ms"] = values.parse_time(value)
        elif name == "version":
            fields[name] = _version(text, value)
        elif name == "workflow" and "@" in value:
            fields[name], _, version = value.partition("@")
            fields["version"] = _version(text, version)
        else:
            fields[name] = value
    if not tags and not fields:
        raise CliError("--group names no runs", fix=_FIX)
    return TraceGroup(tags=tuple(tags), **fields)


def _version(text: str, value: str) -> int:
    if not value.isdecimal() or not 0 < int(value) < 2**31:
        raise CliError(f"--group {text}: {value!r} is not a version", fix="write a number such as version:2")
    return int(value)
