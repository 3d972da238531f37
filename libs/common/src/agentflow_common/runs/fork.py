"""Forks and retries: which steps of a run keep their result in a new run, and what the new run changes. Pure.

A fork at a step keeps the results of all steps that this one does not lead to. A retry keeps all results of steps that
succeeded. The kept results become the new run's `seed`. They are folded into its steps before anything is decided, so
the engine goes on from there. A step that its compensation has undone is never kept, nor are the steps after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from agentflow_common import hints
from agentflow_common.definition.dependencies import TIMED_OUT, waits_for
from agentflow_common.definition.model import Definition
from agentflow_common.definition.nodes.calls import all_templates, map_levels
from agentflow_common.definition.parse import parse_dict
from agentflow_common.definition.walks import reachable, turned
from agentflow_common.errors import InvalidError, NotFoundError, Problem, TerminalError
from agentflow_common.events import PROMPT, SeedPosition
from agentflow_common.expressions import language as expressions
from agentflow_common.places import texts
from agentflow_common.runs.fork_parts import partial, reopened
from agentflow_common.runs.parts import whole_of
from agentflow_common.runs.races import without_open_races
from agentflow_common.runs.state import (
    SETTLED,
    UNDO,
    RunState,
    RunStatus,
    StepState,
    StepStatus,
    node_of,
    parent_of,
    present_keys,
    undo_key,
)

SEED_BYTES_MAX: Final = 3 * 1024 * 1024  # it stands in `run.submitted`, whose message may have 8 MiB
_BODY: Final = frozenset({"map", "loop"})
_ARGUMENTS: Final = {"tool": "tool_args", "function": "function_args"}
_MODEL: Final = re.compile(r"[^/\s]+/\S+\Z")


class Changes(msgspec.Struct, frozen=True):
    """The changes that a new run makes to its origin's definition and inputs."""

    inputs: dict[str, Any] = {}  # merged over the run's inputs
    prompts: dict[str, str] = {}  # by node id: the reference of the prompt
    models: dict[str, str] = {}  # by node id: `provider/model`
    step_inputs: dict[str, dict[str, Any]] = {}  # by node id: merged over the node's arguments

    @property
    def nodes(self) -> tuple[str, ...]:
        """Returns the nodes whose definition changes."""
        return tuple(dict.fromkeys([*self.prompts, *self.models, *self.step_inputs]))


_NONE: Final = Changes()


class Seed(msgspec.Struct):
    """The part of a run that a fork keeps."""

    steps: dict[str, StepState]  # the kept steps by key
    position: SeedPosition = SeedPosition()  # where the run stands in its loops or its graph
    again: frozenset[str] = frozenset()  # nodes that run again; earlier visits of them may be kept

    @property
    def kept(self) -> tuple[str, ...]:
        """Returns the keys of the steps whose result is kept."""
        return tuple(key for key, step in self.steps.items() if step.status in SETTLED)


def check_step(state: RunState, definition: Definition, at: str) -> str:
    """Returns the node that the step key belongs to.

    Raises NotFoundError for a key that is not a step of the run, or has not begun in it.
    """
    node = node_of(at)
    if node in _last(definition):
        text = f"{at!r} runs when the run ends, so it runs again in every fork"
        raise InvalidError.at("at", text, "fork at another step")
    known = [item.id for item in definition.dag.nodes]
    if node not in known:
        hint = hints.did_you_mean(node, known, f"its steps are {', '.join(known[:12])}", most=3, cutoff=0.5)
        raise NotFoundError(f"run {state.run} has no step {at[:80]!r}; {hint}", kind="unknown_step")
    if at.endswith(UNDO):
        fix = f"fork at {at.removesuffix(UNDO)}"
        raise InvalidError.at("at", f"{at!r} is a compensation", fix)
    whole = parent_of(at)
    if whole is not None and at not in state.steps:
        parts = [key for key in state.steps if parent_of(key) == whole and not key.endswith(UNDO)]
        fix = f"it has begun {', '.join(parts[:12])}" if parts else f"{whole!r} has begun no parts"
        raise NotFoundError(f"run {state.run} has no step {at!r}; {fix}", kind="unknown_step")
    if at != node and at not in state.steps:
        visits = state.visits.get(node, 1)
        fix = f"it has run {visits} time{'s' if visits != 1 else ''}" + (f", newest {node}#{visits}" * (visits > 1))
        raise NotFoundError(f"run {state.run} has no step {at!r}; {fix}", kind="unknown_step")
    return node


def has_visits(definition: Definition) -> bool:
    """True if a node may run more than once in a run."""
    return definition.graph is not None or any(edge.max_iterations is not None for edge in definition.dag.edges)


def leads_to(definition: Definition, start: Iterable[str]) -> set[str]:
    """Returns these nodes and all that they lead to by an edge, a back edge or a reference."""
    into = waits_for(definition)
    for edge in definition.dag.edges:
        if edge.max_iterations is not None and edge.target in into:
            into[edge.target].append(edge.source)
    return reachable(start, turned(into))


def fork(state: RunState, before: RunState, definition: Definition, at: str, changes: Changes = _NONE) -> Seed:
    """Returns the seed of a fork at the step `at`.

    If `at` is a child of a step, the other children that succeeded are kept; if it is an iteration, those before it.
    `before` returns the run as it was just before that step, as a whole, began for the first time. It is called only
    if steps run more than once (`has_visits`).
    """
    node = check_step(state, definition, at)
    whole = whole_of(at)
    join = state.steps[whole].lost_to if whole in state.steps else ""
    if join:
        text = f"{at!r} was not needed: {join!r} started without it"
        raise InvalidError.at("at", text, f"fork at {join}, or at a node whose result it took")
    seed = _fork(state, before, definition, whole)
    reach = set(seed.again)
    if whole != at:
        if changes.inputs or undo_key(at) in state.steps:
            why = "the inputs change" if changes.inputs else "its effect was undone"
            text = f"a part of {whole!r} can't run again alone: {why}"
            raise InvalidError.at("at", text, f"fork at {whole}")
        seed.steps |= reopened(state, _asks(definition), whole, at)
        reach -= {node}
    if definition.graph is None:
        _check_repeated(state, definition, {**seed.steps, at: StepState()}, reach)
    return seed


def _fork(state: RunState, before: RunState, definition: Definition, at: str) -> Seed:
    node = node_of(at)
    lost = leads_to(definition, _undone(state)) | _last(definition)
    kept = _kept(before, definition, lost) if has_visits(definition) else {}
    reach = leads_to(definition, [node])
    if definition.graph is not None:
        if any(key.endswith(UNDO) and key.removesuffix(UNDO) in before.steps for key in state.steps):
            return _anew(definition)
        kept = {key: step for key, step in kept.items() if at != whole_of(key)}
        return Seed(kept, _position(before), frozenset(reach))
    kept = {key: step for key, step in kept.items() if node_of(key) in reach and at != whole_of(key)}
    kept |= {key: step for key, step in _kept(state, definition, lost).items() if node_of(key) not in reach}
    kept = without_open_races(definition, kept)
    visits = _as_before(state.visits, before.visits, reach)
    return Seed(kept, SeedPosition(visits, _as_before(state.taken, before.taken, reach)), frozenset(reach))


def _as_before(now: dict[str, int], before: dict[str, int], reach: set[str]) -> dict[str, int]:
    """Returns the counts of now. For the nodes in `reach` and the edges that leave them, returns those of before."""
    kept = {name: count for name, count in now.items() if name.partition("->")[0] not in reach}
    return kept | {name: count for name, count in before.items() if name.partition("->")[0] in reach}


def retry(state: RunState, definition: Definition, changes: Changes) -> Seed:
    """Returns the seed of a retry of a failed or cancelled run.

    It keeps every result, and of a step that failed the parts that succeeded.
    """
    if state.status not in {RunStatus.FAILED, RunStatus.CANCELLED}:
        what = "completed: fork it to run a part of it again" if state.status.terminal else f"{state.status}"
        raise TerminalError(f"run {state.run} is {what}; only a failed or cancelled run is retried", kind="not_failed")
    redone = _undone(state)
    if definition.graph is not None and redone:
        _check_repeated(state, definition, {}, set())
        return _anew(definition)
    lost = leads_to(definition, redone) | leads_to(definition, changes.nodes) | _last(definition)
    kept = _kept(state, definition, lost)
    for key, step in state.steps.items():
        begun = (step.width >= 0 or step.iteration > 0) and key not in kept
        if begun and node_of(key) not in lost and not changes.inputs:
            kept |= partial(state, key, step, _asks(definition))
    _check_repeated(state, definition, kept, set())
    nodes = (node.id for node in definition.dag.nodes)
    again = frozenset(name for name in nodes if any(key not in kept for key in present_keys(state, name)))
    return Seed(kept, _position(state), again)


def _position(state: RunState) -> SeedPosition:
    return SeedPosition(
        visits=dict(state.visits),
        taken=dict(state.taken),
        superstep=state.superstep,
        active=state.active,
        shared=dict(state.shared),
        sent=dict(state.sent),
        arrived=dict(state.arrived),
    )


def _anew(definition: Definition) -> Seed:
    """Returns a seed that keeps nothing. The state of a graph may contain outputs of steps that were undone."""
    return Seed({}, SeedPosition(), frozenset(node.id for node in definition.dag.nodes))


def _undone(state: RunState) -> set[str]:
    """Returns the nodes that a compensation has undone, or tried to undo."""
    return {node_of(key) for key in state.steps if key.endswith(UNDO)}


def _last(definition: Definition) -> set[str]:
    """Returns the nodes that run when a run ends. They run at the end of the new run, whatever is kept."""
    return {node.id for node in definition.dag.nodes if node.at_end}


def _asks(definition: Definition) -> set[str]:
    """Returns the nodes for which a person decides an unknown outcome. In the new run the person is asked again."""
    return {node.id for node in definition.dag.nodes if node.policy.on_unknown == "ask"}


def _check_repeated(state: RunState, definition: Definition, kept: Mapping[str, StepState], asked: set[str]) -> None:
    """Raises TerminalError if a step that may have taken effect would run again although no one has asked for that.

    asked: nodes that are meant to run again.
    """
    again = {
        node.id for node in definition.dag.nodes
        if node.at_end or node.policy.on_unknown == "retry" or (node.policy.on_unknown is None and node.type == "llm")
    } | asked  # fmt: skip
    for key, step in state.steps.items():
        if step.status is not StepStatus.OUTCOME_UNKNOWN or key.endswith(UNDO) or undo_key(key) in state.steps:
            continue
        stays = key in kept and kept[key].status is not StepStatus.RETRYING
        if not stays and node_of(key) not in again:
            raise TerminalError(
                f"run {state.run}: nobody knows whether step {key} took effect (its worker vanished), so it is not "
                f"repeated unasked; find out, then fork the run at {whole_of(key)!r}",
                kind="outcome_unknown",
            )


def _kept(state: RunState, definition: Definition, lost: set[str]) -> dict[str, StepState]:
    """Returns the settled steps with all their parts.

    A step that failed, or whose outcome is unknown, is kept only if the definition goes on without it or asks again.
    """
    goes_on = {node.id for node in definition.dag.nodes if node.policy.on_failure == "continue"}
    late = {node.id for node in definition.dag.nodes if node.policy.on_timeout is not None}
    asks = _asks(definition)
    ends = {node.id for node in definition.dag.nodes if node.type == "end"}  # one that is kept would end the run
    kept: dict[str, StepState] = {}
    for key, step in state.steps.items():
        if key.endswith(UNDO) or parent_of(key) is not None:
            continue
        if step.lost_to:  # also if it was undone: the race is over
            kept[key] = step
        if node_of(key) in lost:
            continue
        node = node_of(key)
        if (
            (step.status is StepStatus.COMPLETED and node not in ends)
            or step.status is StepStatus.SKIPPED
            or (step.status in {StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN} and node in goes_on)
            or (step.status is StepStatus.OUTCOME_UNKNOWN and node in asks)
            or (step.status is StepStatus.FAILED and node in late and step.error and step.error.type in TIMED_OUT)
        ):
            kept[key] = step
    kept = without_open_races(definition, kept)
    for key, step in state.steps.items():
        over = step.status in SETTLED or step.status is StepStatus.OUTCOME_UNKNOWN
        if whole_of(key) in kept and over and undo_key(key) not in state.steps:
            kept[key] = step
    return kept


def stale_steps(definition: Definition, seed: Seed, changed: Iterable[str]) -> tuple[str, ...]:
    """Returns the kept nodes that had read one of the changed inputs."""
    names = set(changed)
    kept = {node_of(key) for key in seed.steps} - seed.again
    return tuple(node.id for node in definition.dag.nodes if node.id in kept and names & set(_input_names(node)))


def _input_names(node: Any) -> Iterator[str]:
    """Yields the inputs that the node's templates and conditions may read; `inputs.x` gives `x`."""
    known = [text for _, text in texts(all_templates(node))]
    of_items = [level.item_condition or "" for level in map_levels(node)]
    for text in (*known, *of_items, node.condition or "", node.config.condition or ""):
        if expressions.is_template(text):
            yield from expressions.template(text).variables
        yield from re.findall(r"\binputs\s*(?:\.\s*|\[\s*['\"])([A-Za-z_]\w*)", text)


def edited(definition: Definition, seed: Seed, changes: Changes) -> Definition:
    """Returns the definition with other prompts, models and arguments.

    Raises InvalidError for a node that can't have them, or whose result is kept.
    """
    if not changes.nodes:
        return definition
    canonical = definition.canonical()
    nodes = {str(node["id"]): node for node in canonical["dag"]["nodes"]}
    kept = {node_of(key) for key in seed.steps} - seed.again
    problems: list[Problem] = []
    for name in changes.nodes:
        if name not in nodes:
            fix = hints.did_you_mean(name, nodes, f"the steps are {', '.join(list(nodes)[:12])}")
            problems.append(Problem(f"changes.{name}", f"there is no step {name!r}", fix))
        elif name in kept:
            fix = f"fork at {name!r}, or at a step before it"
            problems.append(Problem(f"changes.{name}", "its result is kept, so the change would do nothing", fix))
        else:
            problems += _edit(nodes[name], name, changes)
    if problems:
        raise InvalidError.of(problems, "the changes don't fit the run")
    return parse_dict(canonical)


def _edit(node: dict[str, Any], name: str, changes: Changes) -> Iterator[Problem]:
    owner = node
    while owner["type"] in _BODY:
        owner = owner["config"]["body"]
    if (name in changes.prompts or name in changes.models) and owner["type"] != "llm":
        yield Problem(f"changes.{name}", f"is of type {owner['type']}", "a prompt or a model is for an llm step")
        return
    if name in changes.prompts:
        owner["config"].pop(PROMPT, None)
        owner["config"]["prompt_ref"] = changes.prompts[name]
    if name in changes.models:
        if not _MODEL.match(changes.models[name]):
            yield Problem(f"models.{name}", f"{changes.models[name]!r} is not a model", "write provider/model")
            return
        owner["config"].pop("model", None)
        node["policy"] = {**node.get("policy", {}), "model": changes.models[name]}
    for key, value in changes.step_inputs.get(name, {}).items():
        arguments = _ARGUMENTS.get(owner["type"], "inputs")
        config = owner.setdefault("config", {})
        place = arguments if key in config.get(arguments, {}) or key not in config.get("inputs", {}) else "inputs"
        config[place] = {**config.get(place, {}), key: value}


def merged_inputs(inputs: Any, changes: Mapping[str, Any]) -> Any:
    """Returns the run's inputs with the changed ones over them."""
    return {**inputs, **changes} if isinstance(inputs, dict) else dict(changes) or inputs


def encoded_steps(seed: Seed) -> dict[str, Any]:
    """Returns the kept steps as `run.submitted` contains them. Raises InvalidError above SEED_BYTES_MAX."""
    steps: dict[str, Any] = msgspec.to_builtins(seed.steps)
    size = len(msgspec.json.encode(steps))
    if size > SEED_BYTES_MAX:
        raise InvalidError(
            f"{len(steps):,} kept steps are {size:,} bytes, the limit is {SEED_BYTES_MAX:,}: fork at an earlier step, "
            "so that fewer are kept",
            kind="seed_too_large",
        )
    return steps
