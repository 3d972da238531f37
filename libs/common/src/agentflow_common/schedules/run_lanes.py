"""The run lane that a schedule gives its runs: its problems, and the lane of one fire. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agentflow_common.definition.checks.lanes import rate_findings
from agentflow_common.definition.nodes.run_lane import RunLane
from agentflow_common.definition.rates import per_second
from agentflow_common.errors import InvalidError
from agentflow_common.events import LaneAsk
from agentflow_common.expressions import language as expressions
from agentflow_common.lanes.fold import RUN_LANE
from agentflow_common.lanes.names import lane_name
from agentflow_common.places import Finding


def lane_findings(lane: RunLane | None) -> Iterator[Finding]:
    """Yields what is wrong with the rate of a schedule's run lane."""
    if lane is not None:
        yield from rate_findings(lane, ("run_lane",))


def asked_lane(lane: RunLane | None, org: str, variables: Mapping[str, Any]) -> LaneAsk | None:
    """Returns the lane of one fire; None if the schedule names none. Raises InvalidError for its key.

    variables: those of the templates of the schedule.
    """
    if lane is None:
        return None
    try:
        key = expressions.template(lane.key).render(variables) if expressions.is_template(lane.key) else lane.key
        name = lane_name(RUN_LANE, org, key)
    except InvalidError as error:
        raise InvalidError(f"run_lane.key: {error.message}") from None
    return LaneAsk(name, lane.limit, None if lane.rate is None else per_second(lane.rate), lane.policy)
