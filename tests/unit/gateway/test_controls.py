"""What the gateway decides about controls, without servers: admission, signals, answers, batches, lanes, nesting."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.base import SUBWORKFLOW_DEPTH_MAX
from agentflow_common.definition.parse import parse_text
from agentflow_common.errors import AgentFlowError, InvalidError, OverloadedError
from agentflow_common.lanes.fold import LaneState
from agentflow_common.runs.state import Answer, RunState, StepState, StepStatus
from agentflow_common.runs.waiting import Pool
from agentflow_gateway.auth_rules import Identity
from agentflow_gateway.backpressure.admission import RETRY_AFTER_MS_MAX, SETTLE_MS, Admission, Bounds, Report
from agentflow_gateway.controls import approval_rules, batch
from agentflow_gateway.definitions import pin_subworkflows
from agentflow_gateway.operations import lanes
from agentflow_gateway.operations.controls_bucket import LaneSetting
from agentflow_gateway.operations.lanes import LaneChange
from agentflow_gateway.runs.projection import approvals_of, may_concern_approvals, rows_of
from agentflow_gateway.store.runs import RunFilter

# --- admission ---


def refused(admission: Admission, org_active: int = 0) -> OverloadedError | None:
    try:
        admission.check("acme", org_active)
    except OverloadedError as error:
        return error
    return None


def test_what_was_accepted_counts_until_every_scheduler_has_told_of_it() -> None:
    admission = Admission(Bounds(active_runs=5))
    admission.report("s1", Report(active_runs=2, at=1000))
    for at in (1100, 1200, 1300):
        assert refused(admission) is None
        admission.accepted(at)
    error = refused(admission)
    assert error is not None
    assert (error.code, error.kind, error.retryable) == ("resource_exhausted", "too_many_active", True)
    assert error.retry_after_ms is not None and 1000 <= error.retry_after_ms <= RETRY_AFTER_MS_MAX
    admission.report("s1", Report(active_runs=3, at=1250 + SETTLE_MS))
    assert admission.active == 3 + 2, "what came late may not be in it"
    admission.report("s1", Report(active_runs=4, at=2000 + SETTLE_MS))
    assert (admission.active, refused(admission)) == (4, None)


def test_the_steps_that_are_offered_to_a_pool_are_those_of_all_schedulers() -> None:
    admission = Admission(Bounds())
    assert admission.offered() == {}
    admission.report("s1", Report(at=1, pools={"default": 2, "gpu": 1}))
    admission.report("s2", Report(at=1, pools={"gpu": 4}))
    admission.report("s3", Report(at=1))
    assert admission.offered() == {"default": 2, "gpu": 5}
    admission.gone("s2")
    assert admission.offered() == {"default": 2, "gpu": 1}


def test_a_silent_scheduler_s_runs_are_not_forgotten() -> None:
    admission = Admission(Bounds(active_runs=3))
    admission.report("s1", Report(active_runs=3, at=1000))
    admission.gone("s1")
    assert refused(admission) is not None


@pytest.mark.parametrize(
    ("bounds", "org_active", "word"),
    [
        (Bounds(ready_steps=10), 0, "10 steps wait for workers"),
        (Bounds(rss_bytes=2**30), 0, "1,024 MiB"),
        (Bounds(org_runs=4), 4, "runs of org acme"),
    ],
)
def test_every_bound_refuses_and_says_which_it_was(bounds: Bounds, org_active: int, word: str) -> None:
    admission = Admission(bounds)
    admission.report("a", Report(active_runs=9, ready_steps=4, rss_bytes=2**29, at=1))
    admission.report("b", Report(active_runs=9, ready_steps=6, rss_bytes=2**30, at=1))
    error = refused(admission, org_active)
    assert error is not None and word in error.message
    assert refused(Admission(Bounds()), 10**9) is None, "0 is no bound"


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 700), st.integers(0, SETTLE_MS)), max_size=60))
def test_no_burst_passes_the_bound(moves: list[tuple[bool, int, int]]) -> None:
    """A model: the scheduler reports what it has seen, each run some time after it was accepted; nothing ends."""
    admission, now, times, bound = Admission(Bounds(active_runs=20)), 1000, list[int](), 20
    for is_report, passed, lag in moves:
        now += passed
        if is_report:
            admission.report("s", Report(active_runs=sum(at <= now - lag for at in times), at=now))
        elif refused(admission) is None:
            admission.accepted(now)
            times.append(now)
    assert len(times) <= bound
    assert admission.active >= len(times)


# --- signals and answers ---


def run(**steps: StepState) -> RunState:
    nodes = [{"id": "s", "type": "signal", "config": {"signal": "paid"}}, {"id": "ask", "type": "approval"}]
    return RunState(org="o", run="run_1", definition={"dag": {"nodes": nodes}}, steps=dict(steps))


@pytest.mark.parametrize("name", ["", "a b", "9", "x" * 65, "päid"])
def test_a_signal_s_name_is_checked(name: str) -> None:
    with pytest.raises(InvalidError):
        approval_rules.check_signal(run(), name)


def test_who_may_answer_is_decided_by_the_key_s_names() -> None:
    waiting = StepState(status=StepStatus.WAITING, waiting="approval", detail={"approvers": ["key_1", "bob"]})
    state = run(ask=waiting)
    ann = Identity("key_1", "o", ("write",), "ann")
    assert approval_rules.person(state, "ask", ann, "") == "key_1", "the id is a name too"
    assert (
        approval_rules.person(run(ask=StepState(status=StepStatus.WAITING, waiting="approval")), "ask", ann, "")
        == "ann"
    )
    for who, as_person in ((ann, "bob"), (Identity("key_2", "o", ("write",), "eve"), ""), (ann, "ann")):
        with pytest.raises(AgentFlowError):
            approval_rules.person(state, "ask", who, as_person)
    admin = Identity("key_3", "o", ("admin",), "root")
    assert approval_rules.person(state, "ask", admin, "bob") == "bob"


# --- batches ---


def test_a_batch_is_narrowed_to_what_its_action_can_do_and_never_finds_everything() -> None:
    for order, wanted, statuses in (
        (batch.Order("retry"), RunFilter(workflow="w"), ("failed", "cancelled")),
        (batch.Order("cancel"), RunFilter(statuses=("paused",)), ("paused",)),
        (batch.Order("pause", until=1_001), RunFilter(workflow="w"), ("pending", "running", "waiting")),
    ):
        assert batch.fitting(order, wanted, 1_000).statuses == statuses
    for order, wanted in (
        (batch.Order("cancel"), RunFilter(statuses=("failed",))),
        (batch.Order("retry"), RunFilter()),
        (batch.Order("signal"), RunFilter(workflow="w")),
        (batch.Order("pause"), RunFilter(tags={"bad name": "x"})),
        (batch.Order("pause", until=1_000), RunFilter(workflow="w")),
        (batch.Order("resume", until=1_001), RunFilter(workflow="w")),
        (batch.Order("cancel", grace_ms=5, force=True), RunFilter(workflow="w")),
        (batch.Order("cancel", grace_ms=-5), RunFilter(workflow="w")),
        (batch.Order("cancel"), RunFilter(since=2_000, until=1_000)),
        (batch.Order("cancel"), RunFilter(workflow="w", since=-1)),
        (batch.Order("cancel"), RunFilter(workflow="w@2")),
    ):
        with pytest.raises(InvalidError) as caught:
            batch.fitting(order, wanted, 1_000)
        assert caught.value.problems[0].fix


# --- lanes ---


def test_a_lane_s_setting_changes_in_parts() -> None:
    first = lanes.changed(LaneSetting(), LaneChange(limit=3), "ann", 5)
    assert first == LaneSetting(limit=3, by="ann", at=5)
    rated = lanes.changed(first, LaneChange(rate_per_s=2.5), "bob", 6)
    assert (rated.limit, rated.rate_per_s, rated.by) == (3, 2.5, "bob")
    paused = lanes.changed(rated, LaneChange(paused=True, reason="db"), "bob", 7)
    assert (paused.limit, paused.paused, paused.reason) == (3, True, "db")
    assert lanes.changed(paused, LaneChange(limit=3), "eve", 9) is paused, "nothing changes, so nothing is written"
    timed = lanes.changed(paused, LaneChange(paused=True, reason="db", until=99), "bob", 9)
    assert (timed.paused, timed.paused_until, timed.at) == (True, 99, 9)
    assert lanes.changed(timed, LaneChange(limit=5), "bob", 10).paused_until == 99
    assert lanes.changed(timed, LaneChange(paused=False), "bob", 10).paused_until == 0
    resumed = lanes.changed(paused, LaneChange(paused=False, limit=0), "bob", 8)
    assert (resumed.limit, resumed.paused, resumed.reason) == (None, False, "")


@pytest.mark.parametrize(
    "wanted",
    [
        LaneChange(),
        LaneChange(limit=-1),
        LaneChange(limit=10**9),
        LaneChange(rate_per_s=-1.0),
        LaneChange(rate_per_s=1e9),
    ],
)
def test_a_lane_s_bounds(wanted: LaneChange) -> None:
    with pytest.raises(InvalidError) as caught:
        lanes.changed(LaneSetting(), wanted, "ann", 1)
    assert caught.value.problems[0].fix


def test_a_rate_is_of_keyed_lanes() -> None:
    pool = lanes.Lane("gpu", LaneSetting(), pool=Pool(active=1))
    with pytest.raises(InvalidError, match="'gpu' is a worker pool") as caught:
        lanes.check_kind(pool, LaneChange(rate_per_s=5.0))
    assert (caught.value.kind, "keyed lane" in caught.value.problems[0].fix) == ("rate_of_a_pool", True)
    for wanted in (LaneChange(rate_per_s=0.0), LaneChange(limit=3), LaneChange(paused=True)):
        lanes.check_kind(pool, wanted)
    both = lanes.Lane("gpu", LaneSetting(), pool=Pool(), keyed=LaneState(org="o", run="lane_1", lane="gpu"))
    for lane in (both, lanes.Lane("acme-*", LaneSetting()), lanes.Lane("acme", LaneSetting())):
        lanes.check_kind(lane, LaneChange(rate_per_s=5.0))


# --- projections ---


def test_the_list_of_runs_follows_pauses_and_waits() -> None:
    at: dict[str, Any] = {"org": "o", "run": "r", "ts": 1}
    kinds = [
        (ev.RunStarted(**at, workflow="w", version=1, steps=1), "running"),
        (ev.RunWaiting(**at, steps=("a",)), "waiting"),
        (ev.RunPaused(**at), "paused"),
        (ev.RunResumed(**at), "running"),
        (ev.RunFailed(**at, error=ev.StepError("broken", "it broke")), "failed"),
    ]
    for end in range(1, len(kinds) + 1):
        (row,) = rows_of((seq + 1, event) for seq, (event, _) in enumerate(kinds[:end]))
        assert row.status == kinds[end - 1][1]
    assert row.error_type == "broken"


def test_the_last_word_of_a_batch_says_whether_an_approval_is_open() -> None:
    at: dict[str, Any] = {"org": "o", "run": "r", "ts": 1, "step": "ask", "attempt": 1}
    opened, closed = ev.StepWaiting(**at, kind="approval"), ev.StepResolved(**at, status="completed")
    assert [row.open for row in approvals_of([(1, opened)])] == [True]
    assert [row.open for row in approvals_of([(1, opened), (2, closed)])] == [False]
    assert approvals_of([(1, ev.StepWaiting(**at, kind="wait"))]) == []


def test_the_list_of_approvals_reads_only_decisions_that_may_concern_it() -> None:
    at: dict[str, Any] = {"org": "o", "run": "r", "ts": 1, "step": "ask", "attempt": 1}
    read: list[ev.Event] = [ev.StepWaiting(**at, kind="approval"), ev.StepResolved(**at, status="completed")]
    assert [may_concern_approvals(ev.encode(event)) for event in read] == [True, True]
    skipped = ev.StepSkipped(org="o", run="r", ts=1, step="ask", reason="condition")
    for nonsense in (b"[" * 99, b'{"type":"signal.received","name":"\xed"}'):
        assert may_concern_approvals(nonsense), "it goes to the dead letters"
    assert not may_concern_approvals(ev.encode(skipped))
    assert may_concern_approvals(b'{"v":1,"type":"step.skipped"}')  # written by something else: it is decoded


def test_engine_01_an_approval_whose_escalation_cannot_be_computed_is_no_longer_listed() -> None:
    at: dict[str, Any] = {"org": "o", "run": "r", "ts": 1, "step": "ask"}
    log = [
        (1, ev.StepWaiting(**at, attempt=1, kind="approval")),
        (2, ev.StepUndecidable(**at, error=ev.StepError("undecidable", "ask: escalate_to[0]: {{x}}"))),
    ]
    assert [row.open for row in approvals_of(log)] == [False]


def test_an_answer_to_an_earlier_visit_is_told_which_one_waits() -> None:
    over = StepState(
        status=StepStatus.COMPLETED, waiting="approval", answers=(Answer("ann", "reject", 1),), detail={"required": 1}
    )
    state = run(ask=over)
    state.steps["ask#2"] = StepState(status=StepStatus.WAITING, waiting="approval")
    with pytest.raises(AgentFlowError, match=r"ann has already rejected step ask; .*; step ask#2 waits now"):
        approval_rules.check_answer(state, "ask", "ann", "approve")
    with pytest.raises(AgentFlowError, match=r"step ask is decided: .*; step ask#2 waits now"):
        approval_rules.check_answer(state, "ask", "bob", "approve")


# --- nesting ---


def workflow(name: str, *children: str) -> Definition:
    nodes = "".join(
        f"\n    - {{id: n{at}, type: subworkflow, config: {{workflow: {child}}}}}" for at, child in enumerate(children)
    )
    nodes += "\n    - {id: own, type: function, config: {function_name: f}}"
    return parse_text(f"name: {name}\ndag:\n  nodes:{nodes}\n")


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.sets(st.integers(0, 7), max_size=3), min_size=1, max_size=8))
def test_cycles_and_depth_are_what_walking_the_references_finds(children: list[set[int]]) -> None:
    made = [
        workflow(f"w{at}", *(f"w{c}" for c in sorted(kids) if c < len(children))) for at, kids in enumerate(children)
    ]
    every = {item.name: pin_subworkflows.Registered(item, {}, item.name) for item in made}
    reached = {"w0"}
    for _ in made:
        reached |= {ref for name in reached for ref in every[name].definition.workflow_refs()}
    found = {name: item for name, item in every.items() if name in reached}  # what `pin` finds

    def deepest(name: str, above: tuple[str, ...]) -> int | None:
        """Runs below; None for a cycle."""
        if name in above:
            return None
        below = [deepest(ref, (*above, name)) for ref in found[name].definition.workflow_refs()]
        return None if None in below else max((1 + depth for depth in below if depth is not None), default=0)

    problems = pin_subworkflows.nesting(made[0], "w0", found)
    expected = deepest("w0", ())
    if expected is None:
        assert "would start itself without a bound" in problems[0].message
        chain = problems[0].message.split(": ")[1].split(" -> ")
        assert chain[0] == chain[-1] and len(chain) > 1
    else:
        assert bool(problems) == (expected > SUBWORKFLOW_DEPTH_MAX)
        for depth_max in (1, 3):
            fixes = [problem.fix for problem in pin_subworkflows.nesting(made[0], "w0", found, depth_max)]
            named = "put some of these levels into one workflow, or raise the setting SUBWORKFLOW_DEPTH_MAX"
            assert fixes == ([named] if expected > depth_max else [])


@pytest.mark.parametrize(
    ("node", "bounded"),
    [
        ("type: subworkflow, config: {workflow: r}", False),
        ("type: subworkflow, config: {workflow: r@1}", False),
        ("type: subworkflow, condition: n > 0, config: {workflow: r}", True),
        ("type: subworkflow, config: {workflow: r, condition: n > 0}", True),
        ("type: subworkflow, depends_on: [may], config: {workflow: r}", True),
        ("type: subworkflow, depends_on: [must], config: {workflow: r}", False),
        ("type: subworkflow, depends_on: [may, must], config: {workflow: r}", False),
        ("type: map, config: {over: '{{parts}}', body: {type: subworkflow, config: {workflow: r}}}", True),
        ("type: subworkflow, config: {workflow: r, parallel: true, inputs: {xs: '{{parts}}'}}", True),
        ("type: loop, config: {until: n, max_iterations: 2, body: {type: subworkflow, config: {workflow: r}}}", False),
        ("type: loop, config: {while: n, max_iterations: 2, body: {type: subworkflow, config: {workflow: r}}}", True),
        ("type: subworkflow, config: {workflow: other}", False),
        ("type: subworkflow, condition: n > 0, config: {workflow: other}", True),
    ],
)  # fmt: skip
async def test_a_workflow_may_start_itself_under_a_condition(node: str, bounded: bool) -> None:
    other = workflow("other", "r")

    async def find(ref: str) -> pin_subworkflows.Registered:
        assert ref != "r" or "other" in node, "its own name is this very definition, registered or not"
        made, digest = (other, "other") if ref == "other" else (root, "root")
        return pin_subworkflows.Registered(made, made.canonical(), digest)

    nodes = [
        "{id: must, type: wait, config: {duration: 1}}",
        "{id: may, type: wait, condition: n > 1, config: {duration: 1}}",
        f"{{id: s, {node}}}",
    ]
    root = parse_text(f"name: r\ndag: {{nodes: [{', '.join(nodes)}]}}\n")
    pinned = await pin_subworkflows.pin(root, "root", find)
    told = [problem.message for problem in pinned.problems]
    assert (not told) is bounded, told
    assert bounded or "would start itself without a bound: " in told[0]
    if "other" not in node:
        assert list(pinned.definitions.values()) == [root.canonical()]


async def test_more_subworkflows_than_may_be_pinned_are_refused() -> None:
    async def find(ref: str) -> pin_subworkflows.Registered:
        return pin_subworkflows.Registered(workflow(ref), {}, ref)

    root = workflow("top", *(f"w{at}" for at in range(pin_subworkflows.COUNT_MAX + 1)))
    pinned = await pin_subworkflows.pin(root, "top", find)
    assert f"more than {pin_subworkflows.COUNT_MAX} subworkflows" in pinned.problems[0].message
    fits = await pin_subworkflows.pin(
        workflow("top", *(f"w{at}" for at in range(pin_subworkflows.COUNT_MAX))), "top", find
    )
    assert (fits.problems, len(fits.definitions)) == ((), pin_subworkflows.COUNT_MAX)


async def test_arguments_of_a_subworkflow_are_checked_before_it_starts() -> None:
    child = parse_text(
        "name: leaf\ninputs: {a: {type: string}, b: {type: string, required: false}}\n"
        "dag: {nodes: [{id: n, type: function, config: {function_name: f}}]}\n"
    )

    async def find(_ref: str) -> pin_subworkflows.Registered:
        return pin_subworkflows.Registered(child, {}, "leaf")

    text = "name: top\ndag: {nodes: [{id: s, type: subworkflow, config: {workflow: leaf, inputs: {c: 1}}}]}\n"
    problems = (await pin_subworkflows.pin(parse_text(text), "top", find)).problems
    assert [str(item).split(" (")[0] for item in problems] == [
        "dag.nodes[0].config.inputs.c: leaf@1 has no such input",
        "dag.nodes[0].config.inputs: leaf@1 needs the input 'a'",
    ]
    graph = parse_text("name: top\nentry_point: s\nnodes: [{name: s, workflow: leaf}]\n")
    assert not (await pin_subworkflows.pin(graph, "top", find)).problems, "its inputs come from the shared state"
