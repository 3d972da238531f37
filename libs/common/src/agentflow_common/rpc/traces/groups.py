"""The question to the trace service about the differences of two groups of runs."""

from __future__ import annotations

from agentflow_common.rpc.verbs import Message, Verb

RUNS_MAX = 500  # of a group
RUNS_MIN = 5  # of a group: fewer say nothing about others


class RunGroup(Message, frozen=True):
    """The finished runs that fit; empty texts and zeros don't filter. Times in ms since the epoch."""

    tags: tuple[str, ...] = ()  # `KEY=VALUE`, or a value that any tag may have
    workflow: str = ""
    version: int = 0
    model: str = ""
    prompt: str = ""  # `name@version`
    status: str = ""
    start_ms: int = 0
    end_ms: int = 0


class TraceGroupsRequest(Message, frozen=True):
    """Asks for the differences of two groups of runs of one org. Of more runs than `runs_max` the newest count."""

    org: str
    a: RunGroup
    b: RunGroup
    runs_min: int = RUNS_MIN
    runs_max: int = 200
    min_seq: int = 0  # wait (bounded) until the derived tables have AF_EVENTS up to here


class GroupSide(Message, frozen=True):
    """One of the groups."""

    runs: int
    completed: int
    failed: int
    cancelled: int
    workflow: str  # of the newest run, whose definition names the steps
    version: int


class GroupMeasure(Message, frozen=True):
    """A quantity in both groups, and the 95% interval of the difference of the medians."""

    name: str  # `cost`, `time`, `wait`, `tokens`, `attempts` or `failures`
    unit: str  # `nano_usd`, `ms`, `tokens`, `attempts`, or `per_million` for a share of runs
    a: int  # the median (lower one of two); of `failures` the share
    b: int
    change: int  # b minus a
    low: int  # the interval of `change`
    high: int
    p_value: float = 1.0  # that equal groups differ as much; corrected for the number of measures
    significant: bool = False


class GroupStep(Message, frozen=True):
    """A node in both groups. An empty name: the group's definition does not have it."""

    a: str
    b: str
    a_runs: int  # runs in which the node did something
    b_runs: int
    measures: tuple[GroupMeasure, ...] = ()


class TraceGroupsReply(Message, frozen=True):
    """The differences from group `a` to group `b`. Steps with the greatest significant changes come first."""

    a: GroupSide
    b: GroupSide
    enough: bool  # both groups have `runs_min` runs; otherwise nothing is called significant
    summary: str
    method: str  # how intervals and significance are computed
    measures: tuple[GroupMeasure, ...] = ()  # of whole runs
    steps: tuple[GroupStep, ...] = ()


TRACE_GROUPS = Verb("trace", "diff_groups", TraceGroupsRequest, TraceGroupsReply, 30.0)
