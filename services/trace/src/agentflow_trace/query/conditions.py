"""The filters of a query as conditions of SQL over `runs`, with their bound values. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from agentflow_common.errors import InvalidError
from agentflow_common.rpc import EVERY_ORG, WORDS_MAX, TraceQueryRequest

_WORD: Final = re.compile(r"[^\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+")  # as the index of texts splits them
_SAME_ORG: Final = "org = {org:String}"

# a condition of a number or a text, by the field of the request
_PLAIN: Final = {
    "start_ms": "submitted_at >= fromUnixTimestamp64Milli({start_ms:Int64})",
    "end_ms": "submitted_at <= fromUnixTimestamp64Milli({end_ms:Int64})",
    "provider": "has(providers, {provider:String})",
    "model": "has(models, {model:String})",
    "prompt": "arrayExists(name -> name = {prompt:String} OR startsWith(name, concat({prompt:String}, '@')), prompts)",
    "workflow": "workflow = {workflow:String}",
    "version": "version = {version:UInt32}",
    "status": "status = {status:String}",
    "min_cost_nano": "cost_nano >= {min_cost_nano:Int64}",
    "max_cost_nano": "cost_nano <= {max_cost_nano:Int64}",
    "min_duration_ms": "finished_at > 0 AND duration_ms >= {min_duration_ms:UInt64}",
    "max_duration_ms": "finished_at > 0 AND duration_ms <= {max_duration_ms:UInt64}",
}
_TIMES: Final = ("start_ms", "end_ms")
VALUE_OF_SORT: Final = {
    "newest": "toUnixTimestamp64Milli(submitted_at)",
    "cost": "cost_nano",
    "latency": "toInt64(duration_ms)",
    "tokens": "toInt64(input_tokens + output_tokens)",
}


def words(text: str) -> list[str]:
    """Returns the words of a text, in lower case, each once: runs of letters and digits.

    Raises InvalidError if there is none, or if there are too many.
    """
    found = list(dict.fromkeys(word.lower() for word in _WORD.findall(text)))
    if not found:
        raise InvalidError.at("text", f"{text[:40]!r} has no word to search for", "give letters or digits")
    if len(found) > WORDS_MAX:
        raise InvalidError.at("text", f"{len(found)} words are too many", f"search for at most {WORDS_MAX}")
    return found


def conditions(request: TraceQueryRequest) -> tuple[str, dict[str, Any]]:
    """Returns the condition that a row of `runs` must meet, and its bound values.

    Raises InvalidError for a text without words.
    """
    given = [name for name in _PLAIN if getattr(request, name)]
    values: dict[str, Any] = {name: getattr(request, name) for name in given}
    # that of an index of another table
    same = [_SAME_ORG] if request.org != EVERY_ORG else []
    if same:
        values["org"] = request.org
    bounds = [*same, *(_PLAIN[name] for name in _TIMES if name in given)]
    parts = [*same, *(_PLAIN[name] for name in given)]
    for number, (key, value) in enumerate(sorted(request.tags.items())):
        parts.append(
            f"mapContains(tags, {{tag{number}:String}}) AND tags[{{tag{number}:String}}] = {{is{number}:String}}"
        )
        values |= {f"tag{number}": key, f"is{number}": value}
    if request.node:
        parts.append(_of_steps("node = {node:String}", bounds))
        values["node"] = request.node
    if request.error_type:
        parts.append(f"(error_type = {{error_type:String}} OR {_of_steps('error_type = {error_type:String}', bounds)})")
        values["error_type"] = request.error_type
    if request.text:
        parts.append(_of_text(same))
        values["words"] = words(request.text)
    return " AND ".join(parts) or "1", values


def _of_steps(condition: str, bounds: list[str]) -> str:
    where = " AND ".join([*bounds, condition])
    return f"(org, submitted_at, run) IN (SELECT org, submitted_at, run FROM steps FINAL WHERE {where})"  # noqa: S608


def _of_text(same: list[str]) -> str:
    """Returns the condition that the words occur in one output or error: `text` has an index (migration 0008)."""
    where = " AND ".join([*same, "hasAllTokens(text, {words:Array(String)})"])
    return f"(org, run) IN (SELECT org, run FROM events WHERE {where})"  # noqa: S608
