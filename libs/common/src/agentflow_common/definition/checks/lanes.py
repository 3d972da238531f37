"""Checks of the lanes of nodes and of runs beyond the schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agentflow_common.definition.checks.names import template_findings
from agentflow_common.definition.checks.values import Values
from agentflow_common.definition.model import BUILT_IN, Definition
from agentflow_common.definition.nodes.calls import Work, works
from agentflow_common.definition.nodes.run_lane import RunLane
from agentflow_common.definition.nodes.types import AnyNode
from agentflow_common.definition.rates import RATE_MAX, RATE_MIN, per_second
from agentflow_common.expressions import language as expressions
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.places import Finding, Place

LANE_FIXES: Final = {  # by field: the fix for a text that does not match the field's pattern
    "lane": "name a worker pool by up to 64 letters, digits, '-' and '_', or write a template: '{{org}}-{{customer}}'",
    "pool": "name a worker pool by up to 64 letters, digits, '-' and '_'",
    "lane_rate": "write how many in a second, a minute or an hour: 10/s, 100/m, 500/h",
    "rate": "write how many in a second, a minute or an hour: 10/s, 100/m, 500/h",
}


def lane_findings(node: AnyNode) -> Iterator[tuple[str, str, str]]:
    """Yields the problems of a node's lane as (field, message, fix)."""
    if not node.is_keyed:
        for field in ("lane_limit", "lane_rate", "pool"):
            if field in node.model_fields_set:
                live = ": a pool has no rate" if field == "lane_rate" else ": a pool's limit is set live"
                fix = f"make `lane` a template such as '{{{{org}}}}-{{{{customer}}}}', or remove it{live}"
                yield field, f"`{field}` only works with keyed lanes; {node.lane!r} is a worker pool", fix
        return
    if not any(work.path[0] == "config" and work.type != "subworkflow" for work in works(node)):
        yield "lane", f"nodes of type {node.type} take no slot of a lane", "put the lane on the steps that do the work"
    if node.lane_rate is not None and not RATE_MIN <= per_second(node.lane_rate) <= RATE_MAX:
        yield "lane_rate", f"{node.lane_rate!r} is out of range", f"use 0.05/h at least, {RATE_MAX:g}/s at most"


def run_lane_findings(definition: Definition) -> Iterator[Finding]:
    """Yields the problems of the lane of a workflow's runs."""
    lane = definition.run_lane
    if lane is None:
        return
    yield from rate_findings(lane, ("run_lane",))
    early = _early(definition, lane.key)
    if early:
        text = f"a run takes its slot before its first step, so the key can't use {early!r}"
        yield ("run_lane", "key"), text, "use inputs, tags, org or workflow, as in '{{customer}}'"
    elif expressions.is_template(lane.key):
        yield from template_findings(("run_lane", "key"), lane.key, (), BUILT_IN, definition.inputs)


def given_lane_findings(work: Work, here: Place, values: Values) -> Iterator[Finding]:
    """Yields the problems of the lane that a node gives the run of its subworkflow."""
    lane: RunLane | None = getattr(work.config, "run_lane", None)
    if lane is not None:
        yield from rate_findings(lane, (*here, "run_lane"))
        yield from values.check((*here, "run_lane", "key"), lane.key)


def rate_findings(lane: RunLane, here: Place) -> Iterator[Finding]:
    """Yields the problem of a run lane's rate, if it has one."""
    if lane.rate is not None and not RATE_MIN <= per_second(lane.rate) <= RATE_MAX:
        fix = f"use 0.05/h at least, {RATE_MAX:g}/s at most"
        yield (*here, "rate"), f"{lane.rate!r} is out of range", fix


def _early(definition: Definition, key: str) -> str:
    """Returns a name in a run lane's key that has no value before the first step, or an empty text."""
    if expressions.parse_reference(key) is not None:
        return key
    try:
        used = expressions.template(key).variables if expressions.is_template(key) else ()
    except ExpressionError:
        return ""  # template_findings reports it
    later = {"state", *(node.id for node in definition.dag.nodes)} - set(definition.inputs)
    return next((name for name in sorted(used) if name in later), "")
