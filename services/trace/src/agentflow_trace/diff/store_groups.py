"""The SQL that reads groups of runs from the derived tables."""

from __future__ import annotations

from typing import Any, Final

from agentflow_common.connections.clickhouse import ClickHouse
from agentflow_common.rpc import RunGroup
from agentflow_trace.diff.groups import NodeSample, RunSample, Sample

ENDED: Final = ("completed", "failed", "cancelled")


class GroupStore:
    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def sample(self, org: str, group: RunGroup, runs_max: int) -> Sample:
        """Returns the newest finished runs that fit."""
        where, values = _conditions(group)
        found = await self._clickhouse.query(
            "SELECT run, workflow, version, status, cost_nano, duration_ms, input_tokens + output_tokens "  # noqa: S608
            f"FROM runs FINAL WHERE org = {{org:String}} AND status IN {ENDED}{where} "
            "ORDER BY submitted_at DESC, run DESC LIMIT {limit:UInt32}",
            {**values, "org": org, "limit": runs_max},
        )
        runs = [RunSample(*values) for values in found]
        if not runs:
            return Sample((), ())
        found = await self._clickhouse.query(
            "SELECT run, node, sum(cost_nano), toInt64(round(sumIf(duration_ms, NOT has_parts))), "
            "toInt64(sumIf(wait_ms, NOT has_parts)), toInt64(sum(input_tokens + output_tokens)), "
            "toInt64(countIf(attempt > 0 AND NOT has_parts)) FROM (SELECT run, node, cost_nano, duration_ms, wait_ms, "
            "input_tokens, output_tokens, attempt, "
            "kind IN ('map', 'loop') AND NOT match(step, '[\\\\[@]') AS has_parts "
            "FROM steps FINAL WHERE org = {org:String} AND run IN {runs:Array(String)} AND status != 'skipped') "
            "GROUP BY run, node",
            {"org": org, "runs": [run.run for run in runs]},
        )
        return Sample(runs, [NodeSample(*values) for values in found])


def _conditions(group: RunGroup) -> tuple[str, dict[str, Any]]:
    parts: list[str] = []
    values: dict[str, Any] = {}
    for number, tag in enumerate(group.tags):
        key, equals, value = tag.partition("=")
        if equals:
            parts.append(f"tags[{{key_{number}:String}}] = {{value_{number}:String}}")
            parts.append(f"mapContains(tags, {{key_{number}:String}})")
            values |= {f"key_{number}": key, f"value_{number}": value}
        else:
            parts.append(f"has(mapValues(tags), {{value_{number}:String}})")
            values[f"value_{number}"] = key
    for name, kind in (("workflow", "String"), ("version", "UInt32"), ("status", "String")):
        if getattr(group, name):
            parts.append(f"{name} = {{{name}:{kind}}}")
            values[name] = getattr(group, name)
    for name, column in (("model", "models"), ("prompt", "prompts")):
        if getattr(group, name):
            parts.append(f"has({column}, {{{name}:String}})")
            values[name] = getattr(group, name)
    for name, sign in (("start_ms", ">="), ("end_ms", "<=")):
        if getattr(group, name):
            parts.append(f"submitted_at {sign} fromUnixTimestamp64Milli({{{name}:Int64}})")
            values[name] = getattr(group, name)
    return "".join(f" AND {part}" for part in parts), values
