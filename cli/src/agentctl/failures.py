"""The messages and exit codes of commands that fail.

0: done (when waiting or watching: the run completed). 1: the run failed or was cancelled. 2: usage or bad input.
3: AgentFlow can't be reached. 4: not authenticated or not allowed. 130: interrupted.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from typing import Any, Final

from agentflow_sdk.problems import Problem, error_lines

FAILED: Final = 1
BAD_INPUT: Final = 2
UNREACHABLE: Final = 3
NO_ACCESS: Final = 4
INTERRUPTED: Final = 130

_EXIT_BY_CODE: Final = {
    "invalid_argument": BAD_INPUT,
    "not_found": BAD_INPUT,
    "already_exists": BAD_INPUT,
    "failed_precondition": BAD_INPUT,
    "unavailable": UNREACHABLE,
    "deadline_exceeded": UNREACHABLE,
    "unauthenticated": NO_ACCESS,
    "permission_denied": NO_ACCESS,
}
_OPTIONS: Final = {  # the option or the argument for a field of the API, where the two have different names
    "after_ms": "--since",
    "before_ms": "--until",
    "deadline_ms": "--deadline",
    "end_ms": "--end",
    "id": "BUDGET",
    "inputs": "--input",
    "inputs_schema": "--schema",
    "keep_ms": "keep",
    "labels": "--label",
    "limit_nano_usd": "--limit",
    "prompt_ref": "name",
    "rate_per_s": "--rate",
    "repaired_body": "--body",
    "run_id": "--run",
    "start_ms": "--start",
    "tags": "--tag",
    "time_zone": "--tz",
    "until": "--pause-until",
    "values": "--set",
}
_FIELD: Final = re.compile(r"(?:filter\.)?([a-z_]+)(?:\.(.+)|\[(.+)\])?\Z")
_LINE: Final = re.compile(r"line (\d+)(?:, column (\d+))?(?:, (.*))?\Z")


class CliError(Exception):
    """A failure of the command line itself: a message with its place, and the fix."""

    def __init__(self, message: str, *, fix: str = "", exit_code: int = BAD_INPUT) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.exit_code = exit_code


def exit_code_of(error: BaseException) -> int:
    """Returns the exit code of an error. Errors of the SDK and of agentflow_common have the same codes."""
    if isinstance(error, CliError):
        return error.exit_code
    if isinstance(error, OSError):
        return BAD_INPUT
    return _EXIT_BY_CODE.get(str(getattr(error, "code", "")), FAILED)


def is_expected(error: BaseException) -> bool:
    """True for an error that has a message for users."""
    return isinstance(error, CliError | OSError) or (hasattr(error, "problems") and hasattr(error, "code"))


def options_of(command: Any) -> frozenset[str]:
    """Returns the options and the arguments of a command as its help writes them: `--limit`, `NAME`."""
    shown: set[str] = set()
    for parameter in getattr(command, "params", ()):
        is_argument = parameter.param_type_name == "argument"
        shown.update([parameter.metavar or parameter.name] if is_argument else parameter.opts)
    return frozenset(shown)


def lines_of(error: BaseException, source: str = "", options: Container[str] = ()) -> list[str]:
    """Returns an error as the user reads it.

    source: the file that `line N` in the problems' places belongs to.
    options: the options of the command; the place of a problem is shown as one of them.
    """
    if isinstance(error, CliError):
        return [error.message, *([f"  {error.fix}"] if error.fix else [])]
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return [f"{where}{error.strerror or error}"]
    if not is_expected(error):
        return [
            f"unexpected {type(error).__name__}: {error}",
            "  run the command again with --debug for the traceback, and report it",
        ]
    message = str(getattr(error, "message", "") or error)
    problems: Sequence[Any] = getattr(error, "problems", ())
    return [*error_lines(message, problems, lambda place: _shown(place, source, options)), *_advice(error)]


def problem_line(problem: Any, source: str = "") -> str:
    """Returns a problem in one line: `FILE:12: dag.nodes[0].type: unknown node type 'x' (use one of ...)`."""
    return str(Problem(_in_file(problem.place, source), problem.message, problem.fix))


def _shown(place: str, source: str, options: Container[str]) -> str:
    return _in_file(_as_option(place, options), source)


def _as_option(place: str, options: Container[str]) -> str:
    """Returns the option for a field of the API: `--input key` for `inputs.key`. Other places stay.

    The place `filter` as a whole is empty: a command line has no word for all the options that choose something.
    """
    match = _FIELD.match(place)
    if match is None or not options:
        return place
    field = match[1]
    names = (_OPTIONS.get(field, ""), f"--{field.replace('_', '-')}", field.upper(), field)
    option = next((name for name in names if name and name in options), "")
    if option:
        part = match[2] or match[3] or ""
        return option if part.isdecimal() else f"{option} {part}".rstrip()  # a number is a place in a list
    return "" if place == "filter" else place


def _in_file(place: str, source: str) -> str:
    """Returns a place in the file `source`: `line 12, dag` is `FILE:12: dag`. Other places stay."""
    match = _LINE.match(place)
    if match is None or not source:
        return place
    column = f":{match[2]}" if match[2] else ""
    return f"{source}:{match[1]}{column}" + (f": {match[3]}" if match[3] else "")


def _advice(error: BaseException) -> list[str]:
    code = getattr(error, "code", "")
    if code == "unavailable" and not getattr(error, "kind", ""):
        return ["  start the embedded stack with `agentctl up`, or name another with --endpoint or AGENTFLOW_ENDPOINT"]
    wait_s = getattr(error, "retry_after_s", None)
    if code == "resource_exhausted" and wait_s is not None:
        return [f"  nothing was started; send it again in {wait_s:g} s, or have the gateway's bounds raised"]
    if code == "unauthenticated":
        return ["  pass the API key with --token, AGENTFLOW_TOKEN or `agentctl config set token -`"]
    return []
